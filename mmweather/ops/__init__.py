"""Operators that every method stands on: correct, differentiable, and fast without a compiler.

Each is a function and its modules, registered with ``torch.library``. Plain PyTorch is the reference and serves on a
CPU; on CUDA the Triton kernels of :mod:`mmweather.ops.triton` do. :mod:`mmweather.ops.backend` decides.
"""
from mmweather.ops.backend import describe_backends
from mmweather.ops.deform_conv import (
    DeformConv2d,
    DeformConv2dPack,
    ModulatedDeformConv2d,
    ModulatedDeformConv2dPack,
    deform_conv2d,
    modulated_deform_conv2d,
)

__all__ = [
    'DeformConv2d', 'DeformConv2dPack', 'ModulatedDeformConv2d', 'ModulatedDeformConv2dPack', 'deform_conv2d',
    'describe_backends', 'modulated_deform_conv2d'
]
