"""PMCN, a network that removes haze from stereo video, frame by frame.

Parallax tells how far away things are, and haze grows with the distance; the frame before adds what noise and haze
have taken from this one. The network alternates both: in every block the views interact along the rows, and then each
of them is aligned with its own past. Architecture and behaviour follow the code that the authors published
(Jacklikeironman/PMCN, Apache-2.0); every line here is our own. The residual head and the switches are ours, see
:class:`PMCN`.
"""
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from mmweather.registry import MODELS

from ..temporal import RecurrentNetwork
from .blocks import MotionAlignment, ParallaxInteraction
from .checkpoint import PMCN_LAYOUT
from .matching import match_views

#: For each number of blocks the scale of each, relative to the extracted features.
_SCALES = {4: (1, 2, 4, 2), 5: (1, 2, 4, 2, 1)}

#: Width in pixels of the frames in which views are matched.
_MATCHED_WIDTH = 512


@dataclass(frozen=True)
class PMCNState:
    """What one step hands to the next: the features after parallax interaction.

    Args:
        left (tuple[Tensor]): Of the left view, one ``(N, C, H', W')`` per block.
        right (tuple[Tensor]): Of the right view, likewise.
    """

    left: tuple
    right: tuple


@MODELS.register_module()
class PMCN(RecurrentNetwork):
    """Stereo video dehazing, causal.

    The defaults are the published network of four blocks and 3,798,591 parameters.

    Args:
        channels (int): Channels of the features. Defaults to 64.
        num_blocks (int): 4 as in the authors' code (features at 1, 1/2, 1/4 and 1/2 of their resolution), or 5 as in
            the paper's figure (one more at full resolution of the features). Defaults to 4.
        downscale (int): How much smaller than the frame the features are, by pixel unshuffle. Defaults to 2.
        reduce (int): Features, transmission and airlight come from a frame that is this many times smaller, by
            averaging, and the transmission is enlarged again (ours); needs the head 'scattering'. Defaults to 1.
        num_extract_blocks (int): Residual blocks of the feature extraction. Defaults to 2.
        num_dynamic_blocks (int): Dynamic residual blocks of every interaction and every alignment. Defaults to 3.
        num_reconstruct_blocks (int): Residual blocks of the reconstruction. Defaults to 4.
        attention_channels (int): Channels of the parallax attention. Defaults to 32.
        windows (int): Windows of a row in which parallax is searched. Defaults to 4.
        head (str): ``'direct'`` predicts the frame, as published. ``'scattering'`` (ours, for short training) predicts
            what inverts the scattering model; see :class:`ScatteringReconstruction`. Defaults to 'direct'.
        disparity (bool): Each view is also told how far away in its row the attention found what it sees, the
            disparity (ours, for short training). Defaults to False.
        dark_channel (bool): The features also come from the frame's dark channel (He et al., CVPR 2009), which says
            more about haze than any local colour (ours, for short training). Defaults to False.
        matching (bool): The features also come from the disparity that correlation finds between the views at a width
            of up to 512 pixels, where attention on small features is too coarse for what is far away (ours, for short
            training); see :func:`match_views`. Defaults to False.
        parallax (bool): False switches the interaction between the views off, for ablation, ``matching`` too: each view
            is then restored by itself by a network of the same size. Defaults to True.
        motion (bool): False has every frame aligned with itself instead of the one before, for ablation: a network of
            the same size that remembers nothing. Defaults to True.
        as_released (bool): Repeat the slips of the released code; see :class:`ParallaxInteraction`. Defaults to False.

    Raises:
        ValueError: For another number of blocks or another head, or a head that does not suit ``reduce``.
    """

    stereo = True
    bfloat16_on_cpu = True
    official_layouts = (PMCN_LAYOUT, )

    def __init__(self, channels=64, num_blocks=4, downscale=2, reduce=1, num_extract_blocks=2, num_dynamic_blocks=3,
                 num_reconstruct_blocks=4, attention_channels=32, windows=4, head='direct', disparity=False,
                 dark_channel=False, matching=False, parallax=True, motion=True, as_released=False):
        super().__init__()
        if num_blocks not in _SCALES:
            raise ValueError(f'num_blocks: expected 4 or 5, got {num_blocks}')
        if head not in ('direct', 'scattering'):
            raise ValueError(f"head: expected 'direct' or 'scattering', got {head!r}")
        if reduce > 1 and head == 'direct':
            raise ValueError("reduce: a smaller frame has no details to predict a frame from; it needs "
                             "head='scattering'")
        self.channels = channels
        self.downscale = downscale
        self.reduce = reduce
        #: How much smaller than the frame the features are.
        self.stride = downscale * reduce
        self.scales = _SCALES[num_blocks]
        # Every row of every block is cut into windows, and every block's features are pooled to the next one's.
        self.size_divisor = self.min_size = self.stride * max(self.scales) * windows
        self.matches = matching and parallax
        self.extract = FeatureExtraction(channels, downscale, num_extract_blocks, dark_channel, matching)
        self.blocks = nn.ModuleList(
            ParallaxMotionBlock(channels, attention_channels, windows, num_dynamic_blocks, disparity, parallax, motion,
                                as_released)
            for _ in self.scales)
        reconstruction = Reconstruction if head == 'direct' else ScatteringReconstruction
        self.reconstruct = reconstruction(channels, downscale, num_reconstruct_blocks)

    def init_state(self, frames):
        """Makes the state for the first frame: nothing has been seen.

        Args:
            frames (Tensor): The first stereo frame, ``(N, 1, 2, 3, H, W)``.

        Returns:
            PMCNState: Zeros.
        """
        count, (height, width) = len(frames), frames.shape[-2:]
        zeros = tuple(frames.new_zeros(count, self.channels, height // (self.stride * scale),
                                       width // (self.stride * scale)) for scale in self.scales)
        return PMCNState(zeros, zeros)

    def step(self, frames, state):
        """Restores one stereo frame.

        Args:
            frames (Tensor): ``(N, 1, 2, 3, H, W)``, view 0 left, RGB in [0, 1], sides multiples of ``size_divisor``.
            state (PMCNState): From :meth:`init_state` or the previous step.

        Returns:
            tuple[dict, PMCNState]: ``output`` ``(N, 2, 3, H, W)``, not clipped, and ``attention``, one pair of maps
            per block (see :class:`ParallaxInteraction`); of the head 'scattering' also ``transmission``
            ``(N, 2, 1, H, W)`` and ``airlight`` ``(N, 2, 3, 1, 1)``. And the next state.

        Raises:
            ValueError: If the frames are no stereo frames, or their sides do not suit.
        """
        if frames.ndim != 6 or frames.shape[2] != 2:
            raise ValueError('PMCN restores stereo frames of the shape (N, 1, 2, 3, H, W), got '
                             f'{tuple(frames.shape)}; give it both views')
        if frames.shape[-2] % self.size_divisor or frames.shape[-1] % self.size_divisor:
            raise ValueError(f'frames: expected height and width to be multiples of {self.size_divisor}, got '
                             f'{tuple(frames.shape[-2:])}; mmweather.restore_clip pads and crops')
        # Views first, so that both go as one batch where they share weights, and apart without a copy.
        views = frames[:, 0].transpose(0, 1)
        reduced = F.avg_pool2d(views.flatten(0, 1), self.reduce) if self.reduce > 1 else views.flatten(0, 1)
        features = self.extract(reduced, self._matched(*views) if self.matches else None)
        x, memory, attention = features, [], []
        for index, block in enumerate(self.blocks):
            previous = state.left[index], state.right[index]
            result, kept, maps = block(*x.chunk(2), *previous)
            result = torch.cat(result)
            memory.append(kept)
            attention.append(maps)
            x = self._rescale(index, x, result)
        restored = self.reconstruct(x + features, views.flatten(0, 1))
        prediction = {name: value.unflatten(0, (2, -1)).transpose(0, 1) for name, value in restored.items()}
        return dict(prediction, attention=attention), PMCNState(*(tuple(view) for view in zip(*memory)))

    def _matched(self, left, right):
        """What :func:`match_views` finds, at the size of the reduced frame."""
        size = tuple(side // self.reduce for side in left.shape[-2:])
        # The range of disparities is one of pixels: the larger the frames, the further they are reduced first.
        smaller = max(1, round(left.shape[-1] / _MATCHED_WIDTH))
        with torch.no_grad(), torch.autocast(left.device.type, enabled=False):
            if smaller > 1:
                left, right = F.avg_pool2d(left, smaller), F.avg_pool2d(right, smaller)
            matched = match_views(left, right, stride=max(1, self.reduce // smaller))
            return matched if matched.shape[-2:] == size else F.interpolate(matched, size, mode='bilinear')

    def _rescale(self, index, before, after):
        """From one block's input and output to the next one's input."""
        scale = self.scales[index]
        following = self.scales[index + 1] if index + 1 < len(self.scales) else 1
        if following > scale:
            return F.avg_pool2d(after, following // scale)
        if following < scale:
            return F.interpolate(after + before, scale_factor=scale // following, mode='nearest')
        return after


class ParallaxMotionBlock(nn.Module):
    """Parallax interaction and, for each view, motion alignment; see :class:`PMCN` for the arguments."""

    def __init__(self, channels, attention_channels, windows, num_dynamic_blocks, disparity, interaction, remembers,
                 as_released):
        super().__init__()
        self.remembers = remembers
        self.parallax = ParallaxInteraction(channels, attention_channels, windows, num_dynamic_blocks, disparity,
                                            interaction, as_released)
        self.motion = nn.ModuleList(MotionAlignment(channels, num_dynamic_blocks) for _ in range(2))

    def forward(self, left, right, previous_left, previous_right):
        """Takes and returns features ``(N, C, H, W)``.

        Returns:
            tuple: The views' features (left, right), what the next frame is to see of them (left, right), and the
            attention maps.
        """
        left, right, attention = self.parallax(left, right)
        if not self.remembers:
            previous_left, previous_right = left, right
        aligned = self.motion[0](left, previous_left), self.motion[1](right, previous_right)
        return aligned, (left, right), attention


class FeatureExtraction(nn.Module):
    """Pixel unshuffle, a convolution and residual blocks under a skip; shared by the views."""

    def __init__(self, channels, downscale, num_blocks, dark_channel, matching):
        super().__init__()
        self.downscale = downscale
        self.dark_channel = dark_channel
        if matching:
            # begins at nothing, so that weights that were trained without it go on as they are
            self.matched = nn.Conv2d(3 * downscale**2, channels, 3, padding=1, bias=False)
            nn.init.zeros_(self.matched.weight)
        in_channels = 3 * downscale**2 + int(dark_channel)
        self.head = nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.LeakyReLU(0.01))
        self.body = nn.Sequential(*(LeakyResidualBlock(channels) for _ in range(num_blocks)))

    def forward(self, frames, matched=None):
        """Maps frames ``(N, 3, H, W)``, and what was matched if anything, to ``(N, channels, H / downscale, ...)``."""
        packed = F.pixel_unshuffle(frames, self.downscale)
        if self.dark_channel:
            packed = torch.cat((packed, self._dark_channel(frames)), dim=1)
        # Channels last throughout: convolutions read it without reordering, and attention without a copy.
        features = self.head[0](packed.contiguous(memory_format=torch.channels_last))
        if matched is not None:
            features = features + self.matched(F.pixel_unshuffle(matched, self.downscale))
        features = self.head[1](features)
        return features + self.body(features)

    def _dark_channel(self, frames):
        """The least value of any colour in the 5x5 cells around, ``(N, 1, H / downscale, W / downscale)``."""
        brightness = -frames.amin(1, keepdim=True)
        return -F.max_pool2d(F.max_pool2d(brightness, self.downscale), 5, stride=1, padding=2)


class Reconstruction(nn.Module):
    """Pixel shuffle, residual blocks at full resolution and a convolution with LeakyReLU: the frame itself."""

    def __init__(self, channels, downscale, num_blocks):
        super().__init__()
        width = channels // downscale**2
        self.downscale = downscale
        self.body = nn.Sequential(*(LeakyResidualBlock(width) for _ in range(num_blocks)))
        self.tail = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, features, frames):
        """Maps features to ``output``, frames ``(N, 3, H, W)``; the hazy ``frames`` are not used."""
        return dict(output=F.leaky_relu(self.tail(self.body(F.pixel_shuffle(features, self.downscale))), 0.01))


class ScatteringReconstruction(nn.Module):
    """Inverts the scattering model with a predicted optical depth and airlight (ours); starts as the identity.

    Haze makes ``I = J e^-τ + A (1 - e^-τ)`` of a frame J, so ``J = A + (I - A) e^τ``. How dense the haze is, and what
    colour it has, is the same everywhere in a frame, so both come from all of it: ``τ = s e^g`` with a map s that a
    convolution predicts and one number g from the features' mean, and A is a weighted mean of the frame's own colours,
    with weights that add up to one, plus a correction from the features' mean. Where no light arrives any more, as of
    the sky, A is what will be seen.
    """

    #: e^3 = 20: what is hidden more densely is lost in 8 bits.
    MAX_DEPTH = 3.0

    def __init__(self, channels, downscale, num_blocks):
        super().__init__()
        self.downscale = downscale
        self.body = nn.Sequential(*(LeakyResidualBlock(channels) for _ in range(num_blocks)))
        self.tail = nn.Conv2d(channels, downscale**2, 3, padding=1)
        self.attend = nn.Conv2d(channels, 1, 1)
        self.overall = nn.Linear(channels, 4)
        for layer in (self.tail, self.attend, self.overall):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features, frames):
        """Maps features and the hazy ``frames`` ``(N, 3, H, W)``, of any multiple of their size, to what is behind it.

        Returns:
            dict[str, Tensor]: ``output`` ``(N, 3, H, W)``, ``transmission`` ``e^-τ`` ``(N, 1, H, W)`` and ``airlight``
            ``(N, 3, 1, 1)``.
        """
        features = self.body(features)
        density, correction = self.overall(features.mean((2, 3))).float()[..., None, None].tensor_split([1], dim=1)
        weights = self.attend(features).float().flatten(1).softmax(1)
        cells = F.avg_pool2d(frames, frames.shape[-1] // features.shape[-1]).flatten(2)
        airlight = (cells * weights[:, None]).sum(-1)[..., None, None] + correction
        depth = F.pixel_shuffle(self.tail(features), self.downscale).float() * density.exp()
        depth = depth.clamp(max=self.MAX_DEPTH)
        if depth.shape[-2:] != frames.shape[-2:]:
            depth = F.interpolate(depth, frames.shape[-2:], mode='bilinear')
        return dict(output=airlight + (frames - airlight) * depth.exp(), transmission=(-depth).exp(),
                    airlight=airlight)


class LeakyResidualBlock(nn.Module):
    """``x + conv(LReLU(conv(x)))`` with 3x3 convolutions and a slope of 0.1.

    Args:
        channels (int): Channels in and out.
    """

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        """Maps ``(N, C, H, W)`` to the same shape."""
        return x + self.conv2(F.leaky_relu(self.conv1(x), 0.1))
