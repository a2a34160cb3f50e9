"""Deformable convolution, modulated (DCNv2) and plain (DCN), with MMCV's semantics.

Paper: Zhu et al., Deformable ConvNets v2: More Deformable, Better Results, CVPR 2019, Eq. 2. Every tap of the kernel
samples the input at its own place, moved by an offset, bilinearly and with zeros outside, and scales the sample by a
mask.

The reference below never holds all columns (input channels times taps times positions) at once: it works through
blocks that fit the cache. Forward has two forms. With many channels per deformable group each sample is a weighted sum
of four rows of a channels-last image, which is what ``embedding_bag`` computes in one pass; with few channels
``grid_sample`` is as fast and needs no index arithmetic. Backward is ``grid_sample``'s own.
"""
import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

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

__all__ = [
    'DeformConv2d', 'DeformConv2dPack', 'ModulatedDeformConv2d', 'ModulatedDeformConv2dPack', 'deform_conv2d',
    'modulated_deform_conv2d'
]

_NAME = 'modulated_deform_conv2d'
# Columns held at once per thread, measured on a Zen 4 core: 4 MB in float32, so that they stay in the last-level cache.
_BLOCK_ELEMENTS = 1 << 20
# On other devices a block is as large as is comfortable to allocate.
_BLOCK_ELEMENTS_ACCELERATOR = 1 << 26
# From this many channels per deformable group on, bags of rows beat grid_sample (measured).
_BAG_CHANNELS = 16
# Columns held at once by the form with bags; they live in the second-level cache.
_BAG_ELEMENTS = 1 << 18
# Samples whose neighbours and weights are found at once.
_BAGS = 1 << 18


def _output_size(size, kernel_size, stride, padding, dilation):
    return tuple((extent + 2 * pad - dil * (kernel - 1) - 1) // step + 1
                 for extent, kernel, step, pad, dil in zip(size, kernel_size, stride, padding, dilation))


def _base_positions(kernel_size, size_out, stride, padding, dilation, dtype, device):
    """Row and column that each tap samples where its offset is zero, each of shape (taps, Ho * Wo)."""
    (kh, kw), (ho, wo) = kernel_size, size_out

    def line(taps, dil, count, step, pad):
        tap = torch.arange(taps, device=device) * dil
        return tap[:, None] + torch.arange(count, device=device) * step - pad

    rows = line(kh, dilation[0], ho, stride[0], padding[0])[:, None, :, None]
    columns = line(kw, dilation[1], wo, stride[1], padding[1])[None, :, None, :]
    return [part.expand(kh, kw, ho, wo).reshape(kh * kw, ho * wo).to(dtype) for part in (rows, columns)]


def _clamp_outside(position, extent):
    """Move what samples only zeros to where all four neighbours are zeros, in place; NaN counts as outside.

    MMCV takes a sample at exactly -1 for outside. It matters for the gradient: with fresh, zero offsets a padded
    convolution has its whole rim there.
    """
    position.nan_to_num_(nan=-2.)
    return F.threshold_(position, -1., -2.).clamp_(max=extent)


@functools.lru_cache(maxsize=64)
def _channel_blocks(channels, groups, deform_groups, most):
    """Cut the channels into blocks of about ``most``: (first, last + 1, first deformable group, last + 1).

    A block lies in one convolution group, so that one matrix product serves it, and consists of whole deformable groups
    or lies in one, so that its samples share positions.
    """
    conv_width, deform_width = channels // groups, channels // deform_groups
    bounds = sorted({*range(0, channels + 1, conv_width), *range(0, channels + 1, deform_width)})
    pieces = []
    for start, stop in zip(bounds, bounds[1:]):
        parts = math.ceil((stop - start) / most)
        width = math.ceil((stop - start) / parts)
        pieces += [(first, min(first + width, stop)) for first in range(start, stop, width)]
    blocks = []
    for start, stop in pieces:
        if blocks:
            first, last = blocks[-1]
            whole = first % deform_width == 0 and last % deform_width == 0 and stop - start == deform_width
            if whole and first // conv_width == start // conv_width and stop - first <= most:
                blocks[-1] = first, stop
                continue
        blocks.append((start, stop))
    return [(start, stop, start // deform_width, (stop - 1) // deform_width + 1) for start, stop in blocks]


class _GridSampler:
    """Samples blocks of channels at the taps' positions by ``grid_sample``.

    ``grid_sample`` wants positions normalised to [-1, 1], which rounds them. The input is therefore put into a zero
    frame whose sides are a power of two plus one: then whole and dyadic positions come through exactly, and the
    derivative at a whole position is taken on the side on which MMCV takes it.
    """

    def __init__(self, x, offset, kernel_size, stride, padding, dilation, deform_groups):
        n, c, self.h, self.w = x.shape
        self.x, self.dtype = x, compute_dtype(x.dtype)
        self.taps, self.size_out = kernel_size[0] * kernel_size[1], offset.shape[2:]
        self.positions = self.size_out[0] * self.size_out[1]
        self.offset = offset.reshape(n, deform_groups, self.taps, 2, self.positions)
        self.base = _base_positions(kernel_size, self.size_out, stride, padding, dilation, self.dtype, x.device)
        # Two rows of zeros before the image and at least one behind it: positions are clamped to [-2, extent].
        self.spans = [1 << (extent + 2).bit_length() for extent in (self.h, self.w)]
        elements = _BLOCK_ELEMENTS * torch.get_num_threads() if x.device.type == 'cpu' else _BLOCK_ELEMENTS_ACCELERATOR
        self.most = max(elements // (self.taps * self.positions), 16)

    def sample(self, index, block):
        """Columns of one block of one image before modulation: (planes, channels per plane, taps, positions)."""
        start, stop, first, last = block
        # A block inside one deformable group is sampled as several planes that share positions: grid_sample runs one
        # thread per plane.
        self.planes = last - first
        self.shared = math.gcd(stop - start, torch.get_num_threads()) if self.planes == 1 else 1
        self.frame = self.x.new_zeros(self.planes * self.shared, (stop - start) // (self.planes * self.shared),
                                      *(span + 1 for span in self.spans), dtype=self.dtype)
        inner = self.x[index, start:stop].reshape(*self.frame.shape[:2], self.h, self.w)
        self.frame[:, :, 2:2 + self.h, 2:2 + self.w] = inner
        grid = torch.empty(self.planes, self.taps, self.positions, 2, dtype=self.dtype, device=self.x.device)
        for axis, (extent, span) in enumerate(zip((self.h, self.w), self.spans)):
            position = _clamp_outside(self.offset[index, first:last, :, axis] + self.base[axis], extent)
            torch.sub(position.add_(2).mul_(2 / span), 1, out=grid[..., 1 - axis])
        self.grid = grid.expand(self.shared, -1, -1, -1) if self.shared > 1 else grid
        return torch.grid_sampler_2d(self.frame, self.grid, 0, 0, True)

    def backward(self, grad, needs_x):
        """Gradients of what was sampled last: of the channels (or None) and of the offsets (groups, taps, 2, P)."""
        grad_frame, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad.view(*self.frame.shape[:2], self.taps, self.positions), self.frame, self.grid, 0, 0, True,
            [needs_x, True])
        if self.shared > 1:
            grad_grid = grad_grid.sum(0, keepdim=True)
        grad_offset = torch.stack([grad_grid[..., 1] * (2 / self.spans[0]), grad_grid[..., 0] * (2 / self.spans[1])], 2)
        if not needs_x:
            return None, grad_offset
        return grad_frame[:, :, 2:2 + self.h, 2:2 + self.w].reshape(-1, self.h, self.w), grad_offset


def _weight_slice(weight, block, groups, channels):
    """Rows of the output that a block feeds, and its part of the weight as a matrix (rows, channels * taps)."""
    rows, conv_width = weight.shape[0] // groups, channels // groups
    group, first = divmod(block[0], conv_width)
    part = slice(group * rows, (group + 1) * rows)
    return part, weight[part, first:first + block[1] - block[0]]


def _forward_by_grid(x, offset, mask, weight, out, stride, padding, dilation, groups, deform_groups):
    n, c = x.shape[:2]
    sampler = _GridSampler(x, offset, weight.shape[2:], stride, padding, dilation, deform_groups)
    weight = weight.to(sampler.dtype)
    for index in range(n):
        for block in _channel_blocks(c, groups, deform_groups, sampler.most):
            columns = sampler.sample(index, block)
            if mask is not None:
                part = mask[index].reshape(deform_groups, 1, sampler.taps, -1)[block[2]:block[3]]
                columns.view(sampler.planes, -1, *columns.shape[2:]).mul_(part)
            rows, matrix = _weight_slice(weight, block, groups, c)
            out[index, rows].addmm_(matrix.flatten(1), columns.view(-1, sampler.positions))


def _forward_by_bags(x, offset, mask, weight, out, stride, padding, dilation, deform_groups):
    n, c, h, w = x.shape
    cout, _, kh, kw = weight.shape
    taps, positions, width = kh * kw, out.shape[2], c // deform_groups
    dtype = out.dtype
    base_y, base_x = (base.t()[:, None] for base in _base_positions(
        (kh, kw), offset.shape[2:], stride, padding, dilation, dtype, x.device))
    # A zero frame, two wide: positions are clamped to [-2, extent] and read the next row and column as well.
    table = x.new_zeros(deform_groups, h + 4, w + 4, width, dtype=dtype)
    pitch = w + 4
    origin = torch.arange(deform_groups, dtype=torch.int32)[:, None] * ((h + 4) * pitch) + 2 * pitch + 2
    matrix = weight.to(dtype).view(cout, deform_groups, width, taps).permute(1, 3, 2, 0).reshape(-1, cout)
    bag = deform_groups * taps
    step = max(1, min(positions, _BAG_ELEMENTS * torch.get_num_threads() // (c * taps)))
    span = max(step, min(positions, _BAGS // bag))
    ends = torch.arange(0, 4 * step * bag + 1, 4, dtype=torch.int32)
    # A bag is the four neighbours of one sample: their rows in the table, and their weights times the mask.
    rows = torch.empty(span, deform_groups, taps, 4, dtype=torch.int32)
    shares = torch.empty(span, deform_groups, taps, 4, dtype=dtype)
    # Position by position, as the bags are to lie; that is how it comes already if the channels are last.
    offset = offset.permute(0, 2, 3, 1).reshape(n, positions, deform_groups, taps, 2)
    if mask is not None:
        mask = mask.permute(0, 2, 3, 1).reshape(n, positions, deform_groups, taps)
    x = x.to(dtype)
    for index in range(n):
        table[:, 2:2 + h, 2:2 + w] = x[index].reshape(deform_groups, width, h, w).permute(0, 2, 3, 1)
        for first in range(0, positions, span):
            last = min(first + span, positions)
            part = slice(first, last)
            _fill_bags(rows, shares, offset[index, part], (base_y[part], base_x[part]), (h, w), origin,
                       None if mask is None else mask[index, part].to(dtype))
            for start in range(first, last, step):
                stop = min(start + step, last)
                chosen = slice(start - first, stop - first)
                columns = torch.embedding_bag(
                    table.view(-1, width), rows[chosen].view(-1), ends[:(stop - start) * bag + 1], False, 0, False,
                    shares[chosen].view(-1), True)[0]
                out[index, :, start:stop] += (columns.view(stop - start, -1) @ matrix).t()


def _fill_bags(rows, shares, offset, base, size, origin, modulation):
    """Where the four neighbours of each sample are in the table, and what share each has of it, times the mask."""
    count, pitch = len(offset), size[1] + 4
    y, x = (
        (offset[..., axis] + positions).nan_to_num_(nan=-2.).clamp_(-2, extent)
        for axis, (positions, extent) in enumerate(zip(base, size)))
    top, left = y.floor(), x.floor()
    y -= top
    x -= left
    corner = top.int().mul_(pitch).add_(left.int()).add_(origin)
    for place, shift in enumerate((0, 1, pitch, pitch + 1)):
        torch.add(corner, shift, out=rows[:count, ..., place])
    if modulation is None:
        below, above = y, 1 - y
    else:
        below = y.mul_(modulation)
        above = modulation - below
    below_right, above_right = below * x, x.mul_(above)
    for place, share in enumerate((above.sub_(above_right), above_right, below.sub_(below_right), below_right)):
        shares[:count, ..., place] = share


def _reference_forward(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    n, cout, (ho, wo) = x.shape[0], weight.shape[0], offset.shape[2:]
    out = torch.zeros(n, cout, ho * wo, dtype=compute_dtype(x.dtype), device=x.device)
    if bias is not None:
        out += bias[:, None]
    many = x.shape[1] // deform_groups >= _BAG_CHANNELS
    # embedding_bag has a fast kernel for float32 alone.
    if many and groups == 1 and x.device.type == 'cpu' and out.dtype == torch.float32:
        _forward_by_bags(x, offset, mask, weight, out, stride, padding, dilation, deform_groups)
    else:
        _forward_by_grid(x, offset, mask, weight, out, stride, padding, dilation, groups, deform_groups)
    return empty_like_input(x, (n, cout, ho, wo)).copy_(out.view(n, cout, ho, wo))


def _reference_backward(grad, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups, wanted):
    n, c = x.shape[:2]
    sampler = _GridSampler(x, offset, weight.shape[2:], stride, padding, dilation, deform_groups)
    dtype, taps, positions = sampler.dtype, sampler.taps, sampler.positions
    grad = grad.to(dtype).reshape(n, -1, positions)
    wide = weight.to(dtype)
    grad_x = x.new_empty(x.shape)
    grad_offset = offset.new_zeros(n, deform_groups, taps, 2, positions, dtype=dtype)
    grad_mask = None if mask is None else mask.new_zeros(n, deform_groups, taps, positions, dtype=dtype)
    grad_weight = torch.zeros_like(wide)
    for index in range(n):
        for block in _channel_blocks(c, groups, deform_groups, sampler.most):
            start, stop, first, last = block
            columns = sampler.sample(index, block).view(last - first, -1, taps, positions)
            rows, matrix = _weight_slice(wide, block, groups, c)
            # First with respect to the modulated columns ...
            grad_columns = (matrix.flatten(1).t() @ grad[index, rows]).view(columns.shape)
            modulation = None
            if mask is not None:
                modulation = mask[index].reshape(deform_groups, 1, taps, positions)[first:last].to(dtype)
            if wanted[3]:
                product = grad[index, rows] @ (columns if modulation is None else columns * modulation).view(
                    -1, positions).t()
                _weight_slice(grad_weight, block, groups, c)[1].add_(product.view(matrix.shape))
            # ... then to the samples and their mask.
            if modulation is not None:
                grad_mask[index, first:last] += columns.mul_(grad_columns).sum(1)
                grad_columns *= modulation
            if wanted[0] or wanted[1]:
                grad_block, grad_positions = sampler.backward(grad_columns, wanted[0])
                grad_offset[index, first:last] += grad_positions
                if wanted[0]:
                    grad_x[index, start:stop] = grad_block
    found = [
        grad_x,
        grad_offset.view(offset.shape).to(offset.dtype),
        grad_mask if mask is None else grad_mask.view(mask.shape).to(mask.dtype),
        grad_weight.to(weight.dtype),
    ]
    return [value if want else grad.new_empty(0) for value, want in zip(found, wanted)]


def _portable(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """The whole operator in ONNX's vocabulary: one ``grid_sample`` and one matrix product."""
    n, c, h, w = x.shape
    cout, _, kh, kw = weight.shape
    ho, wo = offset.shape[2:]
    base_y, base_x = _base_positions((kh, kw), (ho, wo), stride, padding, dilation, x.dtype, x.device)
    offset = offset.reshape(n, deform_groups, kh * kw, 2, ho * wo)
    y, x_ = offset[:, :, :, 0] + base_y, offset[:, :, :, 1] + base_x
    grid = torch.stack([(2 * x_ + 1) / w - 1, (2 * y + 1) / h - 1], -1).flatten(0, 1).to(x.dtype)
    columns = F.grid_sample(x.reshape(n * deform_groups, c // deform_groups, h, w), grid, 'bilinear', 'zeros', False)
    if mask is not None:
        columns = columns.view(n, deform_groups, -1, kh * kw, ho * wo)
        columns = columns * mask.reshape(n, deform_groups, 1, kh * kw, ho * wo)
    columns = columns.reshape(n, groups, c // groups * kh * kw, ho * wo)
    out = torch.matmul(weight.reshape(groups, cout // groups, -1), columns).reshape(n, cout, ho, wo)
    return out if bias is None else out + bias[:, None, None]


backend.register(
    _NAME,
    torch=backend.Kernels(_reference_forward, _reference_backward),
    triton='mmweather.ops.triton.deform_conv',
    mmcv='mmweather.ops.mmcv_deform_conv')


@operator(_NAME)
def _op(x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
        padding: Sequence[int], dilation: Sequence[int], groups: int, deform_groups: int) -> Tensor:
    if x.shape[0] == 0:
        return empty_like_input(x, (0, weight.shape[0], *offset.shape[2:]))
    return backend.kernels(_NAME, x).forward(x, offset, mask, weight, bias, stride, padding, dilation, groups,
                                             deform_groups)


@register_fake(_NAME)
def _(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    return empty_like_input(x, (x.shape[0], weight.shape[0], *offset.shape[2:]))


@operator(f'{_NAME}_backward')
def _backward_op(grad: Tensor, x: Tensor, offset: Tensor, mask: Tensor | None, weight: Tensor, stride: Sequence[int],
                 padding: Sequence[int], dilation: Sequence[int], groups: int, deform_groups: int,
                 wanted: Sequence[bool]) -> list[Tensor]:
    if x.shape[0] == 0:
        return [torch.zeros_like(value, memory_format=torch.contiguous_format) if want else grad.new_empty(0)
                for value, want in zip((x, offset, mask, weight), wanted)]
    return backend.kernels(_NAME, x).backward(grad, x, offset, mask, weight, stride, padding, dilation, groups,
                                              deform_groups, wanted)


@register_fake(f'{_NAME}_backward')
def _(grad, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups, wanted):
    return [value.new_empty(value.shape) if want else grad.new_empty(0)
            for value, want in zip((x, offset, mask, weight), wanted)]


def _setup_context(ctx, inputs, output):
    x, offset, mask, weight, bias, *ctx.geometry = inputs
    ctx.save_for_backward(x, offset, mask, weight)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx, grad):
    wanted = list(ctx.needs_input_grad[:4])
    found = torch.ops.mmweather.modulated_deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.geometry, wanted)
    grads = [value if want else None for value, want in zip(found, wanted)]
    grad_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[4] else None
    return (*grads, grad_bias, *(None for _ in ctx.geometry))


register_autograd(_NAME, _backward, _setup_context)
register_autocast(_NAME, cast=('x', 'mask', 'weight', 'bias'))


def _check(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    expect_tensors(_NAME, 'x', coordinates=('offset', ), x=x, offset=offset, mask=mask, weight=weight, bias=bias)
    expect_shape('x', x, (None, ) * 4, '(N, C, H, W)')
    expect_shape('weight', weight, (None, ) * 4, '(Cout, C // groups, kh, kw)')
    n, c = x.shape[:2]
    cout, _, kh, kw = weight.shape
    for name, value in (('groups', groups), ('deform_groups', deform_groups)):
        if value < 1 or c % value:
            raise ValueError(f'{name} must divide the {c} channels of x, but is {value}')
    if cout % groups:
        raise ValueError(f'groups must divide the {cout} output channels of weight, but is {groups}')
    expect_shape('weight', weight, (cout, c // groups, kh, kw), '(Cout, C // groups, kh, kw)')
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ValueError(f'stride and dilation must be at least 1 and padding at least 0, but are {stride}, {dilation} '
                         f'and {padding}')
    ho, wo = _output_size(x.shape[2:], (kh, kw), stride, padding, dilation)
    if ho < 1 or wo < 1:
        raise ValueError(f'x of {x.shape[2]}x{x.shape[3]} is too small for a {kh}x{kw} kernel with padding {padding} '
                         f'and dilation {dilation}')
    taps = deform_groups * kh * kw
    expect_shape('offset', offset, (n, 2 * taps, ho, wo), '(N, 2 * deform_groups * kh * kw, Ho, Wo)')
    if mask is not None:
        expect_shape('mask', mask, (n, taps, ho, wo), '(N, deform_groups * kh * kw, Ho, Wo)')
    if bias is not None:
        expect_shape('bias', bias, (cout, ), '(Cout,)')


def modulated_deform_conv2d(x: Tensor,
                            offset: Tensor,
                            mask: Tensor | None,
                            weight: Tensor,
                            bias: Tensor | None = None,
                            stride: int | Sequence[int] = 1,
                            padding: int | Sequence[int] = 0,
                            dilation: int | Sequence[int] = 1,
                            groups: int = 1,
                            deform_groups: int = 1) -> Tensor:
    """Apply a modulated deformable convolution.

    ``out[o, p] = bias[o] + sum_{c, k} weight[o, c, k] * mask[g, k, p] * x[c, stride * p - padding + dilation * k +
    offset[g, k, p]]`` with g the deformable group of channel c, sampled bilinearly with zeros outside the image.

    Args:
        x (Tensor): Input, (N, C, H, W), contiguous or channels-last; the output has the same memory format.
        offset (Tensor): Offsets in pixels, (N, 2 * deform_groups * kh * kw, Ho, Wo), ordered by deformable group, tap
            and then (dy, dx). It may be float32 beside half-precision tensors, and should be where offsets are large.
        mask (Tensor | None): Modulation, any range, (N, deform_groups * kh * kw, Ho, Wo). None is the unmodulated
            operator.
        weight (Tensor): (Cout, C // groups, kh, kw).
        bias (Tensor | None): (Cout,). Defaults to None.
        stride (int | Sequence[int]): Defaults to 1.
        padding (int | Sequence[int]): Zeros around the input. Defaults to 0.
        dilation (int | Sequence[int]): Defaults to 1.
        groups (int): Groups of the convolution. Defaults to 1.
        deform_groups (int): Groups of input channels that share offsets and mask. Defaults to 1.

    Returns:
        Tensor: (N, Cout, Ho, Wo).

    Raises:
        TypeError: Tensors differ in device or dtype.
        ValueError: A shape does not fit; the message names the argument and the shape expected.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)
    if torch.onnx.is_in_onnx_export():
        return _portable(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)
    return torch.ops.mmweather.modulated_deform_conv2d(x, offset, mask, weight, bias, stride, padding, dilation, groups,
                                                       deform_groups)


def deform_conv2d(x: Tensor,
                  offset: Tensor,
                  weight: Tensor,
                  bias: Tensor | None = None,
                  stride: int | Sequence[int] = 1,
                  padding: int | Sequence[int] = 0,
                  dilation: int | Sequence[int] = 1,
                  groups: int = 1,
                  deform_groups: int = 1) -> Tensor:
    """Apply a deformable convolution without modulation (DCN, Dai et al., ICCV 2017).

    The arguments and what is raised are those of :func:`modulated_deform_conv2d` without ``mask``.

    Returns:
        Tensor: (N, Cout, Ho, Wo).
    """
    return modulated_deform_conv2d(x, offset, None, weight, bias, stride, padding, dilation, groups, deform_groups)


class ModulatedDeformConv2d(nn.Module):
    """Modulated deformable convolution whose offsets and mask come from outside.

    Parameter names and arguments are MMCV's, so its checkpoints load.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        kernel_size (int | Sequence[int]): Size of the kernel.
        stride (int | Sequence[int]): Defaults to 1.
        padding (int | Sequence[int]): Defaults to 0.
        dilation (int | Sequence[int]): Defaults to 1.
        groups (int): Groups of the convolution. Defaults to 1.
        deform_groups (int): Groups of input channels that share offsets. Defaults to 1.
        bias (bool): Whether to add a bias. Defaults to True.
    """

    # Read by mmcv.cnn.ConvModule from whatever convolution it builds.
    transposed = False
    output_padding = (0, 0)

    def __init__(self,
                 in_channels,
                 out_channels,
                 kernel_size,
                 stride=1,
                 padding=0,
                 dilation=1,
                 groups=1,
                 deform_groups=1,
                 bias=True):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride)
        self.padding = _pair(padding)
        self.dilation = _pair(dilation)
        self.groups = groups
        self.deform_groups = deform_groups
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.register_parameter('bias', nn.Parameter(torch.empty(out_channels)) if bias else None)
        self.init_weights()

    def init_weights(self):
        """Draw the weight uniformly within 1 / sqrt(fan in), as MMCV does, and zero the bias."""
        bound = 1 / math.sqrt(self.in_channels * self.kernel_size[0] * self.kernel_size[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (N, C, H, W).
            offset (Tensor): (N, 2 * deform_groups * kh * kw, Ho, Wo).
            mask (Tensor | None): (N, deform_groups * kh * kw, Ho, Wo).

        Returns:
            Tensor: (N, Cout, Ho, Wo).
        """
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, self.stride, self.padding,
                                       self.dilation, self.groups, self.deform_groups)

    def extra_repr(self) -> str:
        """Geometry, and the backend that serves."""
        return (f'{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, '
                f'padding={self.padding}, dilation={self.dilation}, groups={self.groups}, '
                f'deform_groups={self.deform_groups}, bias={self.bias is not None}, '
                f'{backend.describe(_NAME, self.weight)}')


class _PredictsOffsets(nn.Module):
    """What the layers that predict their own offsets add to the plain ones."""

    def _add_conv_offset(self, per_tap):
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.conv_offset = nn.Conv2d(self.in_channels, per_tap * self.deform_groups * taps, self.kernel_size,
                                     self.stride, self.padding, self.dilation)
        self.init_weights()

    def init_weights(self):
        """Draw the weight and start from zero offsets."""
        super().init_weights()
        # The base class draws the weight before there is a convolution for the offsets.
        if hasattr(self, 'conv_offset'):
            nn.init.zeros_(self.conv_offset.weight)
            nn.init.zeros_(self.conv_offset.bias)


class ModulatedDeformConv2dPack(_PredictsOffsets, ModulatedDeformConv2d):
    """Modulated deformable convolution that predicts its own offsets and mask (DCNv2), usable as a convolution layer.

    A fresh layer has zero offsets and a mask of one half. The arguments are those of :class:`ModulatedDeformConv2d`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._add_conv_offset(per_tap=3)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor | None): What offsets and mask are predicted from, shaped as ``x``. None is ``x`` itself.
                Defaults to None.

        Returns:
            Tensor: (N, Cout, Ho, Wo).
        """
        predicted = self.conv_offset(x if guide is None else guide)
        offset, mask = predicted.tensor_split([2 * predicted.shape[1] // 3], 1)
        return super().forward(x, offset, mask.sigmoid())


class DeformConv2d(ModulatedDeformConv2d):
    """Deformable convolution without modulation whose offsets come from outside.

    The arguments are those of :class:`ModulatedDeformConv2d`, except that there is no bias unless asked for, as in
    MMCV.
    """

    def __init__(self,
                 in_channels,
                 out_channels,
                 kernel_size,
                 stride=1,
                 padding=0,
                 dilation=1,
                 groups=1,
                 deform_groups=1,
                 bias=False):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, deform_groups, bias)

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (N, C, H, W).
            offset (Tensor): (N, 2 * deform_groups * kh * kw, Ho, Wo).

        Returns:
            Tensor: (N, Cout, Ho, Wo).
        """
        return super().forward(x, offset, None)


class DeformConv2dPack(_PredictsOffsets, DeformConv2d):
    """Deformable convolution that predicts its own offsets (DCN), usable as a convolution layer.

    The arguments are those of :class:`DeformConv2d`.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._add_conv_offset(per_tap=2)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (N, C, H, W).
            guide (Tensor | None): What the offsets are predicted from, shaped as ``x``. None is ``x`` itself. Defaults
                to None.

        Returns:
            Tensor: (N, Cout, Ho, Wo).
        """
        return super().forward(x, self.conv_offset(x if guide is None else guide))
