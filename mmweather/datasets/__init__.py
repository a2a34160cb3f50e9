"""Paired clip datasets, from disk and synthesised on the fly."""
from .base import ClipDataset, Layout, PairedClipDataset
from .synthetic import SyntheticClips, SyntheticRain
from .synthetic_blur import SyntheticBlur
from .transforms import FlipClip, LoadFrames, PackClip, RandomCropClip, TransposeClip
from .vrds import VRDS

__all__ = [
    'ClipDataset', 'FlipClip', 'Layout', 'LoadFrames', 'PackClip', 'PairedClipDataset', 'RandomCropClip',
    'SyntheticBlur', 'SyntheticClips', 'SyntheticRain', 'TransposeClip', 'VRDS',
]
