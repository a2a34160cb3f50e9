"""Local cost volume on the GPU, on the tensor cores.

A program owns a run of pixels in one row. For each vertical displacement it multiplies the run with the window of the
other map around it, which is one small matrix product over the channels, and keeps the diagonals of the result: the
costs of all horizontal displacements. Each window is thus read once per vertical displacement, not once per pixel.

Backward is the same product the other way round, with the costs' gradient as a banded matrix: for both maps a gather,
so no atomics.
"""
import torch
import triton
import triton.language as tl

from mmweather.ops.triton.common import dot_precision, inside_image, matrix_product
from mmweather.ops.triton.tuning import Tuner


@triton.jit
def _forward_kernel(first_ptr, second_ptr, out_ptr, height, width, channels, scale, RADIUS: tl.constexpr,
                    SIDE: tl.constexpr, PRECISION: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr,
                    WINDOW: tl.constexpr):
    image = tl.program_id(2).to(tl.int64)
    row = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_W
    column = first + tl.arange(0, BLOCK_W)
    column_valid = column < width
    around = first - RADIUS + tl.arange(0, WINDOW)
    plane = height.to(tl.int64) * width
    first_ptr += image * channels * plane + row * width + column[:, None]
    second_ptr += image * channels * plane + around[None, :]
    out_ptr += image * SIDE * SIDE * plane + row * width + column[:, None]
    displacement = tl.arange(0, triton.next_power_of_2(SIDE))
    diagonal = tl.arange(0, BLOCK_W)[:, None] + tl.minimum(displacement, SIDE - 1)[None, :]
    stored = column_valid[:, None] & (displacement < SIDE)[None, :]
    for vertical in range(SIDE):
        y = row + vertical - RADIUS
        inside = inside_image(y, around, height, width)
        total = tl.zeros((BLOCK_W, WINDOW), tl.float32)
        for first_channel in range(0, channels, BLOCK_C):
            channel = first_channel + tl.arange(0, BLOCK_C)
            channel_valid = channel < channels
            left = tl.load(first_ptr + channel[None, :] * plane, mask=column_valid[:, None] & channel_valid[None, :],
                           other=0)
            right = tl.load(second_ptr + (channel[:, None] * plane + y * width),
                            mask=channel_valid[:, None] & inside[None, :], other=0)
            total = matrix_product(left, right, total, PRECISION)
        costs = tl.gather(total, diagonal, axis=1) * scale
        tl.store(out_ptr + (vertical * SIDE + displacement)[None, :] * plane, costs.to(out_ptr.dtype.element_ty),
                 mask=stored)


@triton.jit
def _gather_kernel(costs_ptr, values_ptr, out_ptr, height, width, channels, scale, RADIUS: tl.constexpr,
                   SIDE: tl.constexpr, REVERSED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_C: tl.constexpr,
                   BLOCK_W: tl.constexpr, WINDOW: tl.constexpr):
    blocks = tl.cdiv(channels, BLOCK_C)
    image = (tl.program_id(2) // blocks).to(tl.int64)
    channel = (tl.program_id(2) % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    channel_valid = channel < channels
    row = tl.program_id(1)
    first = tl.program_id(0) * BLOCK_W
    column = first + tl.arange(0, BLOCK_W)
    column_valid = column < width
    around = first - RADIUS + tl.arange(0, WINDOW)
    plane = height.to(tl.int64) * width
    costs_ptr += image * SIDE * SIDE * plane
    values_ptr += image * channels * plane + channel[None, :] * plane
    step = tl.arange(0, WINDOW)[None, :] - tl.arange(0, BLOCK_W)[:, None]
    band = (step >= 0) & (step < SIDE) & column_valid[:, None]
    total = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    for vertical in range(SIDE):
        if REVERSED:
            # The pixel is the target of the displacement here: the costs belong to where it comes from.
            y = row - (vertical - RADIUS)
            place = (vertical * SIDE + SIDE - 1 - step) * plane + (y * width + around)[None, :]
        else:
            y = row + vertical - RADIUS
            place = (vertical * SIDE + step) * plane + (row * width + column)[:, None]
        inside = inside_image(y, around, height, width)
        costs = tl.load(costs_ptr + place, mask=band & inside[None, :], other=0)
        values = tl.load(values_ptr + (y * width + around)[:, None],
                         mask=inside[:, None] & channel_valid[None, :], other=0)
        total = matrix_product(costs.to(values.dtype), values, total, PRECISION)
    place = (image * channels + channel)[None, :] * plane + (row * width + column)[:, None]
    tl.store(out_ptr + place, (total * scale).to(out_ptr.dtype.element_ty),
             mask=column_valid[:, None] & channel_valid[None, :])


_CONFIGURATIONS = [
    dict(BLOCK_W=32, num_warps=4, num_stages=2),
    dict(BLOCK_W=16, num_warps=2, num_stages=2),
    dict(BLOCK_W=16, num_warps=4, num_stages=3),
    dict(BLOCK_W=64, num_warps=4, num_stages=2),
    dict(BLOCK_W=64, num_warps=8, num_stages=2),
]
_FORWARD = Tuner('correlation_forward', _CONFIGURATIONS)
_BACKWARD = Tuner('correlation_backward', _CONFIGURATIONS)


def _constants(features, radius):
    depth = min(max(triton.next_power_of_2(features.shape[1]), 16), 64)
    return dict(RADIUS=radius, SIDE=2 * radius + 1, PRECISION=dot_precision(features), BLOCK_C=depth)


def _window(block, radius):
    return triton.next_power_of_2(block + 2 * radius)


def forward(first, second, radius):
    """Compute the output; the arguments are those of the operator."""
    n, c, height, width = first.shape
    first, second = first.contiguous(), second.contiguous()
    out = first.new_empty(n, (2 * radius + 1)**2, height, width)
    constants = _constants(first, radius)

    def launch(BLOCK_W, **options):
        _forward_kernel[triton.cdiv(width, BLOCK_W), height, n](
            first, second, out, height, width, c, 1 / c, BLOCK_W=BLOCK_W, WINDOW=_window(BLOCK_W, radius), **constants,
            **options)

    _FORWARD.run(launch, (*first.shape, *constants.values(), first.dtype))
    return out


def backward(grad, first, second, radius, wanted):
    """Compute the gradients of both maps that are wanted."""
    n, c, height, width = first.shape
    grad, first, second = grad.contiguous(), first.contiguous(), second.contiguous()
    constants = _constants(first, radius)
    found = []
    for want, values, is_second in zip(wanted, (second, first), (False, True)):
        out = torch.empty_like(first) if want else grad.new_empty(0)
        found.append(out)
        if not want:
            continue

        def launch(BLOCK_W, values=values, out=out, is_second=is_second, **options):
            grid = triton.cdiv(width, BLOCK_W), height, n * triton.cdiv(c, constants['BLOCK_C'])
            _gather_kernel[grid](grad, values, out, height, width, c, 1 / c, REVERSED=is_second, BLOCK_W=BLOCK_W,
                                 WINDOW=_window(BLOCK_W, radius), **constants, **options)

        _BACKWARD.run(launch, (*first.shape, is_second, *constants.values(), first.dtype))
    return found
