"""From features at a quarter of the resolution back to full resolution, in space and time."""
import torch
from torch import nn

from .conv3d import ClipConv3d
from .residual import ResidualBlock3d


def pixel_shuffle_clip(x, factor=2):
    """Pixel shuffle of every frame: ``(N, C*factor², T, H, W)`` to ``(N, C, T, H*factor, W*factor)``."""
    # PyTorch's own takes three times as long on a CPU as the same by one copy.
    blocks = x.unflatten(1, (-1, factor, factor)).permute(0, 1, 4, 5, 2, 6, 3)
    return blocks.flatten(5, 6).flatten(3, 4)


def frame_conv(in_channels, out_channels):
    """A 3x3 convolution of every frame by itself, on ``(N, C, T, H, W)``."""
    return ClipConv3d(in_channels, out_channels, (1, 3, 3), padding=(0, 1, 1))


class ClipUpsampler(nn.Module):
    """Two pixel shuffles, each behind a 3x3 convolution per frame, with no activation between.

    The widths follow from the two convolutions: ``widths[0] / 4`` channels between the shuffles and
    ``widths[1] / 4`` channels at full resolution.

    Args:
        in_channels (int): Channels of the input.
        widths (tuple[int, int]): Output channels of the two convolutions.
    """

    def __init__(self, in_channels, widths):
        super().__init__()
        self.conv1 = frame_conv(in_channels, widths[0])
        self.conv2 = frame_conv(widths[0] // 4, widths[1])
        self.out_channels = widths[1] // 4

    def forward(self, x):
        """Maps ``(N, C, T, H, W)`` to ``(N, out_channels, T, 4H, 4W)``."""
        return pixel_shuffle_clip(self.conv2(pixel_shuffle_clip(self.conv1(x))))


class ClipReconstruction(nn.Module):
    """Fuses several streams of per-frame features with 3-D residual blocks and brings them to full resolution.

    Args:
        in_channels (int): Channels of all streams together.
        channels (int): Channels of the residual blocks; full resolution has a quarter of them.
        num_blocks (int): Number of 3-D residual blocks. Defaults to 5.
    """

    def __init__(self, in_channels, channels, num_blocks=5):
        super().__init__()
        self.fuse = ClipConv3d(in_channels, channels, 1)
        self.blocks = nn.Sequential(*(ResidualBlock3d(channels) for _ in range(num_blocks)))
        self.upsample = ClipUpsampler(channels, (2 * channels, channels))
        self.out_channels = self.upsample.out_channels

    def forward(self, streams):
        """Reconstructs.

        Args:
            streams (list[list[Tensor]]): Streams of T tensors ``(N, C, H, W)``.

        Returns:
            Tensor: ``(N, channels / 4, T, 4H, 4W)``.
        """
        x = torch.cat([torch.stack(stream, dim=2) for stream in streams], dim=1)
        return self.upsample(self.blocks(self.fuse(x)))
