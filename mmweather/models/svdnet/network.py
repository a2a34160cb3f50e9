"""SVDNet: "Snow Removal in Video: A New Dataset and A Novel Method" (ICCV 2023).

The authors published the names and the purpose of two parts, snow-query temporal aggregation and a snow-aware
contrastive loss, and no code. A later paper of the group says that physical components are decoupled by convolutions.
All the rest here is our design; ``docs/methods/svdnet.md`` has the table of what is published and what is ours.
"""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..layers import BidirectionalPropagation, ResidualBlock, SPyNet, kaiming_init, neighbour_flows
from ..temporal import ClipNetwork, ClipProtocol
from .physics import PhysicalHeads, invert
from .queries import SnowQueryAggregation, observe_neighbours


@MODELS.register_module()
class SVDNet(ClipNetwork):
    """Removal of snow and haze from a clip.

    Features at a quarter of the resolution lose their snow, transmission and airlight (:class:`PhysicalHeads`), are
    aggregated over time by snow queries (:class:`SnowQueryAggregation`) and propagated through the clip with
    second-order alignment. The frame is then put together from the physically restored frame and its aligned
    neighbours, each pixel trusted by its transmission, and a residual.

    Args:
        channels (int): Channels of the features. Defaults to 64.
        num_extract_blocks (int): Residual blocks of the encoder. Defaults to 5.
        num_propagation_blocks (int): Residual blocks per propagation step. Defaults to 7.
        num_reconstruction_blocks (int): Residual blocks of the reconstruction. Defaults to 5.
        deform_groups (int): Groups of the deformable alignment. Defaults to 16.
        directions (tuple[str]): Passes of the propagation, of 'backward' and 'forward'. Defaults to both.
        physical (bool): Whether physical layers are estimated and taken off; without them the frames stand for
            themselves. Defaults to True.
        num_aggregations (int): Blocks of snow-query aggregation, 0 for none. Defaults to 2.
        aggregation (dict, optional): Further arguments of :class:`SnowQueryAggregation`.
        spynet (dict, optional): Arguments of :class:`SPyNet`.
        flow_scale (int): Flow is estimated at this fraction of the resolution, 4 or 8. Defaults to 4.
        transmission_floor (float): The inverse takes transmissions for at least this. Defaults to 0.2.
        window (int): Frames per forward pass when a video is restored. Defaults to 5.
        window_overlap (int): Frames that neighbouring windows share and cross-fade. Defaults to 2.
        min_size (int): Smallest side the network sees; smaller frames are padded. Defaults to 64.
        tile (int, optional): Side of the tiles in which larger frames are restored, None for whole frames.
            Defaults to 512.
        bfloat16_on_cpu (bool): See :class:`ClipNetwork`. Defaults to False.
    """

    size_divisor = 4
    #: What ``--save-parts`` writes beside the output.
    parts = ('snow_map', 'snow', 'transmission')
    #: No protocol is published; this is ViMP-Net's, by the same group.
    protocols = dict(sliding=ClipProtocol(window=5, window_overlap=4, tile=256, tile_overlap=32, tile_border=16,
                                          blend='mean'))

    def __init__(self, channels=64, num_extract_blocks=5, num_propagation_blocks=7, num_reconstruction_blocks=5,
                 deform_groups=16, directions=('backward', 'forward'), physical=True, num_aggregations=2,
                 aggregation=None, spynet=None, flow_scale=4, transmission_floor=0.2, window=5, window_overlap=2,
                 min_size=64, tile=512, bfloat16_on_cpu=False):
        super().__init__()
        if flow_scale not in (4, 8):
            raise ValueError(f'flow_scale: expected 4 or 8, got {flow_scale}')
        self.window = window
        self.window_overlap = window_overlap
        self.min_size = min_size
        self.tile = tile
        self.bfloat16_on_cpu = bfloat16_on_cpu
        self.flow_scale = flow_scale
        self.transmission_floor = transmission_floor
        self.spynet = SPyNet(**(spynet or {}))
        self.extract = FrameEncoder(channels, num_extract_blocks)
        self.physical = PhysicalHeads(channels) if physical else None
        self.aggregate = nn.ModuleList(
            SnowQueryAggregation(channels, **(aggregation or {})) for _ in range(num_aggregations))
        self.propagation = BidirectionalPropagation(channels, num_propagation_blocks, deform_groups,
                                                    directions=directions)
        self.reconstruct = nn.Sequential(
            nn.Conv2d((1 + len(directions)) * channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            *(ResidualBlock(channels) for _ in range(num_reconstruction_blocks)))
        self.to_weights = nn.Conv2d(channels, 3 * 16, 3, padding=1)
        self.refine = nn.Sequential(
            nn.Conv2d(channels + 3 * 16, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            ResidualBlock(channels))
        self.to_residual = nn.Conv2d(channels, 3 * 16, 3, padding=1)
        self.init_weights()

    def init_weights(self):
        """Begins with a network that sees no snow, no motion, and changes next to nothing."""
        for part in (self.extract, self.propagation.refine, self.reconstruct, self.refine):
            kaiming_init(part)
        if self.physical is not None:
            kaiming_init(self.physical)
            self.physical.init_weights()
        for last in (self.to_weights, self.to_residual, *(level[-1] for level in self.spynet.levels)):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # The frame itself, not its neighbours: weights e^4 : 1 : 1.
        self.to_weights.bias.data[16:32] = 4.0

    def forward(self, clip):
        """Restores a clip.

        Args:
            clip (Tensor): Snowy frames ``(N, T, 3, H, W)``, RGB in [0, 1], any T >= 1; H and W multiples of 4.

        Returns:
            dict[str, Tensor]: ``output``, the restored clip ``(N, T, 3, H, W)``; ``flows``, those from each frame to
            the next and those to the one before, at a quarter of the resolution, ``(2, N, T-1, 2, H/4, W/4)``; with
            aggregation ``snow_map``, how snowy each place is, ``(N, T, 1, H, W)`` in [0, 1]; with physical heads
            ``snow`` ``(N, T, 3, H, W)``, ``transmission`` ``(N, T, 1, H, W)`` and ``airlight`` ``(N, T, 3, 1, 1)``.

        Raises:
            ValueError: If ``clip`` is not five-dimensional or its sides are no multiples of 4.
        """
        self._check(clip)
        n, t = clip.shape[:2]
        features = self.extract(clip.flatten(0, 1))
        to_next, to_previous = self._flows(clip)
        parts, cleared, transmission = {}, clip, torch.ones_like(clip[:, :, :1])
        if self.physical is not None:
            features, layers = self.physical(features)
            parts.update({name: layer.unflatten(0, (n, t)) for name, layer in layers.items()})
            transmission = parts['transmission']
            cleared = invert(clip, **parts, floor=self.transmission_floor)
        features = features.unflatten(0, (n, t))
        for block in self.aggregate:
            features, snow_map = block(features, to_next, to_previous)
        passes = self.propagation(list(features.unbind(1)), to_next, to_previous)
        streams = [features, *(torch.stack(propagated, dim=1) for propagated in passes)]
        features = self.reconstruct(torch.cat(streams, dim=2).flatten(0, 1))

        merged = self._merge(features, cleared, transmission, to_next, to_previous)
        details = self.refine(torch.cat((features, F.pixel_unshuffle(merged.flatten(0, 1), 4).to(features)), dim=1))
        output = merged + F.pixel_shuffle(self.to_residual(details), 4).unflatten(0, (n, t))
        if self.aggregate:
            parts['snow_map'] = _enlarge(snow_map, 4)
        return dict(parts, output=output, flows=torch.stack((to_next, to_previous)))

    def _merge(self, features, cleared, transmission, to_next, to_previous):
        """The frame from its own and its neighbours' physically restored pixels, each trusted by its transmission."""
        flows = [4 * _enlarge(flow, 4) for flow in (to_next, to_previous)]
        observed, visible = observe_neighbours(torch.cat((cleared, transmission), dim=2), *flows)
        wanted = F.pixel_shuffle(self.to_weights(features), 4).float().unflatten(0, cleared.shape[:2])[:, :, :, None]
        logits = wanted + observed[:, :, :, 3:].clamp_min(1e-3).log() - 30.0 * (1 - visible)
        return (logits.softmax(dim=2) * observed[:, :, :, :3]).sum(dim=2)

    def _flows(self, clip):
        """Flows between neighbours at a quarter of the resolution."""
        small = F.avg_pool2d(clip.flatten(0, 1), self.flow_scale, ceil_mode=True).unflatten(0, clip.shape[:2])
        flows = neighbour_flows(self.spynet, small)
        if self.flow_scale == 4:
            return flows
        height, width = clip.shape[-2] // 4, clip.shape[-1] // 4
        return tuple(2 * _enlarge(flow, 2)[..., :height, :width] for flow in flows)

    @staticmethod
    def _check(clip):
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f'clip: expected shape (N, T, 3, H, W), got {tuple(clip.shape)}')
        if clip.shape[-2] % 4 or clip.shape[-1] % 4:
            raise ValueError(f'clip: expected height and width to be multiples of 4, got {tuple(clip.shape[-2:])}; '
                             'mmweather.restore_clip pads and crops')


class FrameEncoder(nn.Module):
    """A frame to features at a quarter of the resolution: pixel unshuffle, a convolution and residual blocks.

    Args:
        channels (int): Channels of the features.
        num_blocks (int): Residual blocks.
    """

    def __init__(self, channels, num_blocks):
        super().__init__()
        self.embed = nn.Conv2d(3 * 16, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(num_blocks))

    def forward(self, frames):
        """Maps ``(N, 3, H, W)`` to ``(N, C, H/4, W/4)``."""
        return self.stages(frames)[-1]

    def stages(self, frames):
        """list[Tensor]: The features after the embedding and after every block, each ``(N, C, H/4, W/4)``."""
        features = [F.leaky_relu(self.embed(F.pixel_unshuffle(frames, 4)), 0.1)]
        for block in self.blocks:
            features.append(block(features[-1]))
        return features


def _enlarge(x, factor):
    """Bilinear interpolation of ``(N, T, C, H, W)``; T may be 0."""
    if not x.shape[1]:
        return x.new_zeros(*x.shape[:3], *(side * factor for side in x.shape[-2:]))
    enlarged = F.interpolate(x.flatten(0, 1), scale_factor=factor, mode='bilinear', align_corners=False)
    return enlarged.unflatten(0, x.shape[:2])
