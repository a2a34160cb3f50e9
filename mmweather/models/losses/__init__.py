"""Losses that two or more methods use."""
from .perceptual import PerceptualLoss
from .photometric import PhotometricLoss
from .pixel import charbonnier
from .ssim import ssim

__all__ = ['PerceptualLoss', 'PhotometricLoss', 'charbonnier', 'ssim']
