"""PVDNet and BIMNet: motion blur removed from video (ACM TOG 2021)."""
from .bimnet import BIMNet
from .checkpoint import BIMNET_LAYOUTS, PVDNET_LAYOUT
from .losses import BlurInvariantLoss, EndPointLoss, PVDLoss
from .network import PVDNet
from .restorer import MotionRestorer, PVDRestorer

__all__ = [
    'BIMNET_LAYOUTS', 'BIMNet', 'BlurInvariantLoss', 'EndPointLoss', 'MotionRestorer', 'PVDLoss', 'PVDNET_LAYOUT',
    'PVDNet', 'PVDRestorer',
]
