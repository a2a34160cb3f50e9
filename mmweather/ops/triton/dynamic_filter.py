"""Decoupled dynamic filter on the GPU: bound by memory, so every map is read from it once.

A program owns a run of pixels in one row and a block of channels. For each tap it multiplies the shifted input, the
channels' filter and the pixels' filter in registers; the filters of single pixels and channels at once never exist in
memory, and shifted reads are served by the caches. Both memory formats run through the same code: strides are
arguments, and the compiler orders a tile along whichever is one.

Backward has a gather form for each gradient, one pass and no atomics: the input's mirrors the forward, the pixels'
filter sums over channels inside a program, the channels' filter sums over rows inside a program and over programs
afterwards.
"""
import torch
import triton
import triton.language as tl

from mmweather.ops.registration import empty_like_input
from mmweather.ops.triton.common import inside_image
from mmweather.ops.triton.tuning import Tuner


@triton.jit
def _block(head_width, BLOCK_C: tl.constexpr):
    """Image, head, channels of a program and which of them exist, from the last axis of the grid."""
    blocks = tl.cdiv(head_width, BLOCK_C)
    within = (tl.program_id(2) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    return tl.program_id(2) // blocks, within, within < head_width


@triton.jit
def _combine(channel, pixel, MULTIPLY: tl.constexpr):
    if MULTIPLY:
        return channel[:, None] * pixel[None, :]
    else:
        return channel[:, None] + pixel[None, :]


@triton.jit
def _forward_kernel(x_ptr, channel_ptr, pixel_ptr, out_ptr, height, width, out_height, out_width, x_image, x_channel,
                    x_row, x_column, out_image, out_channel, out_row, out_column, heads, head_width: tl.constexpr,
                    SIDE: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr, MULTIPLY: tl.constexpr,
                    BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr):
    pair, within, channel_valid = _block(head_width, BLOCK_C)
    image = (pair // heads).to(tl.int64)
    channel = ((pair % heads) * head_width + within).to(tl.int64)
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column_valid = column < out_width
    taps: tl.constexpr = SIDE * SIDE
    pad: tl.constexpr = DILATION * (SIDE - 1) // 2
    x_ptr += image * x_image
    channel_ptr += (image * heads * head_width + channel) * taps
    pixel_ptr += pair.to(tl.int64) * taps * out_height * out_width + row * out_width + column
    total = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    for tap in tl.static_range(taps):
        y = row * STRIDE - pad + (tap // SIDE) * DILATION
        x = column * STRIDE - pad + (tap % SIDE) * DILATION
        inside = column_valid & inside_image(y, x, height, width)
        values = tl.load(x_ptr + channel[:, None] * x_channel + (y * x_row + x * x_column)[None, :],
                         mask=channel_valid[:, None] & inside[None, :], other=0).to(tl.float32)
        by_channel = tl.load(channel_ptr + tap, mask=channel_valid, other=0).to(tl.float32)
        by_pixel = tl.load(pixel_ptr + tap * out_height * out_width, mask=column_valid, other=0).to(tl.float32)
        total += values * _combine(by_channel, by_pixel, MULTIPLY)
    place = image * out_image + channel[:, None] * out_channel + (row * out_row + column * out_column)[None, :]
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=channel_valid[:, None] & column_valid[None, :])


@triton.jit
def _backward_input_kernel(grad_ptr, channel_ptr, pixel_ptr, out_ptr, height, width, out_height, out_width, grad_image,
                           grad_channel, grad_row, grad_column, heads, head_width: tl.constexpr, SIDE: tl.constexpr,
                           DILATION: tl.constexpr, STRIDE: tl.constexpr, MULTIPLY: tl.constexpr, BLOCK_C: tl.constexpr,
                           BLOCK_W: tl.constexpr):
    pair, within, channel_valid = _block(head_width, BLOCK_C)
    image = (pair // heads).to(tl.int64)
    channel = ((pair % heads) * head_width + within).to(tl.int64)
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column_valid = column < width
    taps: tl.constexpr = SIDE * SIDE
    pad: tl.constexpr = DILATION * (SIDE - 1) // 2
    grad_ptr += image * grad_image
    channel_ptr += (image * heads * head_width + channel) * taps
    pixel_ptr += pair.to(tl.int64) * taps * out_height * out_width
    total = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    for tap in tl.static_range(taps):
        # The output pixel whose tap reads this input pixel, where there is one.
        y = row + pad - (tap // SIDE) * DILATION
        x = column + pad - (tap % SIDE) * DILATION
        valid = column_valid & (x % STRIDE == 0) & inside_image(
            tl.where(y % STRIDE == 0, y, -1), x, out_height * STRIDE, out_width * STRIDE)
        y = y // STRIDE
        x = x // STRIDE
        incoming = tl.load(grad_ptr + channel[:, None] * grad_channel + (y * grad_row + x * grad_column)[None, :],
                           mask=channel_valid[:, None] & valid[None, :], other=0).to(tl.float32)
        by_channel = tl.load(channel_ptr + tap, mask=channel_valid, other=0).to(tl.float32)
        by_pixel = tl.load(pixel_ptr + tap * out_height * out_width + y * out_width + x, mask=valid,
                           other=0).to(tl.float32)
        total += incoming * _combine(by_channel, by_pixel, MULTIPLY)
    place = (image * heads * head_width + channel)[:, None] * height * width + (row * width + column)[None, :]
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty), mask=channel_valid[:, None] & column_valid[None, :])


@triton.jit
def _backward_pixel_kernel(grad_ptr, x_ptr, channel_ptr, out_ptr, height, width, out_height, out_width, grad_image,
                           grad_channel, grad_row, grad_column, x_image, x_channel, x_row, x_column, heads,
                           head_width: tl.constexpr, SIDE: tl.constexpr, DILATION: tl.constexpr, STRIDE: tl.constexpr,
                           MULTIPLY: tl.constexpr, TAPS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr):
    pair = tl.program_id(2)
    image = (pair // heads).to(tl.int64)
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column_valid = column < out_width
    taps: tl.constexpr = SIDE * SIDE
    pad: tl.constexpr = DILATION * (SIDE - 1) // 2
    grad_ptr += image * grad_image
    x_ptr += image * x_image
    # All taps of the pixels' filter side by side, so that input and gradient are read once.
    places = tl.arange(0, TAPS)
    total = tl.zeros((TAPS, BLOCK_W), tl.float32)
    for first in range(0, head_width, BLOCK_C):
        within = first + tl.arange(0, BLOCK_C)
        channel_valid = within < head_width
        channel = ((pair % heads) * head_width + within).to(tl.int64)
        incoming = tl.load(grad_ptr + channel[:, None] * grad_channel +
                           (row * grad_row + column * grad_column)[None, :],
                           mask=channel_valid[:, None] & column_valid[None, :], other=0).to(tl.float32)
        for tap in tl.static_range(taps):
            y = row * STRIDE - pad + (tap // SIDE) * DILATION
            x = column * STRIDE - pad + (tap % SIDE) * DILATION
            inside = column_valid & inside_image(y, x, height, width)
            product = incoming * tl.load(x_ptr + channel[:, None] * x_channel + (y * x_row + x * x_column)[None, :],
                                         mask=channel_valid[:, None] & inside[None, :], other=0).to(tl.float32)
            if MULTIPLY:
                by_channel = tl.load(channel_ptr + (image * heads * head_width + channel) * taps + tap,
                                     mask=channel_valid, other=0).to(tl.float32)
                product = product * by_channel[:, None]
            total += tl.where(places[:, None] == tap, tl.sum(product, 0)[None, :], 0.0)
    place = (pair.to(tl.int64) * taps + places)[:, None] * out_height * out_width + (row * out_width + column)[None, :]
    tl.store(out_ptr + place, total.to(out_ptr.dtype.element_ty),
             mask=(places < taps)[:, None] & column_valid[None, :])


@triton.jit
def _backward_channel_kernel(grad_ptr, x_ptr, pixel_ptr, out_ptr, height, width, out_height, out_width, grad_image,
                             grad_channel, grad_row, grad_column, x_image, x_channel, x_row, x_column, heads,
                             rows_per_slice, head_width: tl.constexpr, SIDE: tl.constexpr, DILATION: tl.constexpr,
                             STRIDE: tl.constexpr, MULTIPLY: tl.constexpr, TAPS: tl.constexpr, BLOCK_C: tl.constexpr,
                             BLOCK_W: tl.constexpr):
    pair, within, channel_valid = _block(head_width, BLOCK_C)
    image = (pair // heads).to(tl.int64)
    channel = ((pair % heads) * head_width + within).to(tl.int64)
    taps: tl.constexpr = SIDE * SIDE
    pad: tl.constexpr = DILATION * (SIDE - 1) // 2
    grad_ptr += image * grad_image
    x_ptr += image * x_image
    pixel_ptr += pair.to(tl.int64) * taps * out_height * out_width
    places = tl.arange(0, TAPS)
    total = tl.zeros((BLOCK_C, TAPS), tl.float32)
    first_row = tl.program_id(0) * rows_per_slice
    for row in range(first_row, tl.minimum(first_row + rows_per_slice, out_height)):
        for first in range(0, out_width, BLOCK_W):
            column = first + tl.arange(0, BLOCK_W)
            column_valid = column < out_width
            incoming = tl.load(grad_ptr + channel[:, None] * grad_channel +
                               (row * grad_row + column * grad_column)[None, :],
                               mask=channel_valid[:, None] & column_valid[None, :], other=0).to(tl.float32)
            for tap in tl.static_range(taps):
                y = row * STRIDE - pad + (tap // SIDE) * DILATION
                x = column * STRIDE - pad + (tap % SIDE) * DILATION
                inside = column_valid & inside_image(y, x, height, width)
                product = incoming * tl.load(
                    x_ptr + channel[:, None] * x_channel + (y * x_row + x * x_column)[None, :],
                    mask=channel_valid[:, None] & inside[None, :], other=0).to(tl.float32)
                if MULTIPLY:
                    by_pixel = tl.load(pixel_ptr + tap * out_height * out_width + row * out_width + column,
                                       mask=column_valid, other=0).to(tl.float32)
                    product = product * by_pixel[None, :]
                total += tl.where(places[None, :] == tap, tl.sum(product, 1)[:, None], 0.0)
    slice_row = tl.program_id(0).to(tl.int64) * tl.num_programs(2) // tl.cdiv(head_width, BLOCK_C) * head_width
    place = (slice_row + image * heads * head_width + channel)[:, None] * taps + places[None, :]
    tl.store(out_ptr + place, total, mask=channel_valid[:, None] & (places < taps)[None, :])


_MAPS = [
    dict(BLOCK_C=16, BLOCK_W=128, num_warps=4),
    dict(BLOCK_C=8, BLOCK_W=128, num_warps=4),
    dict(BLOCK_C=32, BLOCK_W=64, num_warps=4),
    dict(BLOCK_C=64, BLOCK_W=32, num_warps=4),
    dict(BLOCK_C=8, BLOCK_W=256, num_warps=8),
    dict(BLOCK_C=64, BLOCK_W=64, num_warps=8),
]
_SUMS = [
    dict(BLOCK_C=16, BLOCK_W=64, num_warps=4),
    dict(BLOCK_C=8, BLOCK_W=128, num_warps=4),
    dict(BLOCK_C=64, BLOCK_W=32, num_warps=4),
    dict(BLOCK_C=32, BLOCK_W=64, num_warps=8),
]
_FORWARD = Tuner('dynamic_filter_forward', _MAPS)
_BACKWARD_INPUT = Tuner('dynamic_filter_backward_input', _MAPS)
_BACKWARD_PIXEL = Tuner('dynamic_filter_backward_pixel', _SUMS)
_BACKWARD_CHANNEL = Tuner('dynamic_filter_backward_channel', _SUMS)
# Slices of rows whose sums for the channels' filters run side by side.
_SLICES = 64


def _constants(x, spatial_filter, kernel_size, dilation, stride, combine):
    heads = spatial_filter.shape[1] // kernel_size**2
    return heads, dict(head_width=x.shape[1] // heads, SIDE=kernel_size, DILATION=dilation, STRIDE=stride,
                       MULTIPLY=combine == 'mul')


def forward(x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine):
    """Compute the output; the arguments are those of the public function."""
    heads, constants = _constants(x, spatial_filter, kernel_size, dilation, stride, combine)
    out = empty_like_input(x, (*x.shape[:2], *spatial_filter.shape[2:]))
    channel_filter = channel_filter.contiguous()

    def launch(BLOCK_C, BLOCK_W, **options):
        blocks = triton.cdiv(constants['head_width'], BLOCK_C)
        grid = triton.cdiv(out.shape[3], BLOCK_W), out.shape[2], x.shape[0] * heads * blocks
        _forward_kernel[grid](x, channel_filter, spatial_filter, out, *x.shape[2:], *out.shape[2:], *x.stride(),
                              *out.stride(), heads, BLOCK_C=BLOCK_C, BLOCK_W=BLOCK_W, **constants, **options)

    _FORWARD.run(launch, (*x.shape, *constants.values(), x.stride(1) == 1, x.dtype))
    return out


def backward(grad, x, channel_filter, spatial_filter, kernel_size, dilation, stride, combine, wanted):
    """Compute the gradients of x, channel_filter and spatial_filter that are wanted."""
    heads, constants = _constants(x, spatial_filter, kernel_size, dilation, stride, combine)
    n, c, height, width = x.shape
    sizes = (height, width, *grad.shape[2:])
    channel_filter = channel_filter.contiguous()
    problem = (*x.shape, *constants.values(), x.stride(1) == 1, grad.stride(1) == 1, x.dtype)
    found = [grad.new_empty(0)] * 3
    if wanted[0]:
        grad_x = x.new_empty(x.shape)

        def launch_input(BLOCK_C, BLOCK_W, **options):
            blocks = triton.cdiv(constants['head_width'], BLOCK_C)
            grid = triton.cdiv(width, BLOCK_W), height, n * heads * blocks
            _backward_input_kernel[grid](grad, channel_filter, spatial_filter, grad_x, *sizes, *grad.stride(), heads,
                                         BLOCK_C=BLOCK_C, BLOCK_W=BLOCK_W, **constants, **options)

        _BACKWARD_INPUT.run(launch_input, problem)
        found[0] = grad_x
    taps = triton.next_power_of_2(kernel_size**2)
    if wanted[1]:
        slices = min(_SLICES, grad.shape[2])
        partial = torch.empty(slices, *channel_filter.shape, dtype=torch.float32, device=x.device)

        def launch_channel(BLOCK_C, BLOCK_W, **options):
            grid = slices, 1, n * heads * triton.cdiv(constants['head_width'], BLOCK_C)
            _backward_channel_kernel[grid](grad, x, spatial_filter, partial, *sizes, *grad.stride(), *x.stride(), heads,
                                           triton.cdiv(grad.shape[2], slices), TAPS=taps, BLOCK_C=BLOCK_C,
                                           BLOCK_W=BLOCK_W, **constants, **options)

        _BACKWARD_CHANNEL.run(launch_channel, problem)
        found[1] = partial.sum(0).to(channel_filter.dtype)
    if wanted[2]:
        grad_pixel = torch.empty_like(spatial_filter)

        def launch_pixel(BLOCK_C, BLOCK_W, **options):
            grid = triton.cdiv(grad.shape[3], BLOCK_W), grad.shape[2], n * heads
            _backward_pixel_kernel[grid](grad, x, channel_filter, grad_pixel, *sizes, *grad.stride(), *x.stride(),
                                         heads, TAPS=taps, BLOCK_C=BLOCK_C, BLOCK_W=BLOCK_W, **constants, **options)

        _BACKWARD_PIXEL.run(launch_pixel, problem)
        found[2] = grad_pixel
    return found
