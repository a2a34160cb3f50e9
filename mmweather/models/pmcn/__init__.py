"""PMCN: haze removed from stereo video."""
from .checkpoint import PMCN_LAYOUT
from .losses import PMCNLoss
from .network import PMCN, PMCNState

__all__ = ['PMCN', 'PMCNLoss', 'PMCNState', 'PMCN_LAYOUT']
