"""The operators as layers for ``ConvModule(conv_cfg=dict(type='mmweather.DCNv2'))`` in any OpenMMLab network.

``mmweather.DCN`` and ``mmweather.DCNv2`` are named after MMCV's layers and have their parameters; ``mmweather.DDF`` is
a decoupled dynamic filter. Importing this module registers them, and a config of another package does that with
``custom_imports = dict(imports=['mmweather.ops.layers'])``.
"""
from mmweather.ops.deform_conv import DeformConv2dPack, ModulatedDeformConv2dPack
from mmweather.ops.dynamic_filter import DDF
from mmweather.registry import MODELS

__all__ = ['DDFConv']

MODELS.register_module(name='DCN', module=DeformConv2dPack)
MODELS.register_module(name='DCNv2', module=ModulatedDeformConv2dPack)


@MODELS.register_module(name='DDF')
class DDFConv(DDF):
    """Decoupled dynamic filter behind the signature of a convolution layer.

    A dynamic filter keeps the number of channels and, at stride 1, the size, so a convolution that it is to replace
    must do so as well.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output, the same.
        kernel_size (int | tuple[int]): Side of the filter, square and odd.
        stride (int | tuple[int]): Defaults to 1.
        padding (int | tuple[int] | None): ``dilation * (kernel_size - 1) / 2``, or None for that. Defaults to None.
        dilation (int | tuple[int]): Defaults to 1.
        groups (int): 1, or ``in_channels`` where a depth-wise convolution is replaced. Defaults to 1.
        bias (bool): Whether to add a bias. Defaults to True.
        **kwargs: ``heads``, ``squeeze_ratio``, ``combine`` and ``nonlinearity`` of :class:`mmweather.ops.DDF`.

    Raises:
        ValueError: The convolution asked for is none that a dynamic filter can replace.
    """

    # Read by mmcv.cnn.ConvModule from whatever convolution it builds.
    transposed = False
    output_padding = (0, 0)

    def __init__(self,
                 in_channels,
                 out_channels,
                 kernel_size,
                 stride=1,
                 padding=None,
                 dilation=1,
                 groups=1,
                 bias=True,
                 **kwargs):
        kernel_size, stride, dilation = (_square(name, value) for name, value in (
            ('kernel_size', kernel_size), ('stride', stride), ('dilation', dilation)))
        same = dilation * (kernel_size - 1) // 2
        if out_channels != in_channels:
            raise ValueError(f'DDF keeps the number of channels: out_channels must be {in_channels}, but is '
                             f'{out_channels}; follow it with a 1x1 convolution')
        if padding is not None and _square('padding', padding) != same:
            raise ValueError(f'DDF keeps the size: padding must be {same} for a kernel of {kernel_size} with dilation '
                             f'{dilation}, but is {padding}')
        if groups not in (1, in_channels):
            raise ValueError(f'groups must be 1 or in_channels for DDF, but is {groups}; it filters each channel alone')
        super().__init__(in_channels, kernel_size, dilation, stride, bias=bias, **kwargs)
        self.in_channels, self.out_channels, self.padding, self.groups = in_channels, out_channels, same, groups

    def init_weights(self):
        """Keep the initialisation of the branches: it scales the filters for what follows."""


def _square(name, value):
    if isinstance(value, int):
        return value
    first, second = value
    if first != second:
        raise ValueError(f'{name} must be the same in both directions for DDF, but is {value}')
    return first
