"""Pixel volume on the GPU: one program reads the flow around a run of pixels and writes all of their candidates.

The previous frame's gradient is a scatter to wherever the flow points, so it is added with atomics in float32; the
current frame's is a sum inside the program.
"""
import torch
import triton
import triton.language as tl

from mmweather.ops.registration import alert_not_deterministic
from mmweather.ops.triton.common import inside_image
from mmweather.ops.triton.tuning import Tuner


@triton.jit
def _whole(position, extent, RADIUS: tl.constexpr):
    """Truncate towards zero, inside the range in which validity and indices are safe; NaN is outside."""
    lowest = -RADIUS * 1.0
    highest = (extent - 1 + RADIUS).to(tl.float32)
    position = tl.where(position == position, position, lowest)
    return tl.minimum(tl.maximum(position, lowest), highest).to(tl.int32)


@triton.jit
def _candidate(flow_ptr, row, column, column_valid, channel, height, width, RADIUS: tl.constexpr, SIDE: tl.constexpr):
    """Index of one candidate in the previous frame, whether it exists at all, and whether it is valid."""
    shift_x = channel // SIDE - RADIUS
    shift_y = channel % SIDE - RADIUS
    x = column - shift_x
    y = row - shift_y
    exists = column_valid & inside_image(y, x, height, width)
    flow_x = tl.load(flow_ptr + y * width + x, mask=exists, other=0).to(tl.float32)
    flow_y = tl.load(flow_ptr + height * width + y * width + x, mask=exists, other=0).to(tl.float32)
    x = _whole(x.to(tl.float32) + flow_x, width, RADIUS) + shift_x
    y = _whole(y.to(tl.float32) + flow_y, height, RADIUS) + shift_y
    valid = exists & (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
    return y * width + x, exists, valid


@triton.jit
def _forward_kernel(previous_ptr, current_ptr, flow_ptr, out_ptr, height, width, RADIUS: tl.constexpr,
                    SIDE: tl.constexpr, BLOCK_W: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column_valid = column < width
    plane = height.to(tl.int64) * width
    place = row * width + column
    current = tl.load(current_ptr + image * plane + place, mask=column_valid, other=0)
    for channel in range(SIDE * SIDE):
        index, exists, valid = _candidate(flow_ptr + image * 2 * plane, row, column, column_valid, channel, height,
                                          width, RADIUS, SIDE)
        sample = tl.load(previous_ptr + image * plane + index, mask=valid, other=0)
        sample = tl.where(valid, sample, tl.where(exists, current, 0.0))
        tl.store(out_ptr + (image * SIDE * SIDE + channel) * plane + place, sample.to(out_ptr.dtype.element_ty),
                 mask=column_valid)


@triton.jit
def _backward_kernel(grad_ptr, flow_ptr, grad_previous_ptr, grad_current_ptr, height, width, RADIUS: tl.constexpr,
                     SIDE: tl.constexpr, NEEDS_PREVIOUS: tl.constexpr, BLOCK_W: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK_W + tl.arange(0, BLOCK_W)
    column_valid = column < width
    plane = height.to(tl.int64) * width
    place = row * width + column
    total = tl.zeros((BLOCK_W, ), tl.float32)
    for channel in range(SIDE * SIDE):
        index, exists, valid = _candidate(flow_ptr + image * 2 * plane, row, column, column_valid, channel, height,
                                          width, RADIUS, SIDE)
        incoming = tl.load(grad_ptr + (image * SIDE * SIDE + channel) * plane + place, mask=exists,
                           other=0).to(tl.float32)
        if NEEDS_PREVIOUS:
            tl.atomic_add(grad_previous_ptr + image * plane + index, incoming, mask=valid, sem='relaxed')
        total += tl.where(valid, 0.0, incoming)
    tl.store(grad_current_ptr + image * plane + place, total.to(grad_current_ptr.dtype.element_ty), mask=column_valid)


_CONFIGURATIONS = [
    dict(BLOCK_W=256, num_warps=4),
    dict(BLOCK_W=128, num_warps=4),
    dict(BLOCK_W=512, num_warps=4),
    dict(BLOCK_W=512, num_warps=8),
]
_FORWARD = Tuner('pixel_volume_forward', _CONFIGURATIONS)
_BACKWARD = Tuner('pixel_volume_backward', _CONFIGURATIONS)


def forward(previous, current, flow, radius):
    """Compute the output; the arguments are those of the operator."""
    n, _, height, width = previous.shape
    previous, current, flow = previous.contiguous(), current.contiguous(), flow.contiguous()
    out = previous.new_empty(n, (2 * radius + 1)**2, height, width)

    def launch(BLOCK_W, **options):
        _forward_kernel[triton.cdiv(width, BLOCK_W), height, n](
            previous, current, flow, out, height, width, RADIUS=radius, SIDE=2 * radius + 1, BLOCK_W=BLOCK_W, **options)

    _FORWARD.run(launch, (*out.shape, previous.dtype, flow.dtype))
    return out


def backward(grad, previous, current, flow, radius, wanted):
    """Compute the gradients of both frames that are wanted."""
    n, _, height, width = previous.shape
    if wanted[0]:
        alert_not_deterministic('pixel_volume')
    grad, flow = grad.contiguous(), flow.contiguous()
    grad_previous = torch.zeros(previous.shape, dtype=torch.float32, device=previous.device)
    grad_current = current.new_empty(current.shape)

    def launch(BLOCK_W, **options):
        if wanted[0]:
            grad_previous.zero_()
        _backward_kernel[triton.cdiv(width, BLOCK_W), height, n](
            grad, flow, grad_previous, grad_current, height, width, RADIUS=radius, SIDE=2 * radius + 1,
            NEEDS_PREVIOUS=wanted[0], BLOCK_W=BLOCK_W, **options)

    _BACKWARD.run(launch, (*grad.shape, wanted[0], grad.dtype, flow.dtype))
    return [value if want else grad.new_empty(0)
            for value, want in zip((grad_previous.to(previous.dtype), grad_current), wanted)]
