"""ViMP-Net: rain streaks and raindrops removed from video (ACM MM 2023)."""
from .checkpoint import OFFICIAL_LAYOUT
from .losses import ViMPLoss
from .network import ViMPNet

__all__ = ['OFFICIAL_LAYOUT', 'ViMPLoss', 'ViMPNet']
