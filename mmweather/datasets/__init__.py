"""Paired clip datasets, from disk and synthesised on the fly."""
from .base import ClipDataset, Layout, PairedClipDataset
from .deblurring import DVD, DeblurringDataset, GoPro
from .images import PairedImages, UnlabelledImages
from .mixture import WeightedMixture
from .rvsd import RVSD
from .sfvc import SFVC
from .synthetic import SyntheticClips, SyntheticRain
from .synthetic_blur import SyntheticBlur
from .synthetic_domains import SyntheticDomains
from .synthetic_haze import SyntheticHaze
from .synthetic_snow import SyntheticSnow
from .transforms import FlipClip, LoadFrames, PackClip, RandomCropClip, StackViews, TransposeClip
from .vrds import VRDS

__all__ = [
    'ClipDataset', 'DVD', 'DeblurringDataset', 'FlipClip', 'GoPro', 'Layout', 'LoadFrames', 'PackClip',
    'PairedClipDataset', 'PairedImages', 'RVSD', 'RandomCropClip', 'SFVC', 'StackViews', 'SyntheticBlur',
    'SyntheticClips', 'SyntheticDomains', 'SyntheticHaze', 'SyntheticRain', 'SyntheticSnow', 'TransposeClip',
    'UnlabelledImages', 'VRDS', 'WeightedMixture',
]
