"""The four operators, each with inputs, and each written a second time as its definition reads."""
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from mmweather import ops


@dataclass(frozen=True)
class OpCase:
    """One operator with one set of arguments.

    Attributes:
        name (str): For the test's name.
        op (str): Name under ``torch.ops.mmweather``.
        function (Callable): The public function.
        definition (Callable): The same from its definition, slow, in differentiable PyTorch.
        shapes (dict[str, tuple]): Shapes of the tensor arguments, in order.
        options (dict): The other arguments.
        coordinates (tuple[str]): Tensor arguments that hold coordinates: float32 beside half precision, larger values.
        constant (tuple[str]): Tensor arguments without a gradient.
        interpreted (bool): Whether Triton's interpreter runs it, which takes seconds.
    """

    name: str
    op: str
    function: Callable
    definition: Callable
    shapes: dict
    options: dict = field(default_factory=dict)
    coordinates: tuple = ()
    constant: tuple = ()
    interpreted: bool = False

    def tensors(self, dtype=torch.float64, device='cpu', seed=0, requires_grad=False):
        """Deterministic inputs by name; the same numbers for every dtype, as far as it holds them."""
        generator = torch.Generator().manual_seed(seed)
        made = {}
        for name, shape in self.shapes.items():
            value = torch.randn(shape, generator=generator, dtype=torch.float64)
            if name in self.coordinates:
                # Away from whole numbers, where the derivative jumps and where float32 may fall on the other side.
                value = (2 * value).floor() + 0.2 + 0.6 * torch.rand(shape, generator=generator, dtype=torch.float64)
                made[name] = value.to(dtype if dtype == torch.float64 else torch.float32)
            else:
                made[name] = value.to(torch.float16).to(torch.bfloat16).to(dtype)
            made[name] = made[name].to(device).requires_grad_(requires_grad and name not in self.constant)
        return made

    def differentiable(self, tensors):
        """The tensors that have a gradient."""
        return [value for name, value in tensors.items() if name not in self.constant]


def sample_bilinearly(plane, y, x):
    """Samples of an image (C, H, W) at positions of any shape, zeros outside."""
    _, h, w = plane.shape
    total = 0
    for row, share_y in ((y.floor(), 1 - (y - y.floor())), (y.floor() + 1, y - y.floor())):
        for column, share_x in ((x.floor(), 1 - (x - x.floor())), (x.floor() + 1, x - x.floor())):
            inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
            value = plane[:, row.clamp(0, h - 1).long(), column.clamp(0, w - 1).long()]
            total = total + value * (share_y * share_x * inside)
    return total


def define_deform_conv(x, offset, mask, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1,
                       deform_groups=1):
    """Tap by tap and group by group."""
    n, c = x.shape[:2]
    cout, _, kh, kw = weight.shape
    ho, wo = offset.shape[2:]
    offset = offset.view(n, deform_groups, kh * kw, 2, ho, wo)
    rows, columns = torch.meshgrid(torch.arange(ho) * stride[0] - padding[0],
                                   torch.arange(wo) * stride[1] - padding[1], indexing='ij')
    images = []
    for image in range(n):
        taps = []
        for tap in range(kh * kw):
            sampled = []
            for group, plane in enumerate(x[image].chunk(deform_groups)):
                y = rows + tap // kw * dilation[0] + offset[image, group, tap, 0]
                x_ = columns + tap % kw * dilation[1] + offset[image, group, tap, 1]
                value = sample_bilinearly(plane, y, x_)
                if mask is not None:
                    value = value * mask[image].view(deform_groups, kh * kw, ho, wo)[group, tap]
                sampled.append(value)
            taps.append(torch.cat(sampled))
        images.append(torch.stack(taps, 1))
    sampled = torch.stack(images).view(n, groups, c // groups, kh * kw, ho, wo)
    out = torch.einsum('ngckhw,gock->ngohw', sampled, weight.view(groups, cout // groups, c // groups, kh * kw))
    out = out.reshape(n, cout, ho, wo)
    return out if bias is None else out + bias[:, None, None]


def define_dynamic_filter(x, channel_filter, spatial_filter, kernel_size=3, dilation=1, stride=1, combine='mul'):
    """With all filters and all neighbourhoods held at once."""
    n, c = x.shape[:2]
    heads = spatial_filter.shape[1] // kernel_size**2
    neighbourhood = F.unfold(x, kernel_size, dilation, dilation * (kernel_size - 1) // 2, stride)
    shape = n, heads, c // heads, kernel_size**2, *spatial_filter.shape[2:]
    by_pixel = spatial_filter.view(n, heads, 1, *shape[3:])
    by_channel = channel_filter.view(*shape[:4], 1, 1)
    filters = by_channel * by_pixel if combine == 'mul' else by_channel + by_pixel
    return (neighbourhood.view(shape) * filters).sum(3).flatten(1, 2)


def define_correlation(first, second, radius=3, stride=1):
    """Displacement by displacement."""
    h, w = first.shape[2:]
    padded = F.pad(second, (radius * stride, ) * 4)
    costs = []
    for dy in range(0, (2 * radius + 1) * stride, stride):
        for dx in range(0, (2 * radius + 1) * stride, stride):
            costs.append((first * padded[:, :, dy:dy + h, dx:dx + w]).mean(1)[:, ::stride, ::stride])
    return torch.stack(costs, 1)


def define_pixel_volume(previous, current, flow, kernel_size=5):
    """Pixel by pixel, on gray frames."""
    n, _, h, w = previous.shape
    radius = kernel_size // 2
    values = []
    for image in range(n):
        for channel in range(kernel_size**2):
            i, j = channel // kernel_size - radius, channel % kernel_size - radius
            for y in range(h):
                for x in range(w):
                    if not (0 <= x - i < w and 0 <= y - j < h):
                        values.append(torch.zeros_like(previous[0, 0, 0, 0]))
                        continue
                    match_x = int(x - i + flow[image, 0, y - j, x - i].item()) + i
                    match_y = int(y - j + flow[image, 1, y - j, x - i].item()) + j
                    inside = 1 <= match_x <= w - 2 and 1 <= match_y <= h - 2
                    values.append(previous[image, 0, match_y, match_x] if inside else current[image, 0, y, x])
    return torch.stack(values).view(n, kernel_size**2, h, w)


def _deform_case(name, n, channels, size, outputs, kernel, out_size, taps, deform_groups=1, groups=1, **kwargs):
    interpreted = kwargs.pop('interpreted', False)
    shapes = dict(x=(n, channels, *size), offset=(n, 2 * deform_groups * taps, *out_size),
                  mask=(n, deform_groups * taps, *out_size), weight=(outputs, channels // groups, *kernel),
                  bias=(outputs, ))
    return OpCase(name, 'modulated_deform_conv2d', ops.modulated_deform_conv2d, define_deform_conv, shapes,
                  dict(groups=groups, deform_groups=deform_groups, **kwargs), ('offset', ), interpreted=interpreted)


def _filter_case(name, n, channels, size, out_size, heads=1, interpreted=False, **options):
    taps = options.get('kernel_size', 3)**2
    shapes = dict(x=(n, channels, *size), channel_filter=(n, channels, taps),
                  spatial_filter=(n, heads * taps, *out_size))
    return OpCase(name, 'decoupled_dynamic_filter', ops.decoupled_dynamic_filter, define_dynamic_filter, shapes,
                  options, interpreted=interpreted)


def _correlation_case(name, shape, interpreted=False, **options):
    return OpCase(name, 'correlation', ops.correlation, define_correlation, dict(first=shape, second=shape), options,
                  interpreted=interpreted)


def _volume_case(name, n, size, interpreted=False, **options):
    shapes = dict(previous=(n, 1, *size), current=(n, 1, *size), flow=(n, 2, *size))
    return OpCase(name, 'pixel_volume', ops.pixel_volume, define_pixel_volume, shapes, options, ('flow', ), ('flow', ),
                  interpreted)


_STRIDED = dict(stride=(2, 1), padding=(1, 2), dilation=(1, 2))
CASES = [
    _deform_case('deform_groups', 2, 4, (4, 5), 3, (3, 3), (4, 5), 9, 2, stride=(1, 1), padding=(1, 1),
                 dilation=(1, 1), interpreted=True),
    # Deformable groups of four channels against convolution groups of six, everything asymmetric.
    _deform_case('deform_straddling', 1, 12, (7, 6), 4, (3, 2), (4, 8), 6, 3, 2, interpreted=True, **_STRIDED),
    # Wide enough for the reference's form with bags, and for several blocks of channels in a kernel.
    _deform_case('deform_wide', 1, 40, (5, 6), 18, (3, 3), (5, 6), 9, stride=(1, 1), padding=(1, 1), dilation=(1, 1),
                 interpreted=True),
    _deform_case('deform_depthwise', 1, 4, (5, 5), 4, (3, 3), (3, 3), 9, 1, 4, stride=(1, 1), padding=(0, 0),
                 dilation=(1, 1)),
    _filter_case('filter', 2, 6, (5, 7), (5, 7), interpreted=True),
    _filter_case('filter_add_heads', 1, 4, (6, 5), (3, 3), 2, combine='add', stride=2, dilation=2, interpreted=True),
    _filter_case('filter_stride', 1, 4, (5, 6), (2, 2), 1, stride=3),
    _filter_case('filter_5x5', 1, 2, (4, 6), (4, 6), 1, kernel_size=5),
    _filter_case('filter_1x1', 1, 2, (3, 3), (3, 3), 2, kernel_size=1),
    _correlation_case('correlation', (2, 3, 5, 9), interpreted=True),
    _correlation_case('correlation_stride', (1, 4, 7, 20), radius=2, stride=2, interpreted=True),
    _correlation_case('correlation_small', (1, 2, 3, 2), radius=1),
    _correlation_case('correlation_of_pixels', (1, 2, 4, 11), radius=0),
    _volume_case('volume', 2, (6, 7), kernel_size=3, interpreted=True),
    _volume_case('volume_5x5', 1, (7, 9)),
    _volume_case('volume_tiny', 1, (2, 3)),
]
