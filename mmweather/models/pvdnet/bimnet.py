"""BIMNet, the blur-invariant motion estimation of PVDNet (ACM TOG 2021): LiteFlowNet trained not to see blur.

LiteFlowNet (Hui et al., CVPR 2018) goes down a pyramid of features. At each level the flow is matched by a local cost
volume, refined below the pixel, and smoothed by a kernel that is predicted for every pixel. What makes it invariant to
blur is its training alone, see :class:`BlurInvariantLoss`. Architecture from the paper and from the behaviour of the
authors' published code; every line here is our own.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mmweather import ops
from mmweather.registry import MODELS

from ..layers import flow_warp
from .checkpoint import BIMNET_LAYOUTS

#: The network's own unit of flow in pixels of the full frame, LiteFlowNet's convention.
FLOW_SCALE = 20.0
#: Displacements of the cost volume along each axis: -3..3.
RADIUS = 3
COST_CHANNELS = (2 * RADIUS + 1)**2


@dataclass(frozen=True)
class Encoding:
    """What the network needs to know of a frame, whichever frame it is then compared with.

    Args:
        features (tuple[Tensor]): Features of the levels from the second on, ``(N, C, h, w)``.
        images (tuple[Tensor]): The frame at their sizes, ``(N, 3, h, w)``.
        size (tuple[int, int]): Height and width of the frame.
    """

    features: tuple
    images: tuple
    size: tuple

    def halves(self):
        """The two encodings that were made as one batch."""
        features, images = (tuple(zip(*(level.chunk(2) for level in levels)))
                            for levels in (self.features, self.images))
        return tuple(Encoding(*half, self.size) for half in zip(features, images))

    def joined(self, other):
        """This encoding and another one as one batch."""
        features, images = (tuple(map(torch.cat, zip(*levels)))
                            for levels in ((self.features, other.features), (self.images, other.images)))
        return Encoding(features, images, self.size)

    def twice(self):
        """A batch of this encoding and itself."""
        return self.joined(self)


@MODELS.register_module()
class BIMNet(nn.Module):
    """Optical flow between two frames, blurred or sharp.

    The defaults are the published network: 5,381,969 parameters.

    Args:
        feature_channels (tuple[int]): Channels of the features per level, each level half the size of the one
            before. Defaults to (32, 32, 64, 96, 128, 192).
        match_channels (int): Channels to which the second level's features are widened for matching.
            Defaults to 64.
        refine_channels (tuple[int]): Channels of the convolutions that read the flow off a cost volume or off a pair
            of features. Defaults to (128, 64, 32).
        smooth_channels (tuple[int]): Channels of the six convolutions that predict the smoothing kernels.
            Defaults to (128, 128, 64, 64, 32, 32).
        reduction (int): Frames are made smaller by this factor before anything else. Ours, for speed. Defaults to 1:
            as published.
    """

    official_layouts = BIMNET_LAYOUTS

    def __init__(self, feature_channels=(32, 32, 64, 96, 128, 192), match_channels=64, refine_channels=(128, 64, 32),
                 smooth_channels=(128, 128, 64, 64, 32, 32), reduction=1):
        super().__init__()
        self.reduction = reduction
        if not 3 <= len(feature_channels) <= 6:
            raise ValueError(f'feature_channels: expected 3 to 6 levels, got {len(feature_channels)}')
        self.features = _Features(feature_channels)
        # Levels 2, 3, ...: level 1 is full resolution and has no flow of its own.
        levels = range(2, len(feature_channels) + 1)
        coarsest = levels[-1]
        self.matching = nn.ModuleList(
            _Matching(level, level == coarsest, feature_channels[level - 1], match_channels, refine_channels)
            for level in levels)
        self.subpixel = nn.ModuleList(
            _Subpixel(level, feature_channels[level - 1], match_channels, refine_channels) for level in levels)
        self.regularisation = nn.ModuleList(
            _Regularisation(level, feature_channels[level - 1], smooth_channels) for level in levels)
        self._init_weights()

    def _init_weights(self):
        """Our choice: the signal keeps its strength, the flow starts at zero and smoothing as a weighted mean.

        The published initialisation is Xavier's. Training from scratch is slow with either; begin from published
        weights where they are at hand.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.1)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            for part in (*self.matching, *self.subpixel):
                nn.init.zeros_(part.main[-1].weight)
            for part in self.regularisation:
                nn.init.ones_(part.combine_x.weight)
                nn.init.ones_(part.combine_y.weight)

    @property
    def size_divisor(self):
        """int: Sides of which the network sees the multiple below; 32 for six levels."""
        return self.reduction * 2**len(self.matching)

    def forward(self, current, previous):
        """Estimates where every pixel of the current frame was in the previous one.

        As published, the frames are cropped to multiples of :attr:`size_divisor` from the top left corner, and the
        flow of what was cut off is zero; whoever wants flow everywhere pads the frames first.

        Args:
            current (Tensor): Frames ``(N, 3, H, W)``, RGB in [0, 1], sides at least :attr:`size_divisor`.
            previous (Tensor): The frames before them, of the same shape.

        Returns:
            Tensor: Flow ``(N, 2, H, W)`` in pixels, float32, x before y: ``current(p)`` is ``previous(p + flow(p))``.

        Raises:
            ValueError: If the shapes differ or the frames are too small.
        """
        if current.shape != previous.shape:
            raise ValueError(f'current, previous: expected two batches of frames of one shape (N, 3, H, W), got '
                             f'{tuple(current.shape)} and {tuple(previous.shape)}')
        return self.between(*self.encode(torch.cat((current, previous))).halves())

    def encode(self, frames):
        """Does what needs one frame alone: in a video every frame is the current one once, and the previous one once.

        Args:
            frames (Tensor): Frames ``(N, 3, H, W)``, RGB in [0, 1], sides at least :attr:`size_divisor`.

        Returns:
            Encoding: For :meth:`between`.

        Raises:
            ValueError: If the frames are too small.
        """
        height, width = frames.shape[-2:]
        rows, columns = (side // self.size_divisor * self.size_divisor for side in (height, width))
        if not rows or not columns:
            raise ValueError(f'expected frames with sides of at least {self.size_divisor}, got {tuple(frames.shape)}')
        frames = frames[..., :rows, :columns]
        if self.reduction > 1:
            frames = F.avg_pool2d(frames, self.reduction)
        features = self.features(frames)
        # There is no flow at the first level.
        return Encoding(tuple(features[1:]), tuple(_pyramid(frames, features)[1:]), (height, width))

    def between(self, current, previous):
        """Estimates the flow between two frames that were encoded; see :meth:`forward`.

        Args:
            current (Encoding): Of the current frame.
            previous (Encoding): Of the previous one.

        Returns:
            Tensor: Flow ``(N, 2, H, W)``.
        """
        flow = self._levels(current, previous)[-1]
        height, width = current.size
        rows, columns = (side // self.size_divisor * self.size_divisor for side in (height, width))
        # Its values are pixels of the full frame already. Two channels are quickest one after the other.
        flow = F.interpolate(flow.contiguous(), size=(rows, columns), mode='bilinear', align_corners=False)
        return F.pad(flow, (0, width - columns, 0, height - rows))

    def pyramid(self, current, previous):
        """Estimates the flow at every level, for frames whose sides are multiples of :attr:`size_divisor`.

        Args:
            current (Tensor): Frames ``(N, 3, H, W)``, RGB in [0, 1].
            previous (Tensor): The frames before them, of the same shape.

        Returns:
            list[Tensor]: Flows from the coarsest level to ``(N, 2, H/2, W/2)``, or less with ``reduction``; all in
            pixels of the full frame.
        """
        return self._levels(*self.encode(torch.cat((current, previous))).halves())

    def _levels(self, current, previous):
        flow, flows = None, []
        for level in reversed(range(len(self.matching))):
            first, second = current.features[level], previous.features[level]
            flow = self.matching[level](first, second, flow)
            flow = self.subpixel[level](first, second, flow)
            flow = self.regularisation[level](current.images[level], previous.images[level], first, flow)
            flows.append(flow * (FLOW_SCALE * self.reduction))
        return flows


class _Features(nn.ModuleList):
    """Features of each level: a 7x7 convolution, then levels of one strided convolution and up to two plain ones."""

    #: Plain convolutions behind the strided one, per level from the second on.
    PLAIN = (2, 1, 1, 0, 0)

    def __init__(self, channels):
        levels = [_convs((3, channels[0]), kernel_size=7)]
        for wide, narrow, plain in zip(channels[1:], channels, self.PLAIN):
            levels.append(_convs((narrow, wide), stride=2).extend(_convs((wide, ) * (plain + 1))))
        super().__init__(levels)

    def forward(self, images):
        """Lists the features of all levels, full resolution first."""
        features = [images]
        for level in self:
            features.append(level(features[-1]))
        return features[1:]


class _Matching(nn.Module):
    """Descriptor matching: a local cost volume around where the flow of the coarser level points."""

    def __init__(self, level, coarsest, channels, match_channels, refine_channels):
        super().__init__()
        self.scale = _scale(level)
        # Near full resolution the volume is computed for every other pixel.
        self.stride = 2 if level < 4 else 1
        self.widen = _widen(level, channels, match_channels)
        self.upsample_flow = None if coarsest else _bilinear_deconv(2)
        self.upsample_cost = _bilinear_deconv(COST_CHANNELS) if self.stride == 2 else None
        self.main = _flow_head(COST_CHANNELS, refine_channels, _kernel_size(level))

    def forward(self, first, second, flow):
        """Returns the flow ``(N, 2, h, w)`` in the network's unit, given the coarser level's or None."""
        first, second = self.widen(first), self.widen(second)
        if self.upsample_flow is not None:
            with torch.autocast(flow.device.type, enabled=False):
                flow = self.upsample_flow(flow)
            second = flow_warp(second, flow * self.scale)
        cost = F.leaky_relu(ops.correlation(first, second, radius=RADIUS, stride=self.stride), 0.1)
        if self.upsample_cost is not None:
            # odd sides, which only a pyramid of three levels has here, have come out one longer; on a CPU anything but
            # float32 with channels last takes ten times as long
            with torch.autocast(cost.device.type, enabled=False):
                cost = self.upsample_cost(cost.float().contiguous(memory_format=torch.channels_last))
            cost = cost[..., :first.shape[-2], :first.shape[-1]]
        update = self.main(cost).float()
        return update if self.upsample_flow is None else flow + update


class _Subpixel(nn.Module):
    """Refinement below the pixel, from both features and the flow."""

    def __init__(self, level, channels, match_channels, refine_channels):
        super().__init__()
        self.scale = _scale(level)
        self.widen = _widen(level, channels, match_channels)
        self.main = _flow_head(2 * (match_channels if level == 2 else channels) + 2, refine_channels,
                               _kernel_size(level))

    def forward(self, first, second, flow):
        """Returns the refined flow ``(N, 2, h, w)``."""
        first, second = self.widen(first), self.widen(second)
        warped = flow_warp(second, flow * self.scale)
        return flow + self.main(torch.cat((first, warped, flow.to(first.dtype)), dim=1)).float()


class _Regularisation(nn.Module):
    """Smoothing by a kernel per pixel, which the image, its error after warping and the flow decide."""

    def __init__(self, level, channels, smooth_channels):
        super().__init__()
        self.scale = _scale(level)
        self.kernel_size = size = _kernel_size(level)
        taps = size**2
        in_channels = smooth_channels[0] if level < 5 else channels
        self.widen = _convs((channels, in_channels), kernel_size=1) if level < 5 else nn.Identity()
        self.main = _convs((in_channels + 3, *smooth_channels))
        if level < 5:
            self.distance = nn.Sequential(
                nn.Conv2d(smooth_channels[-1], taps, (size, 1), padding=(size // 2, 0)),
                nn.Conv2d(taps, taps, (1, size), padding=(0, size // 2)))
        else:
            self.distance = nn.Sequential(nn.Conv2d(smooth_channels[-1], taps, size, padding=size // 2))
        self.combine_x = nn.Conv2d(taps, 1, 1)
        self.combine_y = nn.Conv2d(taps, 1, 1)

    def forward(self, current, previous, first, flow):
        """Returns the smoothed flow ``(N, 2, h, w)``, given the images at this level's size."""
        with torch.no_grad():
            # the norm over channels, many times as fast as Tensor.norm
            error = (current - flow_warp(previous, flow * self.scale)).square().sum(dim=1, keepdim=True).sqrt()
        centred = flow - flow.mean((-2, -1), keepdim=True)
        features = self.widen(first)
        guide = torch.cat((error.to(features.dtype), centred.to(features.dtype), features), dim=1)
        distance = self.distance(self.main(guide)).float().square()
        # A softmax of negative squared distances, as far as the products with the flow have no bias.
        # Below e^-80 come the denormals, with which a CPU takes ten times as long.
        weights = (distance.amin(dim=1, keepdim=True) - distance).clamp(min=-80).exp()
        with torch.autocast(flow.device.type, enabled=False):
            taps = F.unfold(flow, self.kernel_size, padding=self.kernel_size // 2)
            taps_x, taps_y = taps.unflatten(1, (2, -1)).unflatten(-1, flow.shape[-2:]).unbind(1)
            smooth = torch.cat((self.combine_x(weights * taps_x), self.combine_y(weights * taps_y)), dim=1)
        return smooth / weights.sum(dim=1, keepdim=True)


def _scale(level):
    """From the network's unit of flow to pixels of a level: 10 at level 2, 5 at level 3, ..."""
    return FLOW_SCALE / 2**(level - 1)


def _kernel_size(level):
    """Side of a level's last kernels: the finer the larger."""
    return {2: 7, 3: 5, 4: 5}.get(level, 3)


def _widen(level, channels, match_channels):
    return _convs((channels, match_channels), kernel_size=1) if level == 2 else nn.Identity()


def _convs(channels, kernel_size=3, stride=1):
    """Convolutions of one kernel size through ``channels``, each followed by LeakyReLU 0.1."""
    layers = nn.Sequential()
    for in_channels, out_channels in zip(channels, channels[1:]):
        layers.append(nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2))
        layers.append(nn.LeakyReLU(0.1, inplace=True))
    return layers


def _flow_head(in_channels, channels, kernel_size):
    """Convolutions from anything to a flow update."""
    return _convs((in_channels, *channels)).append(nn.Conv2d(channels[-1], 2, kernel_size, padding=kernel_size // 2))


def _bilinear_deconv(channels):
    """A learned upsampling of each channel by two that starts as bilinear interpolation."""
    layer = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)
    ramp = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        layer.weight.copy_(torch.outer(ramp, ramp).expand_as(layer.weight))
    return layer


def _pyramid(images, features):
    """The images at the size of each level's features, each resized from the level above."""
    pyramid = [images]
    for level in features[1:]:
        pyramid.append(F.interpolate(pyramid[-1], size=level.shape[-2:], mode='bilinear', align_corners=False))
    return pyramid
