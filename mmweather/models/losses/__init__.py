"""Losses that two or more methods use."""
from .perceptual import PerceptualLoss
from .pixel import charbonnier
from .ssim import ssim

__all__ = ['PerceptualLoss', 'charbonnier', 'ssim']
