"""Residual blocks without normalisation, the staple of video restoration since EDSR (CVPR Workshops 2017)."""
from torch import nn

from .conv3d import ClipConv3d


class ResidualBlock(nn.Module):
    """``x + conv(ReLU(conv(x)))`` with 3x3 convolutions and no normalisation.

    Args:
        channels (int): Channels in and out.
    """

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """Maps ``(N, C, H, W)`` to the same shape."""
        return x + self.conv2(self.relu(self.conv1(x)))


class ResidualBlock3d(nn.Module):
    """:class:`ResidualBlock` in space and time: 3x3x3 convolutions on ``(N, C, T, H, W)``.

    Args:
        channels (int): Channels in and out.
    """

    def __init__(self, channels):
        super().__init__()
        self.conv1 = ClipConv3d(channels, channels, 3, padding=1)
        self.conv2 = ClipConv3d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        """Maps ``(N, C, T, H, W)`` to the same shape."""
        return x + self.conv2(self.relu(self.conv1(x)))


class ResidualBlocksWithInputConv(nn.Sequential):
    """A 3x3 convolution with LeakyReLU 0.1, then residual blocks (BasicVSR, CVPR 2021).

    Args:
        in_channels (int): Channels of the input.
        channels (int): Channels of the blocks and of the output.
        num_blocks (int): Number of residual blocks.
    """

    def __init__(self, in_channels, channels, num_blocks):
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(ResidualBlock(channels) for _ in range(num_blocks))))
