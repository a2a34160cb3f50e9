"""Metrics by named protocols."""
from .functional import luma, psnr, ssim
from .metric import RestorationMetric, summarise
from .protocols import PROTOCOLS, Protocol, align_koehler, score

__all__ = ['PROTOCOLS', 'Protocol', 'RestorationMetric', 'align_koehler', 'luma', 'psnr', 'score', 'ssim', 'summarise']
