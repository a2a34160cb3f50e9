"""The parts of PMCN: dynamic residual blocks, selective merging, parallax interaction and motion alignment.

Parallax interaction has a long range, attention along the rows of a rectified pair as in PASSRnet (CVPR 2019), and a
short range, convolutions along the rows of both views. Behaviour follows the authors' published code, except where
:class:`ParallaxInteraction` says so; every line here is our own.
"""
import torch
from torch import nn
from torch.nn import functional as F

from mmweather.ops import DDF, ModulatedDeformConv2dPack


class DynamicResidualBlock(nn.Module):
    """``u = x + LReLU(DDF(x))``, ``y = x + conv(LReLU(conv(u)))`` with slopes of 0.1, as in the authors' code.

    The paper's figure draws another wiring, ``y = x + u + conv(ReLU(conv(u)))``; the code's is taken, since the
    published numbers are its.

    Args:
        channels (int): Channels in and out.
        kernel_size (tuple[int, int]): Of the plain convolutions; ``(1, 9)`` looks along the rows.
    """

    def __init__(self, channels, kernel_size):
        super().__init__()
        padding = tuple(side // 2 for side in kernel_size)
        self.dynamic = DDF(channels)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size, padding=padding)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size, padding=padding)

    def forward(self, x):
        """Maps ``(N, C, H, W)`` to the same shape."""
        filtered = x + F.leaky_relu(self.dynamic(x), 0.1)
        return x + self.conv2(F.leaky_relu(self.conv1(filtered), 0.1))


class SelectiveMerge(nn.Module):
    """Weighted sum of several feature maps, the weights per channel from all of them (SKNet, CVPR 2019).

    Args:
        channels (int): Channels of each map.
        branches (int): Number of maps.
        reduction (int): How much narrower the vector is that the weights come from. Defaults to 4.
    """

    def __init__(self, channels, branches, reduction=4):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.excite = nn.Conv2d(channels // reduction, branches * channels, 1, bias=False)

    def forward(self, *maps):
        """Merges maps ``(N, C, H, W)`` into one."""
        overall = sum(m.mean((2, 3), keepdim=True) for m in maps)
        logits = self.excite(F.leaky_relu(self.squeeze(overall), 0.01))
        weights = logits.unflatten(1, (len(maps), -1)).softmax(1)
        return sum(m * weight for m, weight in zip(maps, weights.unbind(1)))


class ParallaxInteraction(nn.Module):
    """What the views learn from each other.

    Long range: in every row, within each of ``windows`` windows of equal width, every pixel of a view attends to those
    of the other one, ``M_{r→l} = softmax(Q Kᵀ)`` and ``M_{l→r} = softmax((Q Kᵀ)ᵀ)`` with queries from the left and
    keys from the right view. Short range: both views together through dynamic blocks of 1x9 convolutions. Each view
    then merges itself and what it got from both ranges.

    The released code has two slips in the right view, both of which we correct: with more than one window it is given
    ``M_{r→l} V_r``, which belongs to the left view, and in any case its result goes through the left view's output
    convolution, so that the right view's is never used.

    Args:
        channels (int): Channels of the features.
        attention_channels (int): Channels of queries, keys and values. Defaults to 32.
        windows (int): Windows per row. Defaults to 4.
        num_dynamic_blocks (int): Dynamic residual blocks of the short range. Defaults to 3.
        disparity (bool): What a view gets from the long range includes, as one more value, how many columns away the
            attention looks on average (ours). Defaults to False.
        interaction (bool): False lets each view interact with itself alone, for ablation: the same network and
            parameters, without anything of the other view. Defaults to True.
        as_released (bool): Repeat the released code's slips, to compare with weights trained by it. Defaults to False.
    """

    def __init__(self, channels, attention_channels=32, windows=4, num_dynamic_blocks=3, disparity=False,
                 interaction=True, as_released=False):
        super().__init__()
        self.windows = windows
        self.disparity = disparity
        self.interaction = interaction
        self.as_released = as_released
        self.query = nn.Conv2d(channels, attention_channels, 1)
        self.key = nn.Conv2d(channels, attention_channels, 1)
        self.values = nn.ModuleList(nn.Conv2d(channels, attention_channels, 1) for _ in range(2))
        self.outputs = nn.ModuleList(nn.Conv2d(attention_channels + int(disparity), channels, 1) for _ in range(2))
        self.mix = nn.Conv2d(2 * channels, channels, 1)
        self.body = nn.Sequential(*(DynamicResidualBlock(channels, (1, 9)) for _ in range(num_dynamic_blocks)))
        self.merges = nn.ModuleList(SelectiveMerge(channels, branches=3) for _ in range(2))

    def forward(self, left, right):
        """Lets the views interact.

        Args:
            left (Tensor): Features ``(N, C, H, W)``, W a multiple of ``windows``.
            right (Tensor): Features of the same shape.

        Returns:
            tuple[Tensor, Tensor, tuple[Tensor, Tensor]]: Features of both views, and the attention maps
            ``(M_{r→l}, M_{l→r})``, each ``(N, H, windows, W / windows, W / windows)`` whose last axis, over the pixels
            of the other view, sums to one.
        """
        if not self.interaction:
            alone = self._interact(left, left), self._interact(right, right)
            return alone[0][0], alone[1][1], (alone[0][2][0], alone[1][2][1])
        return self._interact(left, right)

    def _interact(self, left, right):
        to_left, to_right = maps = self.attention(left, right)
        from_left, from_right = (self._rows(value(view)) for value, view in zip(self.values, (left, right)))
        seen_by_left = self._seen(to_left, from_right, self.outputs[0], 1)
        if not self.as_released:
            seen_by_right = self._seen(to_right, from_left, self.outputs[1], -1)
        elif self.windows > 1:
            seen_by_right = seen_by_left
        else:
            seen_by_right = self._seen(to_right, from_left, self.outputs[0], -1)
        both = self.body(F.relu(self.mix(torch.cat((left, right), dim=1))))
        return (self.merges[0](left, seen_by_left, both), self.merges[1](right, seen_by_right, both), maps)

    def attention(self, left, right):
        """The attention maps; see :meth:`forward`."""
        scores = self._rows(self.query(left)) @ self._rows(self.key(right)).transpose(-1, -2)
        return scores.softmax(-1), scores.transpose(-1, -2).softmax(-1)

    def _rows(self, x):
        """``(N, C, H, W)`` as windows of rows of pixels, ``(N, H, windows, W / windows, C)``."""
        return x.permute(0, 2, 3, 1).unflatten(2, (self.windows, -1))

    def _seen(self, attention, values, output, sign):
        seen = attention.to(values.dtype) @ values
        if self.disparity:
            columns = torch.arange(attention.shape[-1], dtype=torch.float32, device=attention.device)
            # An elementwise product, since autocast would round the columns of a matrix product to 8 bits.
            away = sign * (columns - (attention.float() * columns).sum(-1))
            seen = torch.cat((seen, away[..., None].to(seen.dtype)), dim=-1)
        return F.relu(output(seen.flatten(2, 3).permute(0, 3, 1, 2)))


class MotionAlignment(nn.Module):
    """Brings the features of the frame before to the current one; one of these per view.

    A modulated deformable convolution reads the features that parallax interaction made of the frame before, with
    offsets from both frames; the result is merged with the current features and refined by dynamic blocks.

    Args:
        channels (int): Channels of the features.
        num_dynamic_blocks (int): Dynamic residual blocks. Defaults to 3.
    """

    def __init__(self, channels, num_dynamic_blocks=3):
        super().__init__()
        self.guide = nn.Conv2d(2 * channels, channels, 1)
        self.align = ModulatedDeformConv2dPack(channels, channels, 3, padding=1)
        self.merge = SelectiveMerge(channels, branches=2)
        self.body = nn.Sequential(*(DynamicResidualBlock(channels, (3, 3)) for _ in range(num_dynamic_blocks)))

    def forward(self, current, previous):
        """Aligns and merges.

        Args:
            current (Tensor): Features of the current frame ``(N, C, H, W)``.
            previous (Tensor): Features of the frame before, of the same shape.

        Returns:
            Tensor: ``(N, C, H, W)``.
        """
        guide = F.relu(self.guide(torch.cat((current, previous), dim=1)))
        return self.body(self.merge(self.align(previous, guide), current))
