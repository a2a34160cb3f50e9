"""SPyNet (Ranjan and Black, CVPR 2017) in the form that BasicVSR (CVPR 2021) made customary in restoration."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..checkpoint import OfficialLayout, load_weights
from .warp import flow_warp

OPENMMLAB_LAYOUT = OfficialLayout(
    name='SPyNet of OpenMMLab',
    signature='basic_module.0.basic_module.0.conv.weight',
    renames=((r'^basic_module\.(\d+)\.basic_module\.(\d+)\.conv\.',
              lambda m: f'levels.{m[1]}.{2 * int(m[2])}.'), ))


@MODELS.register_module()
class SPyNet(nn.Module):
    """Optical flow by a spatial pyramid of small 7x7 networks, each refining the flow of the level above.

    Args:
        num_levels (int): Levels of the pyramid. Defaults to 6.
        widths (tuple[int]): Channels between the five convolutions of a level. Defaults to (32, 64, 32, 16).
        checkpoint (str, optional): Weights to begin with, our own or those that BasicVSR was trained from. Without,
            the network begins by saying that nothing moves. Defaults to None.

    Raises:
        UserError: If ``checkpoint`` cannot be read or does not fit.
    """

    official_layouts = (OPENMMLAB_LAYOUT, )

    def __init__(self, num_levels=6, widths=(32, 64, 32, 16), checkpoint=None):
        super().__init__()
        self.levels = nn.ModuleList(_SPyNetLevel(widths) for _ in range(num_levels))
        self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        if checkpoint is None:
            # Random flow leads out of the frame, from where no gradient leads back.
            for level in self.levels:
                nn.init.zeros_(level[-1].weight)
                nn.init.zeros_(level[-1].bias)
        else:
            load_weights(self, checkpoint)

    @property
    def divisor(self):
        """int: Sides are resized to a multiple of this, so that every level halves evenly."""
        return 2**(len(self.levels) - 1)

    def forward(self, reference, support):
        """Estimates the flow with which ``support`` must be warped to look like ``reference``.

        Args:
            reference (Tensor): Frames ``(N, 3, H, W)``, RGB in [0, 1].
            support (Tensor): Frames of the same shape.

        Returns:
            Tensor: Flow ``(N, 2, H, W)`` in pixels, x before y.
        """
        height, width = reference.shape[-2:]
        padded = [-(-side // self.divisor) * self.divisor for side in (height, width)]
        resized = padded != [height, width]
        if resized:
            reference, support = (
                F.interpolate(frame, size=padded, mode='bilinear', align_corners=False)
                for frame in (reference, support))
        flow = self._pyramid_flow(reference, support)
        if resized:
            flow = F.interpolate(flow, size=(height, width), mode='bilinear', align_corners=False)
            flow = flow * flow.new_tensor([width / padded[1], height / padded[0]]).view(1, 2, 1, 1)
        return flow

    def _pyramid_flow(self, reference, support):
        references, supports = [(reference - self.mean) / self.std], [(support - self.mean) / self.std]
        for _ in self.levels[1:]:
            references.append(F.avg_pool2d(references[-1], 2))
            supports.append(F.avg_pool2d(supports[-1], 2))
        flow = reference.new_zeros(reference.shape[0], 2, *references[-1].shape[-2:])
        for index, level in enumerate(self.levels):
            reference, support = references.pop(), supports.pop()
            if index:
                flow = 2.0 * F.interpolate(flow, scale_factor=2, mode='bilinear', align_corners=True)
            warped = flow_warp(support, flow, padding_mode='border')
            flow = flow + level(torch.cat((reference, warped, flow), dim=1))
        return flow


class _SPyNetLevel(nn.Sequential):
    """Five 7x7 convolutions: the reference, the warped support and the flow (8 channels) to a flow update."""

    def __init__(self, widths):
        channels = (8, *widths, 2)
        layers = []
        for in_channels, out_channels in zip(channels, channels[1:]):
            layers += [nn.Conv2d(in_channels, out_channels, 7, padding=3), nn.ReLU(inplace=True)]
        super().__init__(*layers[:-1])
