"""Metrics by named protocols."""
from .domain_metric import DomainMetric
from .functional import luma, psnr, ssim
from .metric import RestorationMetric, summarise
from .no_reference import NoReferenceMetric, score_no_reference
from .protocols import PROTOCOLS, Protocol, align_koehler, score
from .temporal import WarpingErrorMetric, dis_flow, warping_error

__all__ = [
    'DomainMetric', 'NoReferenceMetric', 'PROTOCOLS', 'Protocol', 'RestorationMetric', 'WarpingErrorMetric',
    'align_koehler', 'dis_flow', 'luma', 'psnr', 'score', 'score_no_reference', 'ssim',
    'summarise', 'warping_error',
]
