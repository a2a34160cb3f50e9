"""Operators that every method stands on: correct, differentiable, and fast without a compiler.

Each is a function and its modules, registered with ``torch.library``. Plain PyTorch is the reference and serves on a
CPU; on CUDA the Triton kernels of :mod:`mmweather.ops.triton` do. :mod:`mmweather.ops.backend` decides.
"""
from mmweather.ops.backend import describe_backends
from mmweather.ops.correlation import Correlation, correlation
from mmweather.ops.deform_conv import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)
from mmweather.ops.dynamic_filter import DDF, DDFUp, FilterNorm, decoupled_dynamic_filter
from mmweather.ops.pixel_volume import PixelVolume, pixel_volume

__all__ = [
    'Correlation', 'DDF', 'DDFUp', 'DeformConv2d', 'DeformConv2dPack', 'FilterNorm', 'ModulatedDeformConv2d',
    'ModulatedDeformConv2dPack', 'PixelVolume', 'correlation', 'decoupled_dynamic_filter', 'deform_conv2d',
    'describe_backends', 'modulated_deform_conv2d', 'pixel_volume'
]
