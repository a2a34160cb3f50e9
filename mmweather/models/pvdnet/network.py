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

from ..temporal import ClipProtocol, RecurrentNetwork
from .bimnet import BIMNet, Encoding
from .checkpoint import PVDNET_LAYOUT


@dataclass(frozen=True)
class PVDState:
    """What one step hands to the next.

    Args:
        previous (Tensor): The blurred frame before, ``(N, 3, H, W)`` in [-1, 1].
        output (Tensor): Its result, not clipped, ``(N, 3, H, W)`` around [-1, 1].
        encoding (Encoding, optional): What BIMNet found in the blurred frame before, so that it need not look twice;
            None if that has to be found out again, with the same result. Defaults to None.
    """

    previous: torch.Tensor
    output: torch.Tensor
    encoding: Encoding | None = None


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
        motion (dict, optional): Arguments of :class:`BIMNet`.
    """

    lookahead = 1
    scene_cuts = True
    bfloat16_on_cpu = True
    official_layouts = (PVDNET_LAYOUT, )

    def __init__(self, volume_channels=64, image_channels=32, channels=64, half_channels=64, bottleneck_channels=128,
                 body_channels=128, num_blocks=12, shuffle=1, zero_init=False, negative_slope=0.0,
                 motion=None):
        super().__init__()
        self.motion = BIMNet(**(motion or {}))
        # For everyday use frames are padded to what both networks accept, so that no pixel goes without motion.
        self.step_divisor = 4 * shuffle
        # As the published numbers were made: frames cropped to multiples of 4, motion estimated within multiples of 32.
        self.protocols = dict(published=ClipProtocol(fit='crop', size_divisor=self.step_divisor))
        self.size_divisor = self.min_size = math.lcm(self.step_divisor, self.motion.size_divisor)
        self.deblur = DeblurNet(volume_channels, image_channels, channels, half_channels, bottleneck_channels,
                                body_channels, num_blocks, shuffle, negative_slope)
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
        # The pixel volume reads whole pixels: no gradient would come back, and a rounded flow would flip some of them.
        with torch.no_grad(), self._full_precision(frames):
            encoding = self.motion.encode(frames[:, 0])
            flow = self.motion.between(encoding, state.encoding or self.motion.encode(_unsigned(state.previous)))
        volume = ops.pixel_volume(state.output, current, flow)
        output = self.deblur(current, state.previous, following, volume)
        # In training the weights may change before the next step.
        kept = None if self.training else encoding
        return dict(output=_unsigned(output), flow=flow, pixel_volume=volume), PVDState(current, output, kept)

    def _full_precision(self, frames):
        """Float32 for the motion when a video is restored, whatever the autocast: bfloat16 costs 22 dB there."""
        return nullcontext() if self.training else torch.autocast(frames.device.type, enabled=False)


class DeblurNet(nn.Module):
    """The deblurring network: a U-Net over frames and pixel volume; see :class:`PVDNet` for the arguments."""

    def __init__(self, volume_channels, image_channels, channels, half_channels, bottleneck_channels, body_channels,
                 num_blocks, shuffle=1, negative_slope=0.0):
        super().__init__()
        self.negative_slope = slope = negative_slope
        self.shuffle, block = shuffle, shuffle**2
        self.volume_branch = nn.Sequential(*_conv_relu(slope, 25 * block, volume_channels, 3),
                                           *_conv_relu(slope, volume_channels, volume_channels, 3))
        self.image_branch = nn.Sequential(*_conv_relu(slope, 9 * block, image_channels, 3),
                                          *_conv_relu(slope, image_channels, image_channels, 3))
        self.merge = nn.Conv2d(volume_channels + image_channels, channels, 5, padding=2)
        self.down1 = nn.Sequential(*_conv_relu(slope, channels, half_channels, 5, stride=2),
                                   nn.Conv2d(half_channels, half_channels, 5, padding=2))
        self.down2 = nn.Sequential(*_conv_relu(slope, half_channels, bottleneck_channels, 5, stride=2),
                                   *_conv_relu(slope, bottleneck_channels, body_channels, 5))
        self.body = nn.Sequential(*(ReLUResidualBlock(body_channels, slope) for _ in range(num_blocks)))
        self.body_end = nn.Sequential(*_conv_relu(slope, body_channels, body_channels, 3))
        self.up1 = nn.ConvTranspose2d(body_channels, half_channels, 4, stride=2, padding=1)
        self.up1_end = nn.Sequential(*_conv_relu(slope, half_channels, half_channels, 5))
        self.up2 = nn.ConvTranspose2d(half_channels, channels, 4, stride=2, padding=1)
        self.up2_end = nn.Sequential(*_conv_relu(slope, channels, channels, 5))
        self.to_residual = nn.Conv2d(channels, 3 * block, 5, padding=2)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, current, previous, following, volume):
        """Deblurs ``current``, all frames ``(N, 3, H, W)`` in [-1, 1], with its pixel volume ``(N, 25, H, W)``."""
        images = torch.cat((current, previous, following), dim=1)
        images, volume = (F.pixel_unshuffle(x, self.shuffle) if self.shuffle > 1 else x for x in (images, volume))
        full = self.merge(torch.cat((self.volume_branch(volume), self.image_branch(images)), dim=1))
        half = self.down1(full)
        quarter = self.down2(half)
        features = self.body_end(self.body(quarter)) + quarter
        features = self.up1_end(self._activated(self.up1(features) + half))
        features = self.up2_end(self._activated(self.up2(features) + full))
        residual = self.to_residual(features).float()
        return current + (F.pixel_shuffle(residual, self.shuffle) if self.shuffle > 1 else residual)

    def _activated(self, features):
        return F.leaky_relu_(features, self.negative_slope) if self.negative_slope else features.relu_()


class ReLUResidualBlock(nn.Sequential):
    """A residual block whose branch ends in a ReLU: ``x + ReLU(conv(ReLU(conv(x))))``."""

    def __init__(self, channels, slope=0.0):
        super().__init__(*_conv_relu(slope, channels, channels, 3), *_conv_relu(slope, channels, channels, 3))

    def forward(self, x):
        """Maps ``(N, C, H, W)`` to the same shape."""
        return x + super().forward(x)


def _conv_relu(slope, in_channels, out_channels, kernel_size, stride=1):
    activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2), activation


def _signed(frames):
    """From [0, 1] to [-1, 1]."""
    return frames * 2 - 1


def _unsigned(frames):
    """From [-1, 1] to [0, 1]."""
    return (frames + 1) / 2
