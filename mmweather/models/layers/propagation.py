"""Bidirectional propagation of features through a clip, second order, after BasicVSR++ (CVPR 2022)."""
import torch
from torch import nn

from .alignment import SecondOrderDeformableAlignment
from .residual import ResidualBlocksWithInputConv
from .warp import flow_warp


def neighbour_flows(flow_network, clip):
    """Flows between neighbouring frames of a clip, both directions in one batch.

    Args:
        flow_network (nn.Module): Called with (reference, support), returns the flow from reference to support.
        clip (Tensor): ``(N, T, 3, H, W)``.

    Returns:
        tuple[Tensor, Tensor]: Flows ``(N, T-1, 2, H, W)`` in pixels: from each frame to the next (they warp the
        next frame's features backward in time), and from each frame but the first to the one before.
    """
    n, t, c, h, w = clip.shape
    if t == 1:
        return (clip.new_zeros(n, 0, 2, h, w), ) * 2
    earlier, later = clip[:, :-1].reshape(-1, c, h, w), clip[:, 1:].reshape(-1, c, h, w)
    # In float32 whatever the autocast: half precision loses the fractions of a pixel, and the error adds up.
    with torch.autocast(clip.device.type, enabled=False):
        flows = flow_network(torch.cat((earlier, later)).float(), torch.cat((later, earlier)).float())
    to_next, to_previous = flows.view(2, n, t - 1, 2, h, w)
    return to_next, to_previous


class BidirectionalPropagation(nn.Module):
    """One backward and then one forward pass over a clip's features.

    Each step aligns what was propagated (first and second order), adds the current features, and refines the sum
    with residual blocks.

    Args:
        channels (int): Channels of a frame's features.
        num_blocks (int): Residual blocks per step. Defaults to 9.
        deform_groups (int): See :class:`SecondOrderDeformableAlignment`. Defaults to 16.
        guidance_channels (int): Channels of a map that guides the alignment. Defaults to 0.
        directions (tuple[str]): The passes in their order. Defaults to ('backward', 'forward').
    """

    def __init__(self, channels, num_blocks=9, deform_groups=16, guidance_channels=0,
                 directions=('backward', 'forward')):
        super().__init__()
        self.channels = channels
        self.directions = tuple(directions)
        self.align = nn.ModuleDict()
        self.refine = nn.ModuleDict()
        for seen, direction in enumerate(self.directions):
            self.align[f'{direction}_pass'] = SecondOrderDeformableAlignment(channels, deform_groups, guidance_channels)
            self.refine[f'{direction}_pass'] = ResidualBlocksWithInputConv((2 + seen) * channels, channels, num_blocks)

    def forward(self, features, to_next, to_previous, guidance=None):
        """Propagates.

        Args:
            features (list[Tensor]): T tensors ``(N, C, H, W)``.
            to_next (Tensor): Flows from each frame to the next, ``(N, T-1, 2, H, W)``.
            to_previous (Tensor): Flows from each frame but the first to the one before, likewise.
            guidance (Tensor, optional): ``(N, T, guidance_channels, H, W)``.

        Returns:
            list[list[Tensor]]: One list of T tensors ``(N, C, H, W)`` per direction, in the clip's order.
        """
        passes = []
        for direction in self.directions:
            flows = to_next if direction == 'backward' else to_previous
            passes.append(self._one_pass(direction, features, passes, flows, guidance))
        return passes

    def _one_pass(self, direction, features, earlier_passes, flows, guidance):
        count = len(features)
        backward = direction == 'backward'
        order = range(count - 1, -1, -1) if backward else range(count)
        zeros = torch.zeros_like(features[0])
        no_flow = zeros.new_zeros(zeros.shape[0], 2, *zeros.shape[-2:])
        propagated, outputs = zeros, []
        flow_before = None
        for step, index in enumerate(order):
            current = features[index]
            if step:
                # The flow that leads from this frame to the one visited before. ViMP-Net reads its guidance at
                # the same index: this frame's going backward, the previous frame's going forward.
                at = index if backward else index - 1
                flow_first = flows[:, at]
                warped_first = flow_warp(propagated, flow_first)
                second, flow_second, warped_second = zeros, no_flow, zeros
                if step > 1:
                    second = outputs[-2]
                    flow_second = flow_first + flow_warp(flow_before, flow_first)
                    warped_second = flow_warp(second, flow_second)
                propagated = self.align[f'{direction}_pass'](
                    torch.cat((propagated, second), dim=1), warped_first, current, warped_second, flow_first,
                    flow_second, None if guidance is None else guidance[:, at])
                flow_before = flow_first
            seen = [current, *(done[index] for done in earlier_passes), propagated]
            propagated = propagated + self.refine[f'{direction}_pass'](torch.cat(seen, dim=1))
            outputs.append(propagated)
        return outputs[::-1] if backward else outputs
