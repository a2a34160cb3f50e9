"""PVDNet: "Recurrent Video Deblurring with Blur-Invariant Motion Estimation and Pixel Volumes" (ACM TOG 2021).

One step per frame. BIMNet estimates the motion from the current to the previous frame; along it, every pixel collects
candidates from the previous *result*, its pixel volume; a U-shaped network deblurs the current frame with its
neighbours and that volume. Architecture and quirks follow the paper and the behaviour of the authors' published code;
every line here is our own.
"""
import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mmweather import ops
from mmweather.registry import MODELS

from ..layers import flow_warp
from ..temporal import ClipProtocol, RecurrentNetwork
from .bimnet import BIMNet, Encoding
from .checkpoint import PVDNET_LAYOUT

#: Where :func:`blur_path` looks: a time in frames, and pixels beyond it. A shutter that is open for 0.8 of a frame's
#: time sums the light from -0.4 to 0.4, and what it did to a pixel shows most at those ends.
PATH = tuple((sign * time, sign * pixels) for sign in (-1, 1)
             for time, pixels in ((0.2, 0.0), (0.4, -1.0), (0.4, 0.0), (0.4, 1.0), (0.6, 0.0), (0.8, 0.0)))


@dataclass(frozen=True)
class PVDState:
    """What one step hands to the next.

    Args:
        previous (Tensor): The blurred frame before, ``(N, 3, H, W)`` in [-1, 1].
        output (Tensor): Its result, not clipped, ``(N, 3, H, W)`` around [-1, 1].
        encoding (Encoding, optional): What BIMNet found in the blurred frame before, so that it need not look twice;
            None if that has to be found out again, with the same result. Defaults to None.
        following (Encoding, optional): Likewise of the frame after that one, where the network looks at the motion to
            both sides. Defaults to None.
    """

    previous: torch.Tensor
    output: torch.Tensor
    encoding: Encoding | None = None
    following: Encoding | None = None


@MODELS.register_module()
class PVDNet(RecurrentNetwork):
    """Recurrent video deblurring with one frame of look-ahead.

    The defaults are the published network: 5,132,579 parameters and 5,381,969 of BIMNet.

    Args:
        volume_channels (int): Channels of the pixel volume's branch. Defaults to 64.
        image_channels (int): Channels of the frames' branch. Defaults to 32.
        channels (int): Channels at full resolution. Defaults to 64.
        half_channels (int): Channels at half resolution. Defaults to 64.
        bottleneck_channels (int): Channels of the first convolution at a quarter of the resolution. Defaults to 128.
        body_channels (int): Channels of the residual blocks. Defaults to 128.
        num_blocks (int): Number of residual blocks. Defaults to 12.
        shuffle (int): The network sees blocks of this many pixels squared as one pixel with all their channels, and
            all its resolutions are divided by it: ours, for speed. Defaults to 1: as published.
        zero_init (bool): Begin as the network that changes nothing, instead of with Xavier's initialisation of the
            last convolution: ours, for short trainings. Defaults to False.
        negative_slope (float): Slope of the activations below zero. Ours: with ``zero_init`` and a high learning rate
            plain ReLUs can die together in the first steps, and the network stays the identity for good. Defaults to
            0.0: ReLU, as published.
        kernel_size (int): Side of the U's kernels outside of its body. Defaults to 5: as published.
        path_channels (int): Channels of a third branch, which sees the frame along the path that blurred it
            (:func:`blur_path`), where undoing the blur needs no direction and no length any more; both neighbours are
            then seen where the flow finds them. BIMNet estimates the flow to the following frame too. Ours, for short
            trainings. Defaults to 0: no such branch, as published.
        precise_motion (bool): When a video is restored the motion is estimated in float32, whatever the autocast: with
            weights that were never trained bfloat16 moves the result 22 dB further from that of float32. Defaults to
            True.
        motion (dict, optional): Arguments of :class:`BIMNet`.
    """

    lookahead = 1
    scene_cuts = True
    bfloat16_on_cpu = True
    channels_last = True
    official_layouts = (PVDNET_LAYOUT, )

    def __init__(self, volume_channels=64, image_channels=32, channels=64, half_channels=64, bottleneck_channels=128,
                 body_channels=128, num_blocks=12, shuffle=1, zero_init=False, negative_slope=0.0,
                 kernel_size=5, path_channels=0, precise_motion=True, motion=None):
        super().__init__()
        self.looks_along = bool(path_channels)
        self.precise_motion = precise_motion
        self.motion = BIMNet(**(motion or {}))
        # For everyday use frames are padded to what both networks accept, so that no pixel goes without motion.
        self.step_divisor = 4 * shuffle
        # As the published numbers were made: frames cropped to multiples of 4, motion estimated within multiples of 32.
        self.protocols = dict(published=ClipProtocol(fit='crop', size_divisor=self.step_divisor))
        self.size_divisor = self.min_size = math.lcm(self.step_divisor, self.motion.size_divisor)
        self.deblur = DeblurNet(volume_channels, image_channels, channels, half_channels, bottleneck_channels,
                                body_channels, num_blocks, shuffle, negative_slope, kernel_size, path_channels)
        if zero_init:
            nn.init.zeros_(self.deblur.to_residual.weight)

    def init_state(self, frames):
        """Makes the state for a video's first frame, or in training for the frame before the first target.

        Args:
            frames (Tensor): The frame and the one after it, ``(N, 2, 3, H, W)`` in [0, 1].

        Returns:
            PVDState: The frame stands for the one before it, and for that one's result.
        """
        first = _signed(frames[:, 0])
        return PVDState(first, first)

    def step(self, frames, state):
        """Deblurs one frame.

        Args:
            frames (Tensor): The frame and the one after it, ``(N, 2, 3, H, W)``, RGB in [0, 1]; sides multiples of 4
                (times ``shuffle``) and at least ``min_size``.
            state (PVDState): From :meth:`init_state` or the previous step.

        Returns:
            tuple[dict[str, Tensor], PVDState]: ``output`` ``(N, 3, H, W)`` around [0, 1], not clipped; ``flow``
            ``(N, 2, H, W)`` from the frame to the previous one, in pixels, without gradient; ``pixel_volume``
            ``(N, 25, H, W)``, gray in [-1, 1]. And the next state.

        Raises:
            ValueError: If the frames' sides are no such multiples.
        """
        current, following = _signed(frames).unbind(1)
        if current.shape[-2] % self.step_divisor or current.shape[-1] % self.step_divisor:
            raise ValueError(f'frames: expected height and width to be multiples of {self.step_divisor}, got '
                             f'{tuple(current.shape[-2:])}; mmweather.restore_clip pads and crops')
        after, path, neighbours = None, None, (state.previous, following)
        # The pixel volume reads whole pixels: no gradient would come back, and a rounded flow would flip some of them.
        with torch.no_grad(), self._motion_precision(frames):
            encoding = state.following or self.motion.encode(frames[:, 0])
            before = state.encoding or self.motion.encode(_unsigned(state.previous))
            if self.looks_along:
                after = self.motion.encode(frames[:, 1])
                flow, ahead = self.motion.between(encoding.twice(), before.joined(after)).chunk(2)
            else:
                flow = self.motion.between(encoding, before)
        if self.looks_along:
            with torch.no_grad(), torch.autocast(frames.device.type, enabled=False):
                path = blur_path(current, *_mirrored(flow, ahead, current, state.previous, following),
                                 self.deblur.shuffle)
                neighbours = flow_warp(state.previous, flow, 'border'), flow_warp(following, ahead, 'border')
        volume = ops.pixel_volume(state.output, current, flow)
        output = self.deblur(current, *neighbours, volume, path)
        # BIMNet in training may have changed before the next step.
        learns = self.training and any(weight.requires_grad for weight in self.motion.parameters())
        kept = () if learns else (encoding, after)
        return dict(output=_unsigned(output), flow=flow, pixel_volume=volume), PVDState(current, output, *kept)

    def _motion_precision(self, frames):
        """Where the motion is estimated, when a video is restored, in float32 whatever the autocast."""
        autocast = self.training or not self.precise_motion
        return nullcontext() if autocast else torch.autocast(frames.device.type, enabled=False)


class DeblurNet(nn.Module):
    """The deblurring network: a U-Net over frames and pixel volume; see :class:`PVDNet` for the arguments."""

    def __init__(self, volume_channels, image_channels, channels, half_channels, bottleneck_channels, body_channels,
                 num_blocks, shuffle=1, negative_slope=0.0, kernel_size=5, path_channels=0):
        super().__init__()
        self.negative_slope = slope = negative_slope
        self.shuffle, block, size = shuffle, shuffle**2, kernel_size
        self.volume_branch = nn.Sequential(*_conv_relu(slope, 25 * block, volume_channels, 3),
                                           *_conv_relu(slope, volume_channels, volume_channels, 3))
        self.image_branch = nn.Sequential(*_conv_relu(slope, 9 * block, image_channels, 3),
                                          *_conv_relu(slope, image_channels, image_channels, 3))
        self.path_branch = _PathBranch(shuffle, path_channels, slope) if path_channels else None
        self.merge = nn.Conv2d(volume_channels + image_channels + path_channels, channels, size, padding=size // 2)
        self.down1 = nn.Sequential(*_conv_relu(slope, channels, half_channels, size, stride=2),
                                   nn.Conv2d(half_channels, half_channels, size, padding=size // 2))
        self.down2 = nn.Sequential(*_conv_relu(slope, half_channels, bottleneck_channels, size, stride=2),
                                   *_conv_relu(slope, bottleneck_channels, body_channels, size))
        self.body = nn.Sequential(*(ReLUResidualBlock(body_channels, slope) for _ in range(num_blocks)))
        self.body_end = nn.Sequential(*_conv_relu(slope, body_channels, body_channels, 3))
        self.up1 = nn.ConvTranspose2d(body_channels, half_channels, 4, stride=2, padding=1)
        self.up1_end = nn.Sequential(*_conv_relu(slope, half_channels, half_channels, size))
        self.up2 = nn.ConvTranspose2d(half_channels, channels, 4, stride=2, padding=1)
        self.up2_end = nn.Sequential(*_conv_relu(slope, channels, channels, size))
        self.to_residual = nn.Conv2d(channels, 3 * block, size, padding=size // 2)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, current, previous, following, volume, path=None):
        """Deblurs ``current``, all frames ``(N, 3, H, W)`` in [-1, 1], with its pixel volume ``(N, 25, H, W)``.

        With a path branch, ``path`` is what :func:`blur_path` returns in blocks, and the neighbours are aligned.
        """
        images = torch.cat([_lowered(image) for image in (current, previous, following)], dim=1)
        branches = [branch[1:](_convolve_blocks(branch[0], x, self.shuffle))
                    for branch, x in ((self.volume_branch, volume), (self.image_branch, images))]
        if self.path_branch is not None:
            branches.append(self.path_branch(*path))
        full = self.merge(torch.cat(branches, dim=1))
        half = self.down1(full)
        quarter = self.down2(half)
        features = self.body_end(self.body(quarter)) + quarter
        features = self.up1_end(self._activated(self.up1(features) + half))
        features = self.up2_end(self._activated(self.up2(features) + full))
        residual = self.to_residual(features).float()
        return current + (F.pixel_shuffle(residual, self.shuffle) if self.shuffle > 1 else residual)

    def _activated(self, features):
        return F.leaky_relu_(features, self.negative_slope) if self.negative_slope else features.relu_()


class _PathBranch(nn.Module):
    """Reads the frame along the path of its blur; how far that goes scales what is read."""

    def __init__(self, shuffle, channels, slope):
        super().__init__()
        self.shuffle, block = shuffle, shuffle**2
        self.read = nn.Conv2d(3 * len(PATH) * block, channels, 1)
        self.scale = nn.Conv2d(5 * block, channels, 1)
        self.mix = nn.Sequential(nn.LeakyReLU(slope, inplace=True), *_conv_relu(slope, channels, channels, 3))

    def forward(self, samples, motion):
        """Maps what :func:`blur_path` returns to features."""
        # A convolution of single pixels; as a product of matrices it needs no channels last, which takes longer.
        read = self.read.weight.flatten(1) @ samples.flatten(2)
        read = (read + self.read.bias.to(read.dtype)[:, None]).unflatten(-1, samples.shape[-2:])
        return self.mix(read * (1 + _convolve_blocks(self.scale, motion, self.shuffle)))


class ReLUResidualBlock(nn.Sequential):
    """A residual block whose branch ends in a ReLU: ``x + ReLU(conv(ReLU(conv(x))))``."""

    def __init__(self, channels, slope=0.0):
        super().__init__(*_conv_relu(slope, channels, channels, 3), *_conv_relu(slope, channels, channels, 3))

    def forward(self, x):
        """Maps ``(N, C, H, W)`` to the same shape."""
        return x + super().forward(x)


def blur_path(current, flow, ahead, shuffle=1):
    """Looks at a frame along the path on which its light has moved while the shutter was open.

    The path is the parabola through where the flows to the previous and to the following frame point. On it, the blur
    of every pixel is the same one-dimensional mean, whatever its direction and length.

    Args:
        current (Tensor): Frames ``(N, 3, H, W)``.
        flow (Tensor): Flow ``(N, 2, H, W)`` to the previous frame, in pixels.
        ahead (Tensor): Flow to the following frame.
        shuffle (int): Side ``s`` of the blocks in which the samples come, ordered as by ``pixel_unshuffle``. Defaults
            to 1.

    Returns:
        tuple[Tensor, Tensor]: The frame at the places of :data:`PATH` less the frame itself,
        ``(N, 3 * P * s**2, H / s, W / s)``; and speed, bend and length of the path, in units of 8 pixels,
        ``(N, 5, H, W)``.
    """
    n, _, height, width = current.shape
    speed, bend = (ahead - flow) / 2, (ahead + flow) / 2
    length = speed.square().sum(dim=1, keepdim=True).sqrt()
    # All places of all pixels at once, in the order of the blocks: what is sampled needs no more sorting.
    motion = torch.stack((speed, bend, speed / (length + 1e-3)), dim=1).flatten(1, 2)
    motion = _blocks(motion, shuffle).unflatten(1, (3, 2, shuffle**2)).movedim(2, -1).contiguous()
    motion = motion * motion.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    ends = (torch.linspace(-1, 1, side, device=motion.device, dtype=motion.dtype) for side in (width, height))
    pixels = _blocks(torch.stack(torch.meshgrid(*ends, indexing='xy'))[None], shuffle)
    pixels = pixels.unflatten(1, (1, 2, -1)).movedim(2, -1).expand(n, -1, -1, -1, -1, -1)
    places = motion.new_tensor([(time, time**2, beyond, 1) for time, beyond in PATH])
    grid = (places @ torch.cat((motion, pixels), dim=1).flatten(2)).view(n, len(PATH), *motion.shape[2:])
    # The places are a batch, over which PyTorch shares the work out among the cores.
    frames = current.to(grid.dtype)[:, None].expand(-1, len(PATH), -1, -1, -1)
    samples = F.grid_sample(frames.flatten(0, 1), grid.flatten(0, 1).flatten(1, 2), padding_mode='border',
                            align_corners=True)
    samples = samples.view(n, len(PATH), 3, *grid.shape[2:5])
    samples = samples.sub_(_blocks(current, shuffle).unflatten(1, (1, 3, -1)))
    return samples.flatten(1, 3), torch.cat((speed, bend, length), dim=1) / 8


def _blocks(x, size):
    """``pixel_unshuffle``, which takes three times as long on a CPU as the same by a copy."""
    if size == 1:
        return x
    rows, columns = (side // size for side in x.shape[-2:])
    blocks = x.unflatten(-1, (columns, size)).unflatten(-3, (rows, size))
    return blocks.permute(0, 1, 3, 5, 2, 4).reshape(len(x), -1, rows, columns)


def _convolve_blocks(conv, x, size):
    """``conv(pixel_unshuffle(x, size))``, as one convolution with a stride: nothing has to be sorted."""
    weight = conv.weight.unflatten(1, (x.shape[1], size, size)).permute(0, 1, 4, 2, 5, 3)
    weight = weight.flatten(4, 5).flatten(2, 3)
    if not conv.weight.is_contiguous():  # but with channels last: so shall this one be
        weight = weight.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, conv.bias, stride=size, padding=[size * side for side in conv.padding])


def _lowered(x):
    """In the precision of the autocast, if there is one."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _mirrored(flow, ahead, current, previous, following):
    """The motion; where at a video's ends a frame stands for its own neighbour, it is taken to go on as it was."""
    def same(neighbour):
        return (neighbour == current).flatten(1).all(dim=1)[:, None, None, None]

    return torch.where(same(previous), -ahead, flow), torch.where(same(following), -flow, ahead)


def _conv_relu(slope, in_channels, out_channels, kernel_size, stride=1):
    activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2), activation


def _signed(frames):
    """From [0, 1] to [-1, 1]."""
    return frames * 2 - 1


def _unsigned(frames):
    """From [-1, 1] to [0, 1]."""
    return (frames + 1) / 2
