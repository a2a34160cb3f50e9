"""Pixel volume: candidates for each pixel from the previous frame, one per neighbour's match.

Paper: Son et al., Recurrent Video Deblurring with Blur-Invariant Motion Estimation and Pixel Volumes, ACM TOG 2021,
Sec. 4. Each neighbour of a pixel votes, by its own flow, for the pixel's match in the previous frame. Where the flow
is locally constant all candidates agree.
"""
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmweather.ops import backend
from mmweather.ops.registration import (
    expect_shape,
    expect_tensors,
    operator,
    register_autocast,
    register_autograd,
    register_fake,
)

__all__ = ['PixelVolume', 'pixel_volume']

_NAME = 'pixel_volume'
# ITU-R BT.601 luma, rounded as published.
_GRAY = (0.2989, 0.5870, 0.1140)


def _matches(flow, radius):
    """Whole coordinates of each pixel's match, (N, H, W) each as int32: position plus flow, truncated towards zero.

    Clamped to where every shift by at most ``radius`` is still invalid if it was before, so that they can be used as
    indices. NaN counts as outside.
    """
    flow = flow.double() if flow.dtype == torch.float64 else flow.float()
    h, w = flow.shape[2:]
    x = torch.arange(w, dtype=flow.dtype, device=flow.device) + flow[:, 0]
    y = torch.arange(h, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]

    def whole(position, extent):
        position = torch.where(torch.isnan(position), -2. * extent - radius, position)
        return position.clamp(-radius, extent - 1 + radius).to(torch.int32)

    return whole(x, w), whole(y, h)


def _overlap(shift, extent):
    """Where a map shifted by some pixels still has values, as slices of the result and of the map."""
    return slice(max(shift, 0), extent + min(shift, 0)), slice(max(-shift, 0), extent - max(shift, 0))


def _candidates(flow, radius):
    """Where the samples of each channel lie, in a batch of previous images framed by ``2 * radius`` and flattened.

    Returns:
        tuple: The index of each pixel's match, int32 where that suffices and flat; and one tuple per channel of where
        its samples start (to be added to that index), the region of the result that is covered, the region of the
        samples that covers it, and which samples are valid.
    """
    n, _, h, w = flow.shape
    x, y = _matches(flow, radius)
    pitch, plane = w + 4 * radius, (w + 4 * radius) * (h + 4 * radius)
    dtype = torch.int32 if n * plane < 2**31 else torch.int64
    images = torch.arange(n, dtype=dtype, device=flow.device)[:, None, None] * plane
    match = images + (y.to(dtype) + radius) * pitch + (x + radius)
    inside_x = [(x >= 1 - shift) & (x <= w - 2 - shift) for shift in range(-radius, radius + 1)]
    inside_y = [(y >= 1 - shift) & (y <= h - 2 - shift) for shift in range(-radius, radius + 1)]
    side = 2 * radius + 1
    channels = []
    for channel in range(side**2):
        column, row = divmod(channel, side)
        rows, columns = _overlap(row - radius, h), _overlap(column - radius, w)
        covered, covering = (slice(None), rows[0], columns[0]), (slice(None), rows[1], columns[1])
        channels.append((row * pitch + column, covered, covering, (inside_x[column], inside_y[row])))
    return match.flatten(), channels


def _framed(previous, radius):
    return F.pad(previous[:, 0], (2 * radius, ) * 4).flatten()


def _reference_forward(previous, current, flow, radius):
    n, _, h, w = previous.shape
    framed = _framed(previous, radius)
    match, channels = _candidates(flow, radius)
    out = previous.new_empty(n, len(channels), h, w)
    samples = previous.new_empty(n, h, w)
    for channel, (start, covered, covering, (inside_x, inside_y)) in enumerate(channels):
        rows, columns = covered[1:]
        for rim in (out[:, channel, :rows.start], out[:, channel, rows.stop:], out[:, channel, :, :columns.start],
                    out[:, channel, :, columns.stop:]):
            rim.zero_()
        torch.index_select(framed[start:], 0, match, out=samples.view(-1))
        torch.where((inside_x & inside_y)[covering], samples[covering], current[:, 0][covered],
                    out=out[:, channel][covered])
    return out


def _reference_backward(grad, previous, current, flow, radius, wanted):
    n, _, h, w = previous.shape
    dtype = torch.promote_types(grad.dtype, torch.float32)
    framed = torch.zeros_like(_framed(previous, radius), dtype=dtype)
    grad_current = current.new_zeros(current.shape, dtype=dtype)
    match, channels = _candidates(flow, radius)
    for channel, (start, covered, covering, (inside_x, inside_y)) in enumerate(channels):
        incoming = grad[:, channel][covered].to(dtype)
        valid = (inside_x & inside_y)[covering]
        if wanted[0]:
            samples = framed.new_zeros(n, h, w)
            samples[covering] = incoming * valid
            framed[start:].index_add_(0, match, samples.flatten())
        if wanted[1]:
            grad_current[:, 0][covered] += incoming * ~valid
    inner = slice(2 * radius, 2 * radius + h), slice(2 * radius, 2 * radius + w)
    grad_previous = framed.view(n, 1, h + 4 * radius, w + 4 * radius)[:, :, inner[0], inner[1]]
    return [value.to(grad.dtype).contiguous() if want else grad.new_empty(0)
            for value, want in zip((grad_previous, grad_current), wanted)]


def _portable(previous, current, flow, radius):
    """The whole operator in ONNX's vocabulary: a gather per candidate, padded back to full size."""
    n, _, h, w = previous.shape
    framed = _framed(previous, radius)
    match, channels = _candidates(flow, radius)
    volume = []
    for start, covered, covering, (inside_x, inside_y) in channels:
        samples = framed.index_select(0, match + start).view(n, h, w)
        samples = torch.where((inside_x & inside_y)[covering], samples[covering], current[:, 0][covered])
        rows, columns = covered[1:]
        volume.append(F.pad(samples, (columns.start, w - columns.stop, rows.start, h - rows.stop)))
    return torch.stack(volume, 1)


backend.register(
    _NAME, torch=backend.Kernels(_reference_forward, _reference_backward), triton='mmweather.ops.triton.pixel_volume')


@operator(_NAME)
def _op(previous: Tensor, current: Tensor, flow: Tensor, radius: int) -> Tensor:
    if previous.shape[0] == 0:
        return previous.new_empty(0, (2 * radius + 1)**2, *previous.shape[2:])
    return backend.kernels(_NAME, previous).forward(previous, current, flow, radius)


@register_fake(_NAME)
def _(previous, current, flow, radius):
    return previous.new_empty(previous.shape[0], (2 * radius + 1)**2, *previous.shape[2:])


@operator(f'{_NAME}_backward')
def _backward_op(grad: Tensor, previous: Tensor, current: Tensor, flow: Tensor, radius: int,
                 wanted: Sequence[bool]) -> list[Tensor]:
    if previous.shape[0] == 0:
        return [previous.new_zeros(previous.shape) if want else grad.new_empty(0) for want in wanted]
    return backend.kernels(_NAME, previous).backward(grad, previous, current, flow, radius, wanted)


@register_fake(f'{_NAME}_backward')
def _(grad, previous, current, flow, radius, wanted):
    return [previous.new_empty(previous.shape) if want else grad.new_empty(0) for want in wanted]


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.radius = inputs[3]


def _backward(ctx, grad):
    wanted = list(ctx.needs_input_grad[:2])
    found = torch.ops.mmweather.pixel_volume_backward(grad, *ctx.saved_tensors, ctx.radius, wanted)
    return (*(value if want else None for value, want in zip(found, wanted)), None, None)


register_autograd(_NAME, _backward, _setup_context)
register_autocast(_NAME, cast=('previous', 'current'))


def _to_gray(name, image):
    if image.dim() != 4 or image.shape[1] not in (1, 3):
        raise ValueError(f'{name} must have shape (N, 1, H, W) or (N, 3, H, W), gray or RGB, but has '
                         f'{tuple(image.shape)}')
    if image.shape[1] == 1:
        return image
    red, green, blue = image.split(1, 1)
    return _GRAY[0] * red + _GRAY[1] * green + _GRAY[2] * blue


def pixel_volume(previous: Tensor, current: Tensor, flow: Tensor, kernel_size: int = 5) -> Tensor:
    """Gather, for each pixel, the pixels of the previous frame that its neighbours' matches point to.

    With r = kernel_size // 2 and i, j in {-r .. r}, channel ``kernel_size * (i + r) + j + r`` is
    ``previous[m(p - (i, j)) + (i, j)]`` at pixel p, where ``m(q) = trunc(q + flow(q))`` is the match of q = (x, y),
    truncated towards zero. A match less than one pixel from the previous frame's border, or beyond it, is replaced by
    ``current[p]``. The frame of up to r pixels whose neighbour lies outside the image is zero, as published. There is
    no gradient to the flow, whose coordinates are whole.

    Args:
        previous (Tensor): Previous, restored frame, gray (N, 1, H, W) or RGB (N, 3, H, W), any range. RGB becomes gray
            as 0.2989 R + 0.5870 G + 0.1140 B.
        current (Tensor): Current frame, gray or RGB, of the same size.
        flow (Tensor): Flow from the current to the previous frame in pixels, (N, 2, H, W), x before y. It may be
            float32 beside half-precision frames, and should be: half precision does not hold coordinates.
        kernel_size (int): Side of the neighbourhood, odd. Defaults to 5.

    Returns:
        Tensor: (N, kernel_size ** 2, H, W), contiguous.

    Raises:
        TypeError: Tensors differ in device or dtype.
        ValueError: A shape or an argument does not fit; the message names it and what was expected.
    """
    expect_tensors(_NAME, 'previous', coordinates=('flow', ), previous=previous, current=current, flow=flow)
    previous, current = _to_gray('previous', previous), _to_gray('current', current)
    expect_shape('current', current, previous.shape, 'the size of previous')
    expect_shape('flow', flow, (previous.shape[0], 2, *previous.shape[2:]), '(N, 2, H, W)')
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f'kernel_size must be odd and positive, but is {kernel_size}')
    if torch.onnx.is_in_onnx_export():
        return _portable(previous, current, flow, kernel_size // 2)
    return torch.ops.mmweather.pixel_volume(previous, current, flow, kernel_size // 2)


class PixelVolume(nn.Module):
    """Pixel volume as a module.

    Args:
        kernel_size (int): Side of the neighbourhood, odd. Defaults to 5.
    """

    def __init__(self, kernel_size=5):
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, previous: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        """Gather.

        Args:
            previous (Tensor): (N, 1 or 3, H, W).
            current (Tensor): (N, 1 or 3, H, W).
            flow (Tensor): (N, 2, H, W).

        Returns:
            Tensor: (N, kernel_size ** 2, H, W).
        """
        return pixel_volume(previous, current, flow, self.kernel_size)

    def extra_repr(self) -> str:
        """Geometry, and the backend that serves on a CPU."""
        return f'kernel_size={self.kernel_size}, {backend.describe(_NAME)}'
