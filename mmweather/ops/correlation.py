"""Local cost volume between two feature maps (correlation layer).

Origin: Fischer et al., FlowNet, ICCV 2015, Eq. 1 with a patch of one pixel; used by LiteFlowNet and so by BIMNet
(Son et al., ACM TOG 2021). ``mmweather`` fixes the order of the displacements and the meaning of the stride.

The reference computes the costs of a short run of pixels against the window around it as one small matrix product, and
keeps the diagonals of the result. That is three times the arithmetic that is needed, at matrix speed and without a
product of two feature maps per displacement.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmweather.ops import backend
from mmweather.ops.registration import (
    compute_dtype,
    expect_shape,
    expect_tensors,
    operator,
    register_autocast,
    register_autograd,
    register_fake,
)

__all__ = ['Correlation', 'correlation']

_NAME = 'correlation'
# Pixels per matrix product, measured: shorter runs waste less arithmetic, longer ones run at a higher rate.
_RUN = 8


def _rows_of_runs(values, radius, columns):
    """Lay one feature map out as (rows, columns, channels), both directions padded for windows of a radius."""
    channels, height, width = values.shape
    # One row more than is read, since the last window of the last row runs over its end.
    laid = values.new_zeros(height + 2 * radius + 1, columns, channels, dtype=compute_dtype(values.dtype))
    laid[radius:radius + height, radius:radius + width] = values.permute(1, 2, 0)
    return laid


def _windows(laid, runs, row, radius, transposed):
    """The windows of all runs at one vertical displacement: (runs, pixels of a window, channels), or transposed."""
    _, columns, channels = laid.shape
    size, strides = (runs, _RUN + 2 * radius, channels), (_RUN * channels, channels, 1)
    if transposed:
        size, strides = (size[0], size[2], size[1]), (strides[0], strides[2], strides[1])
    return laid.as_strided(size, strides, row * columns * channels)


def _columns(width, radius):
    """Width of the padded rows: whole runs, with room for the last window."""
    return -(-(width + 2 * radius) // _RUN) * _RUN


def _diagonals(banded, radius):
    """The view (runs, pixels, displacements) of (runs, pixels, pixels of the window)."""
    runs, run, window = banded.shape
    return banded.as_strided((runs, run, 2 * radius + 1), (run * window, window + 1, 1))


def _reference_forward(first, second, radius):
    n, c, h, w = first.shape
    side, columns = 2 * radius + 1, _columns(w, radius)
    out = first.new_empty(n, side**2, h, w)
    for index in range(n):
        centres = first.new_zeros(h, columns, c, dtype=compute_dtype(first.dtype))
        centres[:, :w] = first[index].permute(1, 2, 0)
        runs = centres.view(-1, _RUN, c)
        laid = _rows_of_runs(second[index], radius, columns)
        for row in range(side):
            costs = torch.bmm(runs, _windows(laid, len(runs), row, radius, transposed=True))
            costs = _diagonals(costs, radius).reshape(h, columns, side)[:, :w]
            out[index, row * side:(row + 1) * side] = costs.permute(2, 0, 1).mul(1 / c)
    return out


def _gather(costs, values, radius):
    """Weigh the window of each pixel: ``out[c, p] = mean-scaled sum_j costs[j, p] * values[c, p + displacement j]``."""
    n, c, h, w = values.shape
    side, columns = 2 * radius + 1, _columns(w, radius)
    out = values.new_empty(n, c, h, w)
    for index in range(n):
        laid = _rows_of_runs(values[index], radius, columns)
        weights = laid.new_zeros(side, h, columns, side)
        weights[:, :, :w] = costs[index].view(side, side, h, w).permute(0, 2, 3, 1)
        runs = h * columns // _RUN
        total = laid.new_zeros(runs, _RUN, c)
        banded = laid.new_zeros(runs, _RUN, _RUN + 2 * radius)
        for row in range(side):
            _diagonals(banded, radius).copy_(weights[row].view(runs, _RUN, side))
            total.baddbmm_(banded, _windows(laid, runs, row, radius, transposed=False))
        out[index] = total.view(h, columns, c)[:, :w].permute(2, 0, 1).mul(1 / c)
    return out


def _reversed_costs(costs, radius):
    """Costs as the second map sees them: channel j at p is channel -j at p + displacement j."""
    n, _, h, w = costs.shape
    side = 2 * radius + 1
    padded = F.pad(costs, (radius, ) * 4)
    flipped = torch.empty_like(costs)
    for channel in range(side**2):
        row, column = divmod(channel, side)
        flipped[:, channel] = padded[:, side**2 - 1 - channel, row:row + h, column:column + w]
    return flipped


def _reference_backward(grad, first, second, radius, wanted):
    grad = grad.contiguous()
    return [
        _gather(grad, second, radius) if wanted[0] else grad.new_empty(0),
        _gather(_reversed_costs(grad, radius), first, radius) if wanted[1] else grad.new_empty(0)
    ]


def _portable(first, second, radius):
    """The whole operator in ONNX's vocabulary: slices of the padded map, multiplied and averaged."""
    h, w = first.shape[2:]
    padded = F.pad(second, (radius, ) * 4)
    side = 2 * radius + 1
    return torch.stack([(first * padded[:, :, row:row + h, column:column + w]).mean(1) for row in range(side)
                        for column in range(side)], 1)


backend.register(
    _NAME, torch=backend.Kernels(_reference_forward, _reference_backward), triton='mmweather.ops.triton.correlation')


@operator(_NAME)
def _op(first: Tensor, second: Tensor, radius: int) -> Tensor:
    if first.shape[0] == 0:
        return first.new_empty(0, (2 * radius + 1)**2, *first.shape[2:])
    return backend.kernels(_NAME, first).forward(first, second, radius)


@register_fake(_NAME)
def _(first, second, radius):
    return first.new_empty(first.shape[0], (2 * radius + 1)**2, *first.shape[2:])


@operator(f'{_NAME}_backward')
def _backward_op(grad: Tensor, first: Tensor, second: Tensor, radius: int, wanted: Sequence[bool]) -> list[Tensor]:
    if first.shape[0] == 0:
        return [first.new_zeros(first.shape) if want else grad.new_empty(0) for want in wanted]
    return backend.kernels(_NAME, first).backward(grad, first, second, radius, wanted)


@register_fake(f'{_NAME}_backward')
def _(grad, first, second, radius, wanted):
    return [first.new_empty(first.shape) if want else grad.new_empty(0) for want in wanted]


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])
    ctx.radius = inputs[2]


def _backward(ctx, grad):
    wanted = list(ctx.needs_input_grad[:2])
    found = torch.ops.mmweather.correlation_backward(grad, *ctx.saved_tensors, ctx.radius, wanted)
    return (*(value if want else None for value, want in zip(found, wanted)), None)


register_autograd(_NAME, _backward, _setup_context)
register_autocast(_NAME, cast=('first', 'second'))


def correlation(first: Tensor, second: Tensor, radius: int = 3, stride: int = 1) -> Tensor:
    """Compute the local cost volume of two feature maps.

    ``out[j, p] = mean_c first[c, stride * p] * second[c, stride * (p + displacement j)]``, zero outside the map. The
    displacements run over {-radius .. radius} in both directions, vertical outside and horizontal inside, so channel
    ``(dy + radius) * (2 * radius + 1) + dx + radius`` holds (dy, dx).

    Args:
        first (Tensor): Features, (N, C, H, W).
        second (Tensor): Features of the same shape.
        radius (int): Largest displacement, in steps of ``stride`` pixels. Defaults to 3.
        stride (int): Distance between centres and between displacements, in pixels; centres start at pixel (0, 0).
            Defaults to 1.

    Returns:
        Tensor: (N, (2 * radius + 1) ** 2, ceil(H / stride), ceil(W / stride)), contiguous.

    Raises:
        TypeError: The maps differ in device or dtype.
        ValueError: A shape or an argument does not fit; the message names it and what was expected.
    """
    expect_tensors(_NAME, 'first', first=first, second=second)
    expect_shape('first', first, (None, ) * 4, '(N, C, H, W)')
    expect_shape('second', second, first.shape, 'the shape of first')
    if radius < 0 or stride < 1:
        raise ValueError(f'radius must be at least 0 and stride at least 1, but are {radius} and {stride}')
    # Centres and displacements lie on one grid of this stride, so nothing else of the maps is ever read.
    if stride > 1:
        first, second = first[:, :, ::stride, ::stride], second[:, :, ::stride, ::stride]
    if torch.onnx.is_in_onnx_export():
        return _portable(first, second, radius)
    return torch.ops.mmweather.correlation(first, second, radius)


class Correlation(nn.Module):
    """Local cost volume as a module.

    Args:
        radius (int): Largest displacement, in steps of ``stride`` pixels. Defaults to 3.
        stride (int): Distance between centres and between displacements, in pixels. Defaults to 1.
    """

    def __init__(self, radius=3, stride=1):
        super().__init__()
        self.radius, self.stride = radius, stride

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compare.

        Args:
            first (Tensor): (N, C, H, W).
            second (Tensor): (N, C, H, W).

        Returns:
            Tensor: (N, (2 * radius + 1) ** 2, ceil(H / stride), ceil(W / stride)).
        """
        return correlation(first, second, self.radius, self.stride)

    def extra_repr(self) -> str:
        """Geometry, and the backend that serves on a CPU and on CUDA."""
        return f'radius={self.radius}, stride={self.stride}, {backend.describe(_NAME)}'
