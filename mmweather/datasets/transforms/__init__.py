"""Transforms of clips: one decision for all frames and all keys of a sample, which so stay paired and consistent."""
from .formatting import PackClip
from .geometry import FlipClip, RandomCropClip, TransposeClip
from .loading import LoadFrames, StackViews

__all__ = ['FlipClip', 'LoadFrames', 'PackClip', 'RandomCropClip', 'StackViews', 'TransposeClip']
