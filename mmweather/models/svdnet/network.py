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
from .physics import PhysicalHeads, invert, weigh
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
        motion (dict, optional): Config of the flow network, :class:`SPyNet` or :class:`LucasKanade`, which needs no
            training. Defaults to None: a :class:`SPyNet`.
        flow_scale (int): Flow is estimated at this fraction of the resolution, 2, 4 or 8, and used at a quarter.
            Defaults to 4.
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
                 aggregation=None, motion=None, flow_scale=4, transmission_floor=0.2, window=5, window_overlap=2,
                 min_size=64, tile=512, bfloat16_on_cpu=False):
        super().__init__()
        if flow_scale not in (2, 4, 8):
            raise ValueError(f'flow_scale: expected 2, 4 or 8, got {flow_scale}')
        self.window = window
        self.window_overlap = window_overlap
        self.min_size = min_size
        self.tile = tile
        self.bfloat16_on_cpu = bfloat16_on_cpu
        self.flow_scale = flow_scale
        self.transmission_floor = transmission_floor
        self.motion = MODELS.build(motion) if motion else SPyNet()
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
        self.weigh_for_weights = nn.Conv2d(channels, 3 * FrameEncoder.CLUES, 1)
        self.refine = nn.Sequential(
            nn.Conv2d(channels + 3 * 17, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
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
        for last in (self.to_weights, self.weigh_for_weights, self.to_residual):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        # The frame itself, not its neighbours: weights e^4 : 1 : 1.
        self.to_weights.bias.data[16:32] = 4.0

    def forward(self, clip, means=None):
        """Restores a clip.

        Args:
            clip (Tensor): Snowy frames ``(N, T, 3, H, W)``, RGB in [0, 1], any T >= 1; H and W multiples of 4.
            means (Tensor, optional): What the physical heads have to know about the whole frames, ``(N * T, 2C)``,
                where ``clip`` is but a tile; see :meth:`survey`. Defaults to None: ``clip`` shows the whole.

        Returns:
            dict[str, Tensor]: ``output``, the restored clip ``(N, T, 3, H, W)``; ``flows``, those from each frame to
            the next and those to the one before, at a quarter of the resolution, ``(2, N, T-1, 2, H/4, W/4)``; with
            aggregation ``snow_map``, how snowy each place is, ``(N, T, 1, H, W)`` in [0, 1]; with physical heads
            ``snow`` ``(N, T, 3, H, W)``, ``transmission`` and the flakes' ``opacity`` ``(N, T, 1, H, W)``, and
            ``airlight`` ``(N, T, 3, 1, 1)``.

        Raises:
            ValueError: If ``clip`` is not five-dimensional or its sides are no multiples of 4.
        """
        self._check(clip)
        n, t = clip.shape[:2]
        to_next, to_previous = self._flows(clip)
        clues = self._clues(clip, to_next, to_previous).flatten(0, 1)
        evidence = (-clues).clamp_min(0)
        features = self.extract(clip.flatten(0, 1), clues)
        parts, cleared, transmission = {}, clip, torch.ones_like(clip[:, :, :1])
        if self.physical is not None:
            features, layers = self.physical(features, means, evidence)
            parts.update({name: layer.unflatten(0, (n, t)) for name, layer in layers.items()})
            transmission = parts['transmission']
            cleared = invert(clip, parts['snow'], transmission, parts['airlight'], floor=self.transmission_floor)
        features = features.unflatten(0, (n, t))
        for block in self.aggregate:
            features, snow_map = block(features, to_next, to_previous)
        passes = self.propagation(list(features.unbind(1)), to_next, to_previous)
        streams = [features, *(torch.stack(propagated, dim=1) for propagated in passes)]
        features = self.reconstruct(torch.cat(streams, dim=2).flatten(0, 1))

        weights = self.to_weights(features) + weigh(evidence, self.weigh_for_weights(features))
        merged = self._merge(weights, cleared, transmission, to_next, to_previous)
        details = self.refine(torch.cat((features, _unshuffle(merged.flatten(0, 1)).to(features)), dim=1))
        output = merged + F.pixel_shuffle(self.to_residual(details), 4).unflatten(0, (n, t))
        if self.aggregate:
            parts['snow_map'] = _enlarge(snow_map, 4)
        return dict(parts, output=output, flows=torch.stack((to_next, to_previous)))

    def survey(self, mean):
        """Takes the means over a frame that the physical heads look at from all of its tiles."""
        if self.physical is None:
            return {}

        def statistics(tile):
            clues = self._clues(tile, *self._flows(tile)).flatten(0, 1)
            return self.physical.statistics(self.extract(tile.flatten(0, 1), clues))

        return dict(means=mean(statistics))

    @staticmethod
    def _clues(clip, to_next, to_previous):
        """How much brighter than a pixel the same place is in the neighbouring frames, and the places around it are.

        A flake is small and bright and is seen once: where even the brighter neighbour is darker, snow is likely. Where
        only one of the neighbours has anything to show, both are that one; where none has, both are the frame itself.

        Returns:
            Tensor: ``(N, T, 3, H, W)``: the brighter neighbour, the darker one, and the mean of 9x9 pixels around,
            less the pixel; the mean of its colours.
        """
        gray = clip.mean(2, keepdim=True)
        observed, visible = observe_neighbours(gray, *(4 * _enlarge(flow, 4) for flow in (to_next, to_previous)))
        before, after = ((observed[:, :, k] - gray) * visible[:, :, k] for k in (0, 2))
        sees_before, sees_after = visible[:, :, 0] > 0, visible[:, :, 2] > 0
        before, after = torch.where(sees_before, before, after), torch.where(sees_after, after, before)
        around = F.avg_pool2d(gray.flatten(0, 1), 9, 1, 4, count_include_pad=False).view_as(gray) - gray
        return torch.cat((torch.maximum(before, after), torch.minimum(before, after), around), dim=2)

    @staticmethod
    def _merge(weights, cleared, transmission, to_next, to_previous):
        """The frame from its own and its neighbours' physically restored pixels, each trusted by its transmission."""
        flows = [4 * _enlarge(flow, 4) for flow in (to_next, to_previous)]
        observed, visible = observe_neighbours(torch.cat((cleared, transmission), dim=2), *flows)
        wanted = F.pixel_shuffle(weights, 4).float().unflatten(0, cleared.shape[:2])[:, :, :, None]
        logits = wanted + observed[:, :, :, 3:].clamp_min(1e-3).log() - 30.0 * (1 - visible)
        return (logits.softmax(dim=2) * observed[:, :, :, :3]).sum(dim=2)

    def _flows(self, clip):
        """Flows between neighbours at a quarter of the resolution."""
        small = _shrink(clip, self.flow_scale)
        flows = neighbour_flows(self.motion, small)
        if self.flow_scale == 4:
            return flows
        if self.flow_scale == 2:
            return tuple(_shrink(flow, 2) / 2 for flow in flows)
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

    #: Channels of what may be known of a pixel besides its colour.
    CLUES = 3

    def __init__(self, channels, num_blocks):
        super().__init__()
        self.embed = nn.Conv2d((3 + self.CLUES) * 17, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(num_blocks))

    def forward(self, frames, clues=None):
        """Maps ``(N, 3, H, W)``, and clues ``(N, 3, H, W)`` where there are any, to ``(N, C, H/4, W/4)``."""
        return self.stages(frames, clues)[-1]

    def stages(self, frames, clues=None):
        """list[Tensor]: The features after the embedding and after every block, each ``(N, C, H/4, W/4)``."""
        if clues is None:
            clues = torch.zeros_like(frames[:, :self.CLUES])
        features = [F.leaky_relu(self.embed(_unshuffle(torch.cat((frames - 0.5, clues), dim=1))), 0.1)]
        for block in self.blocks:
            features.append(block(features[-1]))
        return features


def _unshuffle(frames):
    """Pixel unshuffle of ``(N, C, H, W)`` to means and details of 4x4 pixels, ``(N, 17 C, H/4, W/4)``.

    Neighbouring pixels are so alike that a network would learn long about their mean before it sees small things.
    """
    means = F.avg_pool2d(frames, 4)
    details = F.pixel_unshuffle(frames, 4).unflatten(1, (-1, 16)) - means[:, :, None]
    return torch.cat((means, 4 * details.flatten(1, 2)), dim=1)


def _shrink(x, factor):
    """Means over squares of ``(N, T, C, H, W)``; T may be 0."""
    if not x.shape[1]:
        return x.new_zeros(*x.shape[:3], *(-(-side // factor) for side in x.shape[-2:]))
    return F.avg_pool2d(x.flatten(0, 1), factor, ceil_mode=True).unflatten(0, x.shape[:2])


def _enlarge(x, factor):
    """Bilinear interpolation of ``(N, T, C, H, W)``; T may be 0."""
    if not x.shape[1]:
        return x.new_zeros(*x.shape[:3], *(side * factor for side in x.shape[-2:]))
    enlarged = F.interpolate(x.flatten(0, 1), scale_factor=factor, mode='bilinear', align_corners=False)
    return enlarged.unflatten(0, x.shape[:2])
