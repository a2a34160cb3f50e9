"""Operators that every method stands on, in plain PyTorch; nothing to compile."""
from mmweather.ops.deform_conv import modulated_deform_conv2d

__all__ = ['modulated_deform_conv2d']
