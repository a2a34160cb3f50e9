"""Decoupled dynamic filter (DDF), its filter normalisation, and the layers built on them.

Paper: Zhou et al., Decoupled Dynamic Filter Networks, CVPR 2021, Eqs. 2 to 5 and Sec. 3.3. A dynamic convolution has a
filter of its own at each channel and pixel; here that filter is the product (or sum) of one per channel and one per
pixel, so it never has to be held. The neighbourhood is the zero-padded one of a depth-wise convolution.

The reference works through tiles of channels and rows that fit the cache, whatever the kernel size.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmweather.ops import backend
from mmweather.ops.registration import (
    compute_dtype,
    empty_like_input,
    expect_shape,
    expect_tensors,
    operator,
    register_autocast,
    register_autograd,
    register_fake,
)

__all__ = ['DDF', 'DDFUp', 'FilterNorm', 'decoupled_dynamic_filter']

_NAME = 'decoupled_dynamic_filter'
# Pixels times channels of one tile per thread, measured on a Zen 4 core: 1 MB in float32.
_TILE_ELEMENTS = 1 << 18
_TILE_CHANNELS = 32


class _Tiles:
    """The tiles of one input: where each one's channels and rows are, and its neighbourhood with zeros outside."""

    def __init__(self, x, heads, kernel_size, dilation, stride):
        self.x = x
        _, self.channels, self.height, self.width = x.shape
        self.kernel_size, self.dilation, self.stride = kernel_size, dilation, stride
        self.pad = dilation * (kernel_size - 1) // 2
        self.rows_out, self.columns_out = (-(-size // stride) for size in (self.height, self.width))
        self.head_width = self.channels // heads
        elements = _TILE_ELEMENTS * torch.get_num_threads() if x.device.type == 'cpu' else x[0].numel()
        self.depth = min(self.head_width, max(_TILE_CHANNELS, elements // (self.columns_out * self.rows_out)))
        self.rows = min(self.rows_out, max(1, elements // (self.columns_out * self.depth)))

    def __iter__(self):
        """Yields (head, slice of channels, slice of output rows)."""
        for first_row in range(0, self.rows_out, self.rows):
            rows = slice(first_row, min(first_row + self.rows, self.rows_out))
            for start in range(0, self.channels, self.head_width):
                for first in range(start, start + self.head_width, self.depth):
                    last = min(first + self.depth, start + self.head_width)
                    yield start // self.head_width, slice(first, last), rows

    def span(self, rows):
        """Rows of the input that the neighbourhoods of some output rows cover, inside the image and in all."""
        first = rows.start * self.stride - self.pad
        last = (rows.stop - 1) * self.stride + self.pad + 1
        return max(first, 0), min(last, self.height), first, last

    def neighbourhood(self, index, channels, rows):
        """A tile of one image with its margin, in the dtype of computation."""
        inner, outer, first, last = self.span(rows)
        padded = self.x.new_zeros(channels.stop - channels.start, last - first, self.width + 2 * self.pad,
                                  dtype=compute_dtype(self.x.dtype))
        if outer > inner:
            inside = slice(inner - first, outer - first), slice(self.pad, self.pad + self.width)
            padded[(slice(None), *inside)] = self.x[index, channels, inner:outer]
        return padded

    def add_back(self, padded, grad, index, channels, rows):
        """Add a tile of a gradient, margin included, to the whole gradient."""
        inner, outer, first, _ = self.span(rows)
        if outer > inner:
            grad[index, channels, inner:outer] += padded[:, inner - first:outer - first, self.pad:self.pad + self.width]

    def taps(self, padded, rows):
        """One view of a neighbourhood per tap, (channels, rows, columns)."""
        count = rows.stop - rows.start
        for tap in range(self.kernel_size**2):
            dy, dx = (place * self.dilation for place in divmod(tap, self.kernel_size))
            yield padded[:, dy:dy + (count - 1) * self.stride + 1:self.stride,
                         dx:dx + (self.columns_out - 1) * self.stride + 1:self.stride]


def _reference_forward(x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine):
    n, c = x.shape[:2]
    heads = spatial_filter.shape[1] // kernel_size**2
    tiles = _Tiles(x, heads, kernel_size, dilation, stride)
    dtype = compute_dtype(x.dtype)
    by_channel = channel_filter.to(dtype)[..., None, None]
    by_pixel = spatial_filter.view(n, heads, kernel_size**2, *spatial_filter.shape[2:])
    out = empty_like_input(x, (n, c, tiles.rows_out, tiles.columns_out))
    for index in range(n):
        for head, channels, rows in tiles:
            padded = tiles.neighbourhood(index, channels, rows)
            total = x.new_zeros(padded.shape[0], rows.stop - rows.start, tiles.columns_out, dtype=dtype)
            weighted = torch.empty_like(total)
            pixel_filter = by_pixel[index, head, :, rows].to(dtype)
            for tap, values in enumerate(tiles.taps(padded, rows)):
                if combine == 'mul':
                    total.addcmul_(torch.mul(values, pixel_filter[tap], out=weighted), by_channel[index, channels, tap])
                else:
                    total.addcmul_(values, by_channel[index, channels, tap]).addcmul_(values, pixel_filter[tap])
            out[index, channels, rows] = total
    return out


def _reference_backward(grad, x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine, wanted):
    n = x.shape[0]
    heads = spatial_filter.shape[1] // kernel_size**2
    tiles = _Tiles(x, heads, kernel_size, dilation, stride)
    dtype = compute_dtype(x.dtype)
    by_channel = channel_filter.to(dtype)[..., None, None]
    by_pixel = spatial_filter.view(n, heads, kernel_size**2, *spatial_filter.shape[2:])
    grad_x = x.new_zeros(x.shape, dtype=dtype)
    grad_channel = channel_filter.new_zeros(channel_filter.shape, dtype=dtype)
    grad_pixel = by_pixel.new_zeros(by_pixel.shape, dtype=dtype)
    for index in range(n):
        for head, channels, rows in tiles:
            padded = tiles.neighbourhood(index, channels, rows)
            incoming = grad[index, channels, rows].to(dtype).contiguous()
            pixel_filter = by_pixel[index, head, :, rows].to(dtype)
            product = torch.empty_like(incoming)
            outgoing = torch.zeros_like(padded)
            for tap, (values, target) in enumerate(zip(tiles.taps(padded, rows), tiles.taps(outgoing, rows))):
                channel, pixel = by_channel[index, channels, tap], pixel_filter[tap]
                if wanted[0]:
                    if combine == 'mul':
                        target.addcmul_(torch.mul(incoming, channel, out=product), pixel)
                    else:
                        target.addcmul_(incoming, channel).addcmul_(incoming, pixel)
                if not (wanted[1] or wanted[2]):
                    continue
                # d out / d filter, before the sum over pixels or channels.
                flat = torch.mul(values, incoming, out=product).flatten(1)
                if combine == 'mul':
                    grad_channel[index, channels, tap] += flat @ pixel.flatten()
                    grad_pixel[index, head, tap, rows] += (channel.flatten() @ flat).view(pixel.shape)
                else:
                    grad_channel[index, channels, tap] += flat.sum(1)
                    grad_pixel[index, head, tap, rows] += flat.sum(0).view(pixel.shape)
            tiles.add_back(outgoing, grad_x, index, channels, rows)
    found = (grad_x, grad_channel, grad_pixel.view(spatial_filter.shape))
    return [value.to(x.dtype) if want else grad.new_empty(0) for value, want in zip(found, wanted)]


def _portable(x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine):
    """The whole operator in ONNX's vocabulary: a padded input, and slices of it weighted and summed."""
    n, c = x.shape[:2]
    rows, columns = spatial_filter.shape[2:]
    pad = dilation * (kernel_size - 1) // 2
    heads = spatial_filter.shape[1] // kernel_size**2
    padded = F.pad(x, (pad, ) * 4)
    pixel = spatial_filter.reshape(n, heads, 1, kernel_size**2, rows, columns)
    channel = channel_filter.reshape(n, heads, c // heads, kernel_size**2, 1, 1)
    total = 0
    for tap in range(kernel_size**2):
        dy, dx = (place * dilation for place in divmod(tap, kernel_size))
        values = padded[:, :, dy:dy + (rows - 1) * stride + 1:stride, dx:dx + (columns - 1) * stride + 1:stride]
        values = values.reshape(n, heads, c // heads, rows, columns)
        left, right = channel[:, :, :, tap], pixel[:, :, :, tap]
        total = total + values * (left * right if combine == 'mul' else left + right)
    return total.reshape(n, c, rows, columns)


backend.register(
    _NAME,
    torch=backend.Kernels(_reference_forward, _reference_backward),
    triton='mmweather.ops.triton.dynamic_filter')


@operator(_NAME)
def _op(x: Tensor, channel_filter: Tensor, spatial_filter: Tensor, kernel_size: int, dilation: int, stride: int,
        combine: str) -> Tensor:
    if x.shape[0] == 0:
        return empty_like_input(x, (*x.shape[:2], *spatial_filter.shape[2:]))
    return backend.kernels(_NAME, x).forward(x, channel_filter, spatial_filter.contiguous(), kernel_size, dilation,
                                             stride, combine)


@register_fake(_NAME)
def _(x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine):
    return empty_like_input(x, (*x.shape[:2], *spatial_filter.shape[2:]))


@operator(f'{_NAME}_backward')
def _backward_op(grad: Tensor, x: Tensor, channel_filter: Tensor, spatial_filter: Tensor, kernel_size: int,
                 dilation: int, stride: int, combine: str, wanted: Sequence[bool]) -> list[Tensor]:
    if x.shape[0] == 0:
        return [value.new_zeros(value.shape) if want else grad.new_empty(0)
                for value, want in zip((x, channel_filter, spatial_filter), wanted)]
    return backend.kernels(_NAME, x).backward(grad, x, channel_filter, spatial_filter.contiguous(), kernel_size,
                                              dilation, stride, combine, wanted)


@register_fake(f'{_NAME}_backward')
def _(grad, x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine, wanted):
    return [value.new_empty(value.shape) if want else grad.new_empty(0)
            for value, want in zip((x, channel_filter, spatial_filter), wanted)]


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.arguments = inputs[3:]


def _backward(ctx, grad):
    wanted = list(ctx.needs_input_grad[:3])
    found = torch.ops.mmweather.decoupled_dynamic_filter_backward(grad, *ctx.saved_tensors, *ctx.arguments, wanted)
    return (*(value if want else None for value, want in zip(found, wanted)), None, None, None, None)


register_autograd(_NAME, _backward, _setup_context)
register_autocast(_NAME, cast=('x', 'channel_filter', 'spatial_filter'))


def decoupled_dynamic_filter(x: Tensor,
                             channel_filter: Tensor,
                             spatial_filter: Tensor,
                             kernel_size: int = 3,
                             dilation: int = 1,
                             stride: int = 1,
                             combine: str = 'mul') -> Tensor:
    """Filter each pixel of each channel with the product or sum of a channel's and a pixel's filter.

    ``out[c, p] = sum_k (channel[c, k] * spatial[h, k, p]) * x[c, stride * p + dilation * (k - center)]``, with h the
    head of channel c and zeros outside the image; for ``combine='add'`` the filters are added. Each image has its own
    filters.

    Args:
        x (Tensor): Input, (N, C, H, W), contiguous or channels-last; the output has the same memory format.
        channel_filter (Tensor): One filter per channel, (N, C, kernel_size ** 2), taps row by row.
        spatial_filter (Tensor): One filter per output pixel and head, (N, heads * kernel_size ** 2, Ho, Wo) with
            Ho = ceil(H / stride). The number of heads follows from its shape; channel c belongs to head
            ``c // (C / heads)``.
        kernel_size (int): Odd. Defaults to 3.
        dilation (int): Distance between taps in pixels. Defaults to 1.
        stride (int): Distance between output pixels in input pixels. Defaults to 1.
        combine (str): 'mul' or 'add'. Defaults to 'mul'.

    Returns:
        Tensor: (N, C, Ho, Wo).

    Raises:
        TypeError: Tensors differ in device or dtype.
        ValueError: A shape or an argument does not fit; the message names it and what was expected.
    """
    expect_tensors(_NAME, 'x', x=x, channel_filter=channel_filter, spatial_filter=spatial_filter)
    expect_shape('x', x, (None, ) * 4, '(N, C, H, W)')
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be odd and positive, but is {kernel_size}')
    if dilation < 1 or stride < 1:
        raise ValueError(f'dilation and stride must be at least 1, but are {dilation} and {stride}')
    if combine not in ('mul', 'add'):
        raise ValueError(f"combine must be 'mul' or 'add', but is {combine!r}")
    n, c, h, w = x.shape
    taps = kernel_size**2
    expect_shape('channel_filter', channel_filter, (n, c, taps), '(N, C, kernel_size ** 2)')
    expect_shape('spatial_filter', spatial_filter, (n, None, (h - 1) // stride + 1, (w - 1) // stride + 1),
                 '(N, heads * kernel_size ** 2, ceil(H / stride), ceil(W / stride))')
    heads = spatial_filter.shape[1] // taps
    if spatial_filter.shape[1] != heads * taps or heads < 1 or c % heads:
        raise ValueError(f'spatial_filter must have heads * kernel_size ** 2 channels, with heads a divisor of the {c} '
                         f'channels of x and kernel_size ** 2 = {taps}, but has {spatial_filter.shape[1]}')
    arguments = x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine
    if torch.onnx.is_in_onnx_export():
        return _portable(*arguments)
    return torch.ops.mmweather.decoupled_dynamic_filter(*arguments)


class FilterNorm(nn.Module):
    """Normalise each predicted filter over its taps: ``(f - mean) / (std + 1e-10) * gain / kernel_size``.

    ``std`` is the unbiased one. The scale ``gain / kernel_size`` is He's for the nonlinearity that follows; with
    ``running_std`` it is the deviation of a learnable scale per filter and tap instead.

    Args:
        filters (int): Filters per image ('channel') or per pixel ('spatial').
        kernel_size (int): Side of the filter.
        kind (str): 'channel' for input (N, filters * k ** 2, 1, 1), 'spatial' for input (N, filters * k ** 2, H, W).
        nonlinearity (str): As for :func:`torch.nn.init.calculate_gain`. Defaults to 'relu'.
        running_std (bool): Whether the scale is learnt. Defaults to False.
        running_mean (bool): Whether a mean is learnt and added. Defaults to False.
    """

    def __init__(self, filters, kernel_size, kind, nonlinearity='relu', running_std=False, running_mean=False):
        super().__init__()
        if kind not in ('channel', 'spatial'):
            raise ValueError(f"kind must be 'channel' or 'spatial', but is {kind!r}")
        self.filters, self.taps, self.kind = filters, kernel_size**2, kind
        self.scale = nn.init.calculate_gain(nonlinearity) / kernel_size
        size = filters * self.taps
        self.register_parameter('std', nn.Parameter(torch.randn(size) * self.scale) if running_std else None)
        self.register_parameter('mean', nn.Parameter(torch.zeros(size)) if running_mean else None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Args:
            x (Tensor): (N, filters * k ** 2, H, W), with H = W = 1 for 'channel'.

        Returns:
            Tensor: (N, filters, k ** 2) for 'channel', the shape of ``x`` for 'spatial'; in the dtype of ``x``.
        """
        # A mean and a deviation over nine numbers lose too much in half precision.
        taps = x.unflatten(1, (self.filters, self.taps)).to(compute_dtype(x.dtype))
        centred = taps - taps.mean(2, keepdim=True)
        # The clamp keeps the gradient finite where all taps are equal; it is far below the 1e-10 of the definition.
        variance = centred.square().sum(2, keepdim=True) / max(self.taps - 1, 1)
        normed = centred / (variance.clamp(min=1e-30).sqrt() + 1e-10)
        scale = self.scale if self.std is None else self.std.view(self.filters, self.taps, 1, 1)
        normed = normed * scale
        if self.mean is not None:
            normed = normed + self.mean.view(self.filters, self.taps, 1, 1)
        normed = normed.to(x.dtype)
        return normed.flatten(2) if self.kind == 'channel' else normed.flatten(1, 2)

    def extra_repr(self) -> str:
        """What is normalised, and what is learnt."""
        return (f'filters={self.filters}, taps={self.taps}, kind={self.kind!r}, running_std={self.std is not None}, '
                f'running_mean={self.mean is not None}')


def _channel_branch(channels, filters, kernel_size, squeeze_ratio, nonlinearity):
    """Squeeze and excitation that ends in one filter per channel."""
    squeezed = max(1, int(channels * squeeze_ratio))
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.ReLU(inplace=True),
        nn.Conv2d(squeezed, filters * kernel_size**2, 1),
        FilterNorm(filters, kernel_size, 'channel', nonlinearity, running_std=True))


class DDF(nn.Module):
    """Decoupled dynamic filter that predicts its own filters; it stands where a depth-wise or a plain convolution does.

    Args:
        channels (int): Channels of input and output.
        kernel_size (int): Odd. Defaults to 3.
        dilation (int): Defaults to 1.
        stride (int): Defaults to 1.
        heads (int): Groups of channels that share the pixels' filters. Defaults to 1.
        squeeze_ratio (float): Width of the channel branch's bottleneck over ``channels``. Defaults to 0.2.
        combine (str): 'mul' or 'add'. Defaults to 'mul'.
        nonlinearity (str): What follows the layer; scales the filters. Defaults to 'relu'.
        bias (bool): Whether to add a bias. Defaults to False, as published.
    """

    def __init__(self,
                 channels,
                 kernel_size=3,
                 dilation=1,
                 stride=1,
                 heads=1,
                 squeeze_ratio=0.2,
                 combine='mul',
                 nonlinearity='relu',
                 bias=False):
        super().__init__()
        if channels % heads:
            raise ValueError(f'heads must divide the {channels} channels, but is {heads}')
        self.channels, self.kernel_size, self.dilation, self.stride = channels, kernel_size, dilation, stride
        self.heads, self.combine = heads, combine
        self.spatial_branch = nn.Sequential(
            nn.Conv2d(channels, heads * kernel_size**2, 1, stride),
            FilterNorm(heads, kernel_size, 'spatial', nonlinearity))
        self.channel_branch = _channel_branch(channels, channels, kernel_size, squeeze_ratio, nonlinearity)
        self.register_parameter('bias', nn.Parameter(torch.zeros(channels)) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """Filter.

        Args:
            x (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, C, ceil(H / stride), ceil(W / stride)).
        """
        out = decoupled_dynamic_filter(x, self.channel_branch(x), self.spatial_branch(x), self.kernel_size,
                                       self.dilation, self.stride, self.combine)
        return out if self.bias is None else out + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Geometry, and the backend that serves."""
        return (f'{self.channels}, kernel_size={self.kernel_size}, dilation={self.dilation}, stride={self.stride}, '
                f'heads={self.heads}, combine={self.combine!r}, bias={self.bias is not None}, '
                f'{backend.describe(_NAME, self.spatial_branch[0].weight)}')


class DDFUp(nn.Module):
    """Dynamic up-sampling: one decoupled dynamic filter for each place inside an output block (paper, Sec. 3.6).

    Args:
        channels (int): Channels of input and output.
        scale_factor (int): Defaults to 2.
        guide_channels (int | None): Channels of a guide at the output's resolution from which the pixels' filters are
            predicted; None predicts them from the input. Defaults to None.
        kernel_size (int): Odd. Defaults to 3.
        dilation (int): Defaults to 1.
        heads (int): Groups of channels that share the pixels' filters. Defaults to 1.
        squeeze_ratio (float): Width of the channel branch's bottleneck over ``channels``. Defaults to 0.2.
        combine (str): 'mul' or 'add'. Defaults to 'mul'.
    """

    def __init__(self,
                 channels,
                 scale_factor=2,
                 guide_channels=None,
                 kernel_size=3,
                 dilation=1,
                 heads=1,
                 squeeze_ratio=0.2,
                 combine='mul'):
        super().__init__()
        if channels % heads:
            raise ValueError(f'heads must divide the {channels} channels, but is {heads}')
        self.channels, self.scale_factor, self.guide_channels = channels, scale_factor, guide_channels
        self.kernel_size, self.dilation, self.heads, self.combine = kernel_size, dilation, heads, combine
        places, filters = scale_factor**2, heads * kernel_size**2
        if guide_channels is None:
            predict = [nn.Conv2d(channels, filters * places, 1)]
        else:
            # One filter per output pixel; the rearrangement brings those of one block to its input pixel.
            predict = [nn.Conv2d(guide_channels, filters, 1), nn.PixelUnshuffle(scale_factor)]
        self.spatial_branch = nn.Sequential(*predict)
        self.spatial_norm = FilterNorm(heads, kernel_size, 'spatial', 'linear')
        self.channel_branch = _channel_branch(channels, channels * places, kernel_size, squeeze_ratio, 'linear')

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Up-sample.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor | None): (N, guide_channels, H * scale_factor, W * scale_factor), for a guided layer only.
                Defaults to None.

        Returns:
            Tensor: (N, C, H * scale_factor, W * scale_factor).

        Raises:
            ValueError: The guide is missing, not called for, or of another size.
        """
        n, c, h, w = x.shape
        if (guide is None) != (self.guide_channels is None):
            raise ValueError('guide must be given for a layer with guide_channels, and only then')
        if guide is not None:
            expect_shape('guide', guide, (n, self.guide_channels, h * self.scale_factor, w * self.scale_factor),
                         '(N, guide_channels, H * scale_factor, W * scale_factor)')
        places = self.scale_factor**2
        pixel = self.spatial_branch(x if guide is None else guide).view(n, -1, places, h, w)
        channel = self.channel_branch(x).view(n, c, places, -1)
        blocks = [
            decoupled_dynamic_filter(x, channel[:, :, place], self.spatial_norm(pixel[:, :, place]), self.kernel_size,
                                     self.dilation, 1, self.combine) for place in range(places)
        ]
        return F.pixel_shuffle(torch.stack(blocks, 2).flatten(1, 2), self.scale_factor)

    def extra_repr(self) -> str:
        """Geometry, and the backend that serves."""
        return (f'{self.channels}, scale_factor={self.scale_factor}, guide_channels={self.guide_channels}, '
                f'kernel_size={self.kernel_size}, dilation={self.dilation}, heads={self.heads}, '
                f'combine={self.combine!r}, {backend.describe(_NAME, self.channel_branch[1].weight)}')
