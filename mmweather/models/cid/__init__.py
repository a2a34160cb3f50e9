"""CID: haze removed across scenes (low light, noise, colour casts) from images and video."""
from .alignment import CovarianceAlignment, coral
from .checkpoint import OFFICIAL_LAYOUT
from .losses import CIDLoss
from .network import CIDNet
from .res2net import Res2Net
from .restorers import AdaptationRestorer, DomainDataPreprocessor, SemiSupervisedRestorer, WeightedRestorer
from .weighting import SampleWeighting

__all__ = [
    'OFFICIAL_LAYOUT', 'AdaptationRestorer', 'CIDLoss', 'CIDNet', 'CovarianceAlignment', 'DomainDataPreprocessor',
    'Res2Net', 'SampleWeighting', 'SemiSupervisedRestorer', 'WeightedRestorer', 'coral',
]
