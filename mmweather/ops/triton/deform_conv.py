"""Modulated deformable convolution on the GPU, without a column buffer.

Forward is one matrix product whose left operand is made on the fly: a program owns a tile of positions and of output
channels, gathers the four neighbours of each sample from a channels-last input, weighs them bilinearly and by the mask
in registers, and feeds the result to the tensor cores. Channels of several deformable groups share a tile where groups
are narrow, so that the product's inner dimension is never below 16.

Backward is two kernels. The first makes the gradient of the columns the same way and reduces it over channels to the
gradients of offset and mask, which each belong to one program; only the gradient of the input, which has no gather
form because offsets may point anywhere, is added with atomics, in float32. The second re-gathers the columns and
reduces over positions to the gradient of the weight, in slices that are summed afterwards.
"""
import math

import torch
import triton
import triton.language as tl

from mmweather.ops.registration import alert_not_deterministic, empty_like_input
from mmweather.ops.triton.common import dot_precision, matrix_product
from mmweather.ops.triton.tuning import Tuner


@triton.jit
def _neighbours(offset_ptr, mask_ptr, image, group, group_valid, tap, position, position_valid, size_p, height, width,
                groups, out_width, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, KW: tl.constexpr,
                TAPS: tl.constexpr, HAS_MASK: tl.constexpr):
    """Top left neighbour, bilinear fractions, mask and validity of samples, each (positions, groups)."""
    valid = position_valid[:, None] & group_valid[None, :]
    row = (image * groups + group.to(tl.int64)) * TAPS + tap
    place = offset_ptr + row[None, :] * 2 * size_p + position[:, None]
    y = tl.load(place, mask=valid, other=0).to(tl.float32)
    x = tl.load(place + size_p, mask=valid, other=0).to(tl.float32)
    y += ((position // out_width) * stride_h - pad_h + (tap // KW) * dilation_h)[:, None].to(tl.float32)
    x += ((position % out_width) * stride_w - pad_w + (tap % KW) * dilation_w)[:, None].to(tl.float32)
    # False for NaN as well; then every corner is masked.
    valid = valid & (y > -1) & (y < height) & (x > -1) & (x < width)
    y = tl.where(valid, y, 0.0)
    x = tl.where(valid, x, 0.0)
    top = tl.floor(y)
    left = tl.floor(x)
    if HAS_MASK:
        modulation = tl.load(mask_ptr + row[None, :] * size_p + position[:, None], mask=valid, other=0).to(tl.float32)
    else:
        modulation = tl.where(valid, 1.0, 0.0)
    return top.to(tl.int32), left.to(tl.int32), y - top, x - left, modulation, valid


@triton.jit
def _corner(x_ptr, top, left, valid, channel, channel_valid, height, width, channels):
    """Pointers to one corner's channels, (positions, groups, channels), and which of them are inside."""
    inside = valid & (top >= 0) & (top < height) & (left >= 0) & (left < width)
    place = (top * width + left) * channels
    return x_ptr + (place[:, :, None] + channel[None, :, :]), inside[:, :, None] & channel_valid[None, :, :]


@triton.jit
def _sample(x_ptr, top, left, fraction_y, fraction_x, valid, channel, channel_valid, height, width, channels):
    """Bilinear samples in float32, (positions, groups, channels)."""
    pointer, inside = _corner(x_ptr, top, left, valid, channel, channel_valid, height, width, channels)
    total = tl.load(pointer, mask=inside, other=0).to(tl.float32) * ((1 - fraction_y) * (1 - fraction_x))[:, :, None]
    pointer, inside = _corner(x_ptr, top, left + 1, valid, channel, channel_valid, height, width, channels)
    total += tl.load(pointer, mask=inside, other=0).to(tl.float32) * ((1 - fraction_y) * fraction_x)[:, :, None]
    pointer, inside = _corner(x_ptr, top + 1, left, valid, channel, channel_valid, height, width, channels)
    total += tl.load(pointer, mask=inside, other=0).to(tl.float32) * (fraction_y * (1 - fraction_x))[:, :, None]
    pointer, inside = _corner(x_ptr, top + 1, left + 1, valid, channel, channel_valid, height, width, channels)
    total += tl.load(pointer, mask=inside, other=0).to(tl.float32) * (fraction_y * fraction_x)[:, :, None]
    return total


@triton.jit
def _weight_tile(weight_ptr, conv_group, tap, local, local_valid, output, output_valid, conv_channels, conv_outputs,
                 TAPS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_O: tl.constexpr):
    """The weight of one tap, (channels of the tile, output channels), from a (groups, taps, channels, outputs) copy."""
    row = (conv_group * TAPS + tap) * conv_channels + local
    tile = tl.load(weight_ptr + row[:, :, None] * conv_outputs + output[None, None, :],
                   mask=local_valid[:, :, None] & output_valid[None, None, :], other=0)
    return tl.reshape(tile, (BLOCK_K, BLOCK_O))


@triton.jit
def _forward_kernel(x_ptr, offset_ptr, mask_ptr, weight_ptr, bias_ptr, out_ptr, size_p, height, width, out_width,
                    out_image, out_channel, out_position, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
                    channels: tl.constexpr, groups: tl.constexpr, group_width: tl.constexpr,
                    conv_channels: tl.constexpr, conv_outputs: tl.constexpr, KW: tl.constexpr, TAPS: tl.constexpr,
                    HAS_MASK: tl.constexpr, HAS_BIAS: tl.constexpr, PRECISION: tl.constexpr, GROUPS: tl.constexpr,
                    DEPTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    blocks = tl.cdiv(conv_outputs, BLOCK_O)
    conv_group = tl.program_id(1) // blocks
    output = (tl.program_id(1) % blocks) * BLOCK_O + tl.arange(0, BLOCK_O)
    output_valid = output < conv_outputs
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    position_valid = position < size_p
    x_ptr += image * height * width * channels
    conv_groups = conv_channels // group_width
    total = tl.zeros((BLOCK_P, BLOCK_O), tl.float32)
    for first_group in range(0, conv_groups, GROUPS):
        local_group = first_group + tl.arange(0, GROUPS)
        group_valid = local_group < conv_groups
        group = conv_group * conv_groups + local_group
        for tap in range(TAPS):
            top, left, fraction_y, fraction_x, modulation, valid = _neighbours(
                offset_ptr, mask_ptr, image, group, group_valid, tap, position, position_valid, size_p, height, width,
                groups, out_width, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, KW, TAPS, HAS_MASK)
            for first in range(0, group_width, DEPTH):
                within = first + tl.arange(0, DEPTH)
                local = local_group[:, None] * group_width + within[None, :]
                local_valid = group_valid[:, None] & (within < group_width)[None, :]
                column = _sample(x_ptr, top, left, fraction_y, fraction_x, valid, conv_group * conv_channels + local,
                                 local_valid, height, width, channels) * modulation[:, :, None]
                weight = _weight_tile(weight_ptr, conv_group, tap, local, local_valid, output, output_valid,
                                      conv_channels, conv_outputs, TAPS, GROUPS * DEPTH, BLOCK_O)
                column = tl.reshape(column, (BLOCK_P, GROUPS * DEPTH)).to(weight.dtype)
                total = matrix_product(column, weight, total, PRECISION)
    out_row = conv_group * conv_outputs + output
    if HAS_BIAS:
        total += tl.load(bias_ptr + out_row, mask=output_valid, other=0).to(tl.float32)[None, :]
    place = image * out_image + out_row.to(tl.int64)[None, :] * out_channel + position[:, None] * out_position
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=position_valid[:, None] & output_valid[None, :])


@triton.jit
def _corner_gradient(x_ptr, grad_x_ptr, gradient, share, top, left, valid, channel, channel_valid, height, width,
                     channels, NEEDS_X: tl.constexpr, NEEDS_OFFSET: tl.constexpr):
    """Product of the columns' gradient with one corner, summed over channels; and that corner's gradient, added."""
    pointer, inside = _corner(x_ptr, top, left, valid, channel, channel_valid, height, width, channels)
    if NEEDS_X:
        target, _ = _corner(grad_x_ptr, top, left, valid, channel, channel_valid, height, width, channels)
        tl.atomic_add(target, gradient * share[:, :, None], mask=inside, sem='relaxed')
    product = tl.zeros_like(share)
    if NEEDS_OFFSET:
        product = tl.sum(gradient * tl.load(pointer, mask=inside, other=0).to(tl.float32), 2)
    return product


@triton.jit
def _backward_data_kernel(grad_ptr, x_ptr, offset_ptr, mask_ptr, weight_ptr, grad_x_ptr, grad_offset_ptr, grad_mask_ptr,
                          size_p, height, width, out_width, grad_image, grad_channel, grad_position, stride_h, stride_w,
                          pad_h, pad_w, dilation_h, dilation_w, channels: tl.constexpr, groups: tl.constexpr,
                          group_width: tl.constexpr, conv_channels: tl.constexpr, conv_outputs: tl.constexpr,
                          KW: tl.constexpr, TAPS: tl.constexpr, HAS_MASK: tl.constexpr,
                          NEEDS_X: tl.constexpr, NEEDS_OFFSET: tl.constexpr, PRECISION: tl.constexpr,
                          GROUPS: tl.constexpr, DEPTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    conv_groups = conv_channels // group_width
    blocks = tl.cdiv(conv_groups, GROUPS)
    conv_group = tl.program_id(1) // blocks
    local_group = (tl.program_id(1) % blocks) * GROUPS + tl.arange(0, GROUPS)
    group_valid = local_group < conv_groups
    group = conv_group * conv_groups + local_group
    position = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    position_valid = position < size_p
    x_ptr += image * height * width * channels
    grad_x_ptr += image * height * width * channels
    grad_ptr += image * grad_image
    for tap in range(TAPS):
        top, left, fraction_y, fraction_x, modulation, valid = _neighbours(
            offset_ptr, mask_ptr, image, group, group_valid, tap, position, position_valid, size_p, height, width,
            groups, out_width, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, KW, TAPS, HAS_MASK)
        top_left = tl.zeros_like(fraction_y)
        top_right = tl.zeros_like(fraction_y)
        below_left = tl.zeros_like(fraction_y)
        below_right = tl.zeros_like(fraction_y)
        for first in range(0, group_width, DEPTH):
            within = first + tl.arange(0, DEPTH)
            local = local_group[:, None] * group_width + within[None, :]
            local_valid = group_valid[:, None] & (within < group_width)[None, :]
            channel = conv_group * conv_channels + local
            gradient = tl.zeros((BLOCK_P, GROUPS * DEPTH), tl.float32)
            for first_output in range(0, conv_outputs, BLOCK_O):
                output = first_output + tl.arange(0, BLOCK_O)
                output_valid = output < conv_outputs
                weight = _weight_tile(weight_ptr, conv_group, tap, local, local_valid, output, output_valid,
                                      conv_channels, conv_outputs, TAPS, GROUPS * DEPTH, BLOCK_O)
                out_row = (conv_group * conv_outputs + output).to(tl.int64)
                incoming = tl.load(grad_ptr + out_row[None, :] * grad_channel + position[:, None] * grad_position,
                                   mask=position_valid[:, None] & output_valid[None, :], other=0)
                gradient = matrix_product(incoming.to(weight.dtype), tl.trans(weight), gradient, PRECISION)
            gradient = tl.reshape(gradient, (BLOCK_P, GROUPS, DEPTH))
            top_left += _corner_gradient(x_ptr, grad_x_ptr, gradient, modulation * (1 - fraction_y) * (1 - fraction_x),
                                         top, left, valid, channel, local_valid, height, width, channels, NEEDS_X,
                                         NEEDS_OFFSET)
            top_right += _corner_gradient(x_ptr, grad_x_ptr, gradient, modulation * (1 - fraction_y) * fraction_x, top,
                                          left + 1, valid, channel, local_valid, height, width, channels, NEEDS_X,
                                          NEEDS_OFFSET)
            below_left += _corner_gradient(x_ptr, grad_x_ptr, gradient, modulation * fraction_y * (1 - fraction_x),
                                           top + 1, left, valid, channel, local_valid, height, width, channels, NEEDS_X,
                                           NEEDS_OFFSET)
            below_right += _corner_gradient(x_ptr, grad_x_ptr, gradient, modulation * fraction_y * fraction_x, top + 1,
                                            left + 1, valid, channel, local_valid, height, width, channels, NEEDS_X,
                                            NEEDS_OFFSET)
        if NEEDS_OFFSET:
            row = (image * groups + group.to(tl.int64)) * TAPS + tap
            place = row[None, :] * size_p + position[:, None]
            stored = position_valid[:, None] & group_valid[None, :]
            by_y = (below_left - top_left) * (1 - fraction_x) + (below_right - top_right) * fraction_x
            by_x = (top_right - top_left) * (1 - fraction_y) + (below_right - below_left) * fraction_y
            pair = grad_offset_ptr + row[None, :] * 2 * size_p + position[:, None]
            tl.store(pair, (by_y * modulation).to(grad_offset_ptr.dtype.element_ty), mask=stored)
            tl.store(pair + size_p, (by_x * modulation).to(grad_offset_ptr.dtype.element_ty), mask=stored)
            if HAS_MASK:
                value = (top_left * (1 - fraction_x) + top_right * fraction_x) * (1 - fraction_y) + (
                    below_left * (1 - fraction_x) + below_right * fraction_x) * fraction_y
                tl.store(grad_mask_ptr + place, value.to(grad_mask_ptr.dtype.element_ty), mask=stored)


@triton.jit
def _backward_weight_kernel(grad_ptr, x_ptr, offset_ptr, mask_ptr, out_ptr, images, size_p, height, width, out_width,
                            tiles_per_slice, grad_image, grad_channel, grad_position, stride_h, stride_w, pad_h, pad_w,
                            dilation_h, dilation_w, channels: tl.constexpr, groups: tl.constexpr,
                            group_width: tl.constexpr, conv_channels: tl.constexpr, conv_outputs: tl.constexpr,
                            KW: tl.constexpr, TAPS: tl.constexpr, HAS_MASK: tl.constexpr, PRECISION: tl.constexpr,
                            GROUPS: tl.constexpr, DEPTH: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_O: tl.constexpr):
    conv_groups = conv_channels // group_width
    group_blocks = tl.cdiv(conv_groups, GROUPS)
    depth_blocks = tl.cdiv(group_width, DEPTH)
    block = tl.program_id(0)
    tap = block % TAPS
    block = block // TAPS
    within = (block % depth_blocks) * DEPTH + tl.arange(0, DEPTH)
    block = block // depth_blocks
    local_group = (block % group_blocks) * GROUPS + tl.arange(0, GROUPS)
    conv_group = block // group_blocks
    group_valid = local_group < conv_groups
    group = conv_group * conv_groups + local_group
    local = local_group[:, None] * group_width + within[None, :]
    local_valid = group_valid[:, None] & (within < group_width)[None, :]
    output = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    output_valid = output < conv_outputs
    out_row = (conv_group * conv_outputs + output).to(tl.int64)
    tiles = tl.cdiv(size_p, BLOCK_P)
    total = tl.zeros((GROUPS * DEPTH, BLOCK_O), tl.float32)
    first_tile = tl.program_id(2) * tiles_per_slice
    for tile in range(first_tile, tl.minimum(first_tile + tiles_per_slice, tiles * images)):
        image = (tile // tiles).to(tl.int64)
        position = (tile % tiles) * BLOCK_P + tl.arange(0, BLOCK_P)
        position_valid = position < size_p
        top, left, fraction_y, fraction_x, modulation, valid = _neighbours(
            offset_ptr, mask_ptr, image, group, group_valid, tap, position, position_valid, size_p, height, width,
            groups, out_width, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, KW, TAPS, HAS_MASK)
        column = _sample(x_ptr + image * height * width * channels, top, left, fraction_y, fraction_x, valid,
                         conv_group * conv_channels + local, local_valid, height, width, channels)
        column = tl.reshape(column * modulation[:, :, None], (BLOCK_P, GROUPS * DEPTH))
        incoming = tl.load(grad_ptr + image * grad_image + out_row[None, :] * grad_channel +
                           position[:, None] * grad_position,
                           mask=position_valid[:, None] & output_valid[None, :], other=0)
        total = matrix_product(tl.trans(column.to(incoming.dtype)), incoming, total, PRECISION)
    row = ((tl.program_id(2) * (channels // conv_channels) + conv_group) * TAPS + tap) * conv_channels + local
    place = tl.reshape(row, (GROUPS * DEPTH, ))[:, None] * conv_outputs + output[None, :]
    stored = tl.reshape(local_valid, (GROUPS * DEPTH, ))[:, None] & output_valid[None, :]
    tl.store(out_ptr + place, total, mask=stored)


_FORWARD = Tuner('deform_conv_forward', [
    dict(BLOCK_P=64, num_warps=4, num_stages=2),
    dict(BLOCK_P=128, num_warps=8, num_stages=2),
    dict(BLOCK_P=128, num_warps=4, num_stages=2),
    dict(BLOCK_P=64, num_warps=8, num_stages=2),
    dict(BLOCK_P=32, num_warps=4, num_stages=3),
])
_BACKWARD_DATA = Tuner('deform_conv_backward_data', [
    dict(BLOCK_P=64, num_warps=4, num_stages=1),
    dict(BLOCK_P=32, num_warps=4, num_stages=1),
    dict(BLOCK_P=64, num_warps=8, num_stages=2),
    dict(BLOCK_P=128, num_warps=8, num_stages=1),
])
_BACKWARD_WEIGHT = Tuner('deform_conv_backward_weight', [
    dict(BLOCK_P=64, num_warps=4, num_stages=2),
    dict(BLOCK_P=32, num_warps=4, num_stages=2),
    dict(BLOCK_P=128, num_warps=8, num_stages=1),
])
# Slices over positions of the weight's gradient that run side by side; enough to fill a large GPU with one tap's tiles.
_SLICES = 16
# Inner dimension of the matrix products: channels of one tile, over all of its deformable groups.
_BLOCK_K = 32


class _Problem:
    """One call, laid out as the kernels want it."""

    def __init__(self, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups):
        n, c, height, width = x.shape
        cout, conv_channels, kh, kw = weight.shape
        self.taps, self.shared = kh * kw, 1
        self.size_out = offset.shape[2:]
        self.positions = self.size_out[0] * self.size_out[1]
        if height * width * c >= 2**31:
            raise ValueError(f'x has {height * width * c} elements per image; the kernel indexes fewer than 2**31')
        if conv_channels % (c // deform_groups):
            # A deformable group straddles convolution groups: cut both into pieces that do not.
            self.shared = (c // deform_groups) // math.gcd(c // deform_groups, conv_channels)
            offset, mask = (value if value is None else value.unflatten(1, (deform_groups, -1)).repeat_interleave(
                self.shared, 1).flatten(1, 2) for value in (offset, mask))
        self.deform_groups, self.groups = deform_groups * self.shared, groups
        self.group_width, self.conv_channels, self.conv_outputs = c // self.deform_groups, conv_channels, cout // groups
        self.x = x.contiguous(memory_format=torch.channels_last)
        self.offset, self.mask = offset.contiguous(), None if mask is None else mask.contiguous()
        # (groups, taps, channels, outputs): what one tile reads lies together.
        self.weight = weight.view(groups, self.conv_outputs, conv_channels, self.taps).permute(0, 3, 2, 1).contiguous()
        depth = min(triton.next_power_of_2(self.group_width), _BLOCK_K)
        self.tile = dict(GROUPS=_BLOCK_K // depth, DEPTH=depth,
                         BLOCK_O=min(max(triton.next_power_of_2(self.conv_outputs), 16), 128))
        self.geometry = (*stride, *padding, *dilation)
        self.sizes = height, width, self.size_out[1]
        # A network has a handful of these. Known at compile time, they let neighbouring channels be read at once.
        self.constants = dict(channels=c, groups=self.deform_groups, group_width=self.group_width,
                              conv_channels=conv_channels, conv_outputs=self.conv_outputs, KW=kw, TAPS=self.taps,
                              HAS_MASK=mask is not None, PRECISION=dot_precision(x), **self.tile)
        self.key = (n, *self.sizes, self.positions, x.dtype, *self.constants.values())

    def whole_groups(self, grad):
        """Sum a gradient over the pieces that a deformable group was cut into."""
        if self.shared == 1:
            return grad
        return grad.unflatten(1, (self.deform_groups // self.shared, self.shared, -1)).sum(2).flatten(1, 2)


def forward(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """Compute the output; the arguments are those of the public function."""
    problem = _Problem(x, offset, mask, weight, stride, padding, dilation, groups, deform_groups)
    out = empty_like_input(x, (x.shape[0], weight.shape[0], *problem.size_out))

    def launch(BLOCK_P, **options):
        grid = (triton.cdiv(problem.positions, BLOCK_P),
                groups * triton.cdiv(problem.conv_outputs, problem.tile['BLOCK_O']), x.shape[0])
        _forward_kernel[grid](problem.x, problem.offset, problem.mask, problem.weight, bias, out, problem.positions,
                              *problem.sizes, out.stride(0), out.stride(1), out.stride(3), *problem.geometry,
                              HAS_BIAS=bias is not None, BLOCK_P=BLOCK_P, **problem.constants, **options)

    _FORWARD.run(launch, problem.key)
    return out


def backward(grad, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups, wanted):
    """Compute the gradients of x, offset, mask and weight that are wanted."""
    problem = _Problem(x, offset, mask, weight, stride, padding, dilation, groups, deform_groups)
    n = x.shape[0]
    # One stride over positions suffices for both memory formats, and for nothing else.
    if not (grad.is_contiguous() or grad.is_contiguous(memory_format=torch.channels_last)):
        grad = grad.contiguous()
    strides = grad.stride(0), grad.stride(1), grad.stride(3)
    found = [grad.new_empty(0)] * 4
    needs_offset = wanted[1] or wanted[2]
    if wanted[0] or needs_offset:
        if wanted[0]:
            alert_not_deterministic('modulated_deform_conv2d')
        grad_x = torch.zeros_like(problem.x, dtype=torch.float32) if wanted[0] else problem.x
        grad_offset = torch.empty_like(problem.offset)
        grad_mask = None if mask is None else torch.empty_like(problem.mask)

        def launch_data(BLOCK_P, **options):
            if wanted[0]:
                grad_x.zero_()
            blocks = triton.cdiv(problem.conv_channels // problem.group_width, problem.tile['GROUPS'])
            _backward_data_kernel[triton.cdiv(problem.positions, BLOCK_P), groups * blocks, n](
                grad, problem.x, problem.offset, problem.mask, problem.weight, grad_x, grad_offset, grad_mask,
                problem.positions, *problem.sizes, *strides, *problem.geometry, NEEDS_X=wanted[0],
                NEEDS_OFFSET=needs_offset, BLOCK_P=BLOCK_P, **problem.constants, **options)

        _BACKWARD_DATA.run(launch_data, (*problem.key, wanted[0], needs_offset))
        if wanted[0]:
            found[0] = grad_x.to(x.dtype).contiguous()
        if wanted[1]:
            found[1] = problem.whole_groups(grad_offset)
        if wanted[2]:
            found[2] = problem.whole_groups(grad_mask)
    if wanted[3]:
        blocks = groups * triton.cdiv(problem.conv_channels // problem.group_width, problem.tile['GROUPS'])
        blocks *= triton.cdiv(problem.group_width, problem.tile['DEPTH']) * problem.taps
        slices = min(_SLICES, triton.cdiv(problem.positions, 32) * n)
        partial = torch.zeros(slices, *problem.weight.shape, dtype=torch.float32, device=x.device)

        def launch_weight(BLOCK_P, **options):
            per_slice = triton.cdiv(triton.cdiv(problem.positions, BLOCK_P) * n, slices)
            grid = blocks, triton.cdiv(problem.conv_outputs, problem.tile['BLOCK_O']), slices
            _backward_weight_kernel[grid](grad, problem.x, problem.offset, problem.mask, partial, n, problem.positions,
                                          *problem.sizes, per_slice, *strides, *problem.geometry, BLOCK_P=BLOCK_P,
                                          **problem.constants, **options)

        _BACKWARD_WEIGHT.run(launch_weight, problem.key)
        found[3] = partial.sum(0).permute(0, 3, 2, 1).reshape(weight.shape).to(weight.dtype)
    return found
