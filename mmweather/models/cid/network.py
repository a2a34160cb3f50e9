"""CID: "Towards Cross-scene Image Dehazing via Multi-domain Data Generation and Adaptation".

A Res2Net encoder, blocks with channel and pixel attention between pixel shuffles, and a head. The published head
synthesises the frame; ours for small networks predicts at a quarter of the size how every pixel's colour is to be
changed, which is what dehazing does (J = I / t + A (1 - 1 / t)) and lets the network run where pixels are few.
Architecture from the published description; every line is our own.
"""
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..temporal import ClipNetwork, ClipProtocol
from .checkpoint import OFFICIAL_LAYOUT
from .res2net import Res2Net

#: How much of the smoothed colour is kept from frame to frame, and how much the thumbnails of two frames (mean
#: absolute difference in [0, 1]) may differ before they count as different scenes.
_KEEP, _SAME_SCENE = 0.85, 0.04


@MODELS.register_module()
class CIDNet(ClipNetwork):
    """Dehazing of single frames.

    The defaults are the published network: 49,351,930 parameters.

    Args:
        encoder (dict, optional): Arguments of :class:`Res2Net`.
        head (dict, optional): ``type`` is 'image' for :class:`ImageHead`, as published, or 'affine' for
            :class:`AffineHead`; the rest are its arguments. Defaults to None: 'image'.
        shrink (int): By how much frames are shrunk before the encoder. Defaults to 1.
        extremes (bool): The encoder sees not only the mean of the ``shrink`` x ``shrink`` pixels of a square but their
            least and greatest values too, which tell haze (no dark pixel) and noise (far apart) from what is smooth;
            its ``in_channels`` are 9 then. Defaults to False.
        context (bool): Each block also adds what it makes of the mean over the frame; see :class:`DehazeBlock`.
            Defaults to False.
        freeze_encoder (bool): The encoder keeps its weights and its batch norms' statistics, as in the phases after
            the pre-training. Defaults to False.
        min_size (int): Smallest side the network sees; smaller frames are padded. Defaults to 32.
        tile (int, optional): Side of the tiles in which larger frames are restored. Defaults to 1024.
        smooth_colour (bool): Whether the global colour of a video is smoothed over time. Defaults to True.
    """

    tile_overlap = 128
    official_layouts = (OFFICIAL_LAYOUT, )
    #: As the published test script does: whole frames, cropped to a multiple of ``size_divisor``, 16 there.
    protocols = dict(published=ClipProtocol(fit='crop'))

    def __init__(self, encoder=None, head=None, shrink=1, extremes=False, context=False, freeze_encoder=False,
                 min_size=32, tile=1024, smooth_colour=True):
        super().__init__()
        self.shrink = shrink
        self.extremes = extremes
        self.freeze_encoder = freeze_encoder
        self.min_size = min_size
        self.tile = tile
        self.smooth_colour = smooth_colour
        self.encoder = Res2Net(**(encoder or {}))
        #: That of the frame to the deepest features.
        self.size_divisor = shrink * self.encoder.stride
        shallow, middle, deep = self.encoder.out_channels
        second = deep // 4
        third = (second + middle) // 4
        #: From the deepest features up; the first one's result is the bottleneck.
        self.blocks = nn.ModuleList(DehazeBlock(channels, context) for channels in (deep, second, third))
        self.feature_channels = deep
        head = dict(head or dict(type='image'))
        heads = dict(image=ImageHead, affine=AffineHead)
        self.head = heads[head.pop('type')](third + shallow, **head)
        if freeze_encoder:
            self.encoder.requires_grad_(False).eval()
        # a quarter faster in bfloat16 on the CPU
        self.to(memory_format=torch.channels_last)

    def train(self, mode=True):
        """Sets the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def forward(self, clip, means=(None, None, None)):
        """Restores frames, each by itself.

        Args:
            clip (Tensor): Hazy frames ``(N, T, 3, H, W)``, RGB in [0, 1]; H and W multiples of ``size_divisor``.
            means (Sequence[Tensor]): For each block the mean over the *whole* frame that its channel attention looks
                at, ``(N * T, C)``, where ``clip`` is but a tile; see :meth:`survey`. Defaults to three times None: the
                means of the clip itself.

        Returns:
            dict[str, Tensor]: ``output``, the restored clip ``(N, T, 3, H, W)``; ``feature``, the mean of the
            bottleneck's features ``(N * T, C)``, with C = 1024 in the published network.

        Raises:
            ValueError: If ``clip`` is not five-dimensional or its sides are no multiples of ``size_divisor``.
        """
        self._check(clip)
        frames = clip.flatten(0, 1)
        features, bottleneck = self._trunk(frames, means)
        return dict(output=self.head(features, frames).unflatten(0, clip.shape[:2]), feature=bottleneck)

    def survey(self, mean):
        """Takes the means that :meth:`forward` needs from all tiles of a frame, block after block.

        Each block's mean depends on the ones before it, so the tiles are passed through as often as there are blocks,
        each time a little further; the result is exact.
        """
        means = []
        for level in range(len(self.blocks)):
            means.append(mean(partial(self._response, means=tuple(means), level=level)))
        return dict(means=means)

    def steady(self, clip, output, state):
        """Smooths how the frames' global colour is changed, per channel in brightness and contrast.

        A network that sees one frame at a time judges the air's light anew for every frame; that judgement is smoothed
        exponentially, as long as the frames look alike, so a cut or another photograph starts anew.
        """
        if not self.smooth_colour:
            return output, None
        steadied = []
        for frame, restored in zip(clip.unbind(1), output.unbind(1)):
            now = _Colour.of(frame, restored)
            state = now if state is None else state.towards(now)
            steadied.append(state.apply(restored, now))
        return torch.stack(steadied, dim=1), state

    def _trunk(self, frames, means):
        """Features at the size of the encoder's first stage, and the mean of the bottleneck."""
        shallow, middle, deep = self._encode(frames)
        x = self.blocks[0](deep, means[0])
        bottleneck = x.mean((-2, -1))
        x = self.blocks[1](F.pixel_shuffle(x, 2), means[1])
        x = self.blocks[2](F.pixel_shuffle(torch.cat([x, middle], dim=1), 2), means[2])
        return torch.cat([x, shallow], dim=1), bottleneck

    def _response(self, tile, means, level):
        """What the channel attention of a block averages over a tile."""
        _, middle, x = self._encode(tile.flatten(0, 1))
        if level:
            x = F.pixel_shuffle(self.blocks[0](x, means[0]), 2)
        if level == 2:
            x = F.pixel_shuffle(torch.cat([self.blocks[1](x, means[1]), middle], dim=1), 2)
        return self.blocks[level].response(x)

    def _encode(self, frames):
        seen = F.avg_pool2d(frames, self.shrink) if self.shrink > 1 else frames
        if self.extremes:
            least, greatest = -F.max_pool2d(-frames, self.shrink), F.max_pool2d(frames, self.shrink)
            # the mean, and how far the extremes are from it
            seen = torch.cat([(seen - 0.5) / 0.5, seen - least, greatest - seen], dim=1)
        else:
            seen = (seen - 0.5) / 0.5
        return self.encoder(seen)

    def _check(self, clip):
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f'clip: expected shape (N, T, 3, H, W), got {tuple(clip.shape)}')
        if clip.shape[-2] % self.size_divisor or clip.shape[-1] % self.size_divisor:
            raise ValueError(f'clip: expected height and width to be multiples of {self.size_divisor}, got '
                             f'{tuple(clip.shape[-2:])}; mmweather.restore_clip pads and crops')


class DehazeBlock(nn.Module):
    """Two convolutions with channel attention and pixel attention on their residual.

    ``r = conv(ReLU(conv(x)) + x); y = x + PA(CA(r))``. Attention can only scale what convolutions found in their
    surroundings. With ``context``, ours, two 1x1 convolutions of r's mean over the frame are added to y: what the air's
    light is, or a cast, shows in the frame as a whole and has to be known everywhere.

    Args:
        channels (int): Channels in and out.
        context (bool): See above. Defaults to False, as published.
    """

    def __init__(self, channels, context=False):
        super().__init__()
        hidden = channels // 8
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.channel_attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1), nn.Sigmoid())
        self.pixel_attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, 1, 1), nn.Sigmoid())
        self.context = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 1), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(channels // 2, channels, 1)) if context else None

    def response(self, x):
        """The convolutions alone, ``(N, C, H, W)`` to the same shape."""
        return self.conv2(F.relu(self.conv1(x)) + x)

    def forward(self, x, mean=None):
        """Maps ``(N, C, H, W)`` to the same shape.

        Args:
            x (Tensor): Features.
            mean (Tensor, optional): Mean of :meth:`response` over the whole frame ``(N, C)`` where ``x`` is but a part
                of it. Defaults to None: the mean over ``x``.
        """
        response = self.response(x)
        mean = response.mean((-2, -1), keepdim=True) if mean is None else mean[:, :, None, None]
        response = response * self.channel_attention(mean)
        y = x + response * self.pixel_attention(response)
        return y if self.context is None else y + self.context(mean)


class PyramidEnhancer(nn.Module):
    """Features enhanced by their means over squares of several sizes (after GCANet's and EPDN's enhancers).

    Args:
        channels (int): Channels in.
        out_channels (int): Channels out, in (-1, 1).
        hidden (int): Channels inside. Defaults to 20.
        squares (tuple[int]): Sides of the squares in pixels of the features. Defaults to (32, 16, 8, 4).
    """

    def __init__(self, channels, out_channels, hidden=20, squares=(32, 16, 8, 4)):
        super().__init__()
        self.squares = tuple(squares)
        self.refine = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.LeakyReLU(0.2, inplace=True))
        self.summaries = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(side), nn.Conv2d(hidden, 1, 1), nn.LeakyReLU(0.2, inplace=True))
            for side in self.squares)
        self.merge = nn.Conv2d(hidden + len(self.squares), out_channels, 3, padding=1)

    def forward(self, x):
        """Maps ``(N, channels, H, W)`` to ``(N, out_channels, H, W)``; H and W at least the largest square."""
        x = self.refine(x)
        summaries = [F.interpolate(summary(x), size=x.shape[-2:], mode='nearest') for summary in self.summaries]
        return torch.tanh(self.merge(torch.cat([*summaries, x], dim=1)))


class ImageHead(nn.Module):
    """The published head: to the frame's size by pixel shuffles, enhanced, and synthesised by a 7x7 convolution.

    Args:
        channels (int): Channels of the features at 1/4 of the size.
    """

    def __init__(self, channels):
        super().__init__()
        # The published network holds and never applies it; kept so that files and counts agree.
        self.unused_norm = nn.InstanceNorm2d(100, affine=True)
        self.enhancer = PyramidEnhancer(channels // 16, channels // 16)
        self.to_image = nn.Conv2d(channels // 16, 3, 7, padding=3, padding_mode='reflect')

    def forward(self, features, frames):  # noqa: ARG002  the frames are not looked at again
        """Maps features ``(N, C, H/4, W/4)`` to frames ``(N, 3, H, W)``, in (-1, 1) by the network's construction."""
        features = F.pixel_shuffle(F.pixel_shuffle(features, 2), 2)
        return torch.tanh(self.to_image(self.enhancer(features)))


class AffineHead(nn.Module):
    """Ours, for small networks: predicts colour transforms where pixels are few and applies them to the frame.

    The frame is split into bands at 1/4, 1/2 and the full size (a Laplacian pyramid of means). The coarsest gets an
    affine map of its colours at every pixel; a finer band b becomes ``(1 + g) b + m mean(b)`` with a gain g for all
    channels and a tint m for the band's grey part, per channel. The maps are interpolated bilinearly. So haze is taken
    away with the details as they are, and noise, that of colour first, by damping the bands in which it lives. It
    starts as the identity.

    Args:
        channels (int): Channels of the features, at 1/4 of the size or less.
        hidden (int): Channels of the features that the maps are read from. Defaults to 24.
        squares (tuple[int]): See :class:`PyramidEnhancer`. Defaults to (16, 8, 4, 2).
    """

    def __init__(self, channels, hidden=24, squares=(16, 8, 4, 2)):
        super().__init__()
        self.enhancer = PyramidEnhancer(channels, hidden, hidden, squares)
        # matrix and offset of the coarsest band, gain and tint of each finer one
        self.to_maps = nn.Conv2d(hidden, 9 + 3 + 2 * (1 + 3), 3, padding=1)
        nn.init.zeros_(self.to_maps.weight)
        nn.init.zeros_(self.to_maps.bias)

    def forward(self, features, frames):
        """Maps features ``(N, C, h, w)`` and the frames ``(N, 3, H, W)`` to frames, computed in float32."""
        maps = self.to_maps(self.enhancer(features))
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.float()
            half = F.avg_pool2d(frames, 2)
            quarter = F.avg_pool2d(half, 2)
            maps = maps.float()
            if maps.shape[-2:] != quarter.shape[-2:]:
                maps = F.interpolate(maps, size=quarter.shape[-2:], mode='bilinear', align_corners=False)
            matrix, offset, finer = maps.split((9, 3, 8), dim=1)
            restored = quarter + (matrix.unflatten(1, (3, 3)) * quarter.unsqueeze(1)).sum(2) + offset
            restored, finer = self._with_band(restored, quarter, half, finer)
            return self._with_band(restored, half, frames, finer)[0]

    @staticmethod
    def _with_band(restored, smaller, larger, maps):
        """Enlarges what is restored by two and adds the band between ``smaller`` and ``larger``, transformed.

        Returns:
            tuple[Tensor, Tensor]: The restored frames, and the maps that are left for finer bands, enlarged.
        """
        # interpolated together, which takes half the time
        mean, restored, gain, tint, finer = F.interpolate(
            torch.cat([smaller, restored, maps], dim=1), size=larger.shape[-2:], mode='bilinear',
            align_corners=False).split((3, 3, 1, 3, maps.shape[1] - 4), dim=1)
        band = larger - mean
        restored = torch.addcmul(restored + band, band, gain)
        return torch.addcmul(restored, band.mean(1, keepdim=True), tint), finer


def _moments(image):
    """Standard deviation and mean over rows and columns; ``std_mean`` takes ten times as long on a CPU."""
    mean = image.mean((-2, -1), keepdim=True)
    spread = torch.linalg.vector_norm(image - mean, dim=(-2, -1), keepdim=True)
    return spread / max(image.shape[-2] * image.shape[-1] - 1, 1)**0.5, mean


class _Colour(NamedTuple):
    """How a frame's global colour was changed, and how the frame looked."""

    #: By how much the mean moved, ``(N, 3, 1, 1)``.
    shift: torch.Tensor
    #: Logarithm of the gain in standard deviation, ``(N, 3, 1, 1)``.
    contrast: torch.Tensor
    thumbnail: torch.Tensor

    @classmethod
    def of(cls, frame, restored):
        (deviation, mean), (new_deviation, new_mean) = map(_moments, (frame, restored))
        return cls(new_mean - mean, ((new_deviation + 1e-3) / (deviation + 1e-3)).log(),
                   F.adaptive_avg_pool2d(frame, 16))

    def towards(self, now):
        """The smoothed change, as far as both frames show the same scene."""
        difference = (self.thumbnail - now.thumbnail).abs().mean((-3, -2, -1), keepdim=True)
        keep = _KEEP * torch.exp(-(difference / _SAME_SCENE).square())
        return _Colour(torch.lerp(now.shift, self.shift, keep), torch.lerp(now.contrast, self.contrast, keep),
                       now.thumbnail)

    def apply(self, restored, now):
        """Gives a frame that was changed by ``now`` this change instead."""
        mean = restored.mean((-2, -1), keepdim=True)
        return mean + self.shift - now.shift + (restored - mean) * (self.contrast - now.contrast).exp()
