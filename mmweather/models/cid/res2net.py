"""Res2Net v1b (Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021) up to its third stage.

Module names are those of the published ImageNet weights (``res2net101_v1b_26w_4s-*.pth``), so such a file is read as it
is; its fourth stage and classifier are left out. Written from the architecture's description.
"""
import torch
from torch import nn

from mmweather.errors import UserError

from ..checkpoint import read_state_dict

#: What an ImageNet file holds besides the stages that are used.
_UNUSED = ('layer4.', 'fc.')


class Res2NetBottleneck(nn.Module):
    """A bottleneck whose 3x3 convolution is split into slices that feed each other.

    ``conv 1x1 → slices → 3x3 per slice → concatenation → conv 1x1 → + shortcut``. The last slice has no convolution.
    In a block that opens a stage the slices do not feed each other, and the last one is average-pooled by the stride.

    Args:
        in_channels (int): Channels of the input.
        planes (int): Nominal width; ``planes * expansion`` channels leave the block.
        stride (int): Of the 3x3 convolutions. Defaults to 1.
        opens_stage (bool): Whether it is the first block of a stage. Defaults to False.
        base_width (int): Width of a slice per 64 planes. Defaults to 26.
        scales (int): Number of slices. Defaults to 4.
        expansion (int): Defaults to 4.
    """

    def __init__(self, in_channels, planes, stride=1, opens_stage=False, base_width=26, scales=4, expansion=4):
        super().__init__()
        width = planes * base_width // 64
        out_channels = planes * expansion
        self.scales = scales
        self.opens_stage = opens_stage
        self.conv1 = nn.Conv2d(in_channels, width * scales, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scales)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False) for _ in range(scales - 1))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scales - 1))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1) if opens_stage else nn.Identity()
        self.conv3 = nn.Conv2d(width * scales, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels)) if opens_stage else None

    def forward(self, x):
        """Maps ``(N, in_channels, H, W)`` to ``(N, planes * expansion, H / stride, W / stride)``."""
        *slices, last = self.relu(self.bn1(self.conv1(x))).chunk(self.scales, dim=1)
        responses, response = [], None
        for part, conv, norm in zip(slices, self.convs, self.bns):
            fed = part if response is None or self.opens_stage else part + response
            response = self.relu(norm(conv(fed)))
            responses.append(response)
        merged = self.bn3(self.conv3(torch.cat([*responses, self.pool(last)], dim=1)))
        return self.relu(merged + (x if self.downsample is None else self.downsample(x)))


class Res2Net(nn.Module):
    """The encoder: a deep stem and three stages, at 1/4, 1/8 and 1/16 of the frame.

    The defaults are Res2Net-101 v1b 26w x 4s without its fourth stage: 28,178,616 parameters.

    Args:
        stem (tuple[int]): Channels of the three convolutions of the stem. Defaults to (32, 32, 64).
        planes (tuple[int]): Nominal widths of the stages. Defaults to (64, 128, 256).
        blocks (tuple[int]): Blocks per stage. Defaults to (3, 4, 23).
        base_width (int): Width of a slice per 64 planes. Defaults to 26.
        scales (int): Slices per block. Defaults to 4.
        expansion (int): Defaults to 4.
        pool (bool): Whether the stem ends in a max pooling by two. A network that is given frames of a smaller size
            leaves it out. Defaults to True.
        in_channels (int): Channels of the input. Defaults to 3.
        checkpoint (str, optional): ImageNet weights that the user has; nothing is ever downloaded. Weights that are
            loaded later go before them. Defaults to None.

    Raises:
        UserError: If the checkpoint cannot be read or does not fit.
    """

    def __init__(self, stem=(32, 32, 64), planes=(64, 128, 256), blocks=(3, 4, 23), base_width=26, scales=4,
                 expansion=4, pool=True, in_channels=3, checkpoint=None):
        super().__init__()
        first, second, third = stem
        self.conv1 = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 3, padding=1, bias=False), nn.BatchNorm2d(second), nn.ReLU(inplace=True),
            nn.Conv2d(second, third, 3, padding=1, bias=False))
        self.bn1 = nn.BatchNorm2d(third)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if pool else nn.Identity()
        #: Of the last stage.
        self.stride = 16 if pool else 8
        options = dict(base_width=base_width, scales=scales, expansion=expansion)
        self.out_channels = tuple(width * expansion for width in planes)
        self.layer1 = _stage(third, planes[0], blocks[0], 1, options)
        self.layer2 = _stage(self.out_channels[0], planes[1], blocks[1], 2, options)
        self.layer3 = _stage(self.out_channels[1], planes[2], blocks[2], 2, options)
        self._initialise()
        if checkpoint:
            self.load_imagenet(checkpoint)

    def _initialise(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def load_imagenet(self, checkpoint):
        """Loads the published ImageNet weights, whose fourth stage and classifier are passed over.

        Args:
            checkpoint (str | Path): The file; it is not unpickled.

        Raises:
            UserError: If it cannot be read or does not fit.
        """
        state = {key: value for key, value in read_state_dict(checkpoint).items() if not key.startswith(_UNUSED)}
        own = self.state_dict()
        # files of older PyTorch do not count batches
        wrong = [key for key in own if not key.endswith('num_batches_tracked')
                 and (key not in state or state[key].shape != own[key].shape)]
        wrong += [key for key in state if key not in own]
        if wrong:
            raise UserError(f'{checkpoint}: does not fit the encoder ({len(wrong)} keys, for example {wrong[0]}); give '
                            'res2net101_v1b_26w_4s, or leave "checkpoint" of the encoder out')
        self.load_state_dict(state, strict=False)

    def forward(self, x):
        """Encodes frames.

        Args:
            x (Tensor): ``(N, in_channels, H, W)``, colours normalised to [-1, 1].

        Returns:
            tuple[Tensor, Tensor, Tensor]: The stages' features at 1/4, 1/8 and 1/16 of the size.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        shallow = self.layer1(x)
        middle = self.layer2(shallow)
        return shallow, middle, self.layer3(middle)


def _stage(in_channels, planes, blocks, stride, options):
    out_channels = planes * options['expansion']
    return nn.Sequential(
        Res2NetBottleneck(in_channels, planes, stride, opens_stage=True, **options),
        *(Res2NetBottleneck(out_channels, planes, **options) for _ in range(blocks - 1)))
