"""Paired clip datasets, from disk and synthesised on the fly."""
from .base import ClipDataset, Layout, PairedClipDataset
from .synthetic import SyntheticRain
from .transforms import FlipClip, LoadFrames, PackClip, RandomCropClip, TransposeClip
from .vrds import VRDS

__all__ = [
    'ClipDataset', 'FlipClip', 'Layout', 'LoadFrames', 'PackClip', 'PairedClipDataset', 'RandomCropClip',
    'SyntheticRain', 'TransposeClip', 'VRDS',
]
