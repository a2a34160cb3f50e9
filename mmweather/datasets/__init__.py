"""Paired clip datasets, from disk and synthesised on the fly."""
from .base import ClipDataset, Layout, PairedClipDataset
from .deblurring import DVD, DeblurringDataset, GoPro
from .synthetic import SyntheticClips, SyntheticRain
from .synthetic_blur import SyntheticBlur
from .transforms import FlipClip, LoadFrames, PackClip, RandomCropClip, TransposeClip
from .vrds import VRDS

__all__ = [
    'DVD', 'ClipDataset', 'DeblurringDataset', 'FlipClip', 'GoPro', 'Layout', 'LoadFrames', 'PackClip',
    'PairedClipDataset', 'RandomCropClip', 'SyntheticBlur', 'SyntheticClips', 'SyntheticRain', 'TransposeClip', 'VRDS',
]
