"""SVDNet: snow and haze removed from video, after "Snow Removal in Video" (ICCV 2023)."""
from .contrastive import SnowContrastiveLoss
from .losses import SVDLoss
from .network import SVDNet
from .physics import PhysicalHeads, compose, invert
from .queries import SnowQueryAggregation
from .restorer import SVDRestorer

__all__ = [
    'PhysicalHeads', 'SVDLoss', 'SVDNet', 'SVDRestorer', 'SnowContrastiveLoss', 'SnowQueryAggregation', 'compose',
    'invert',
]
