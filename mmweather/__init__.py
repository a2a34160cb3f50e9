"""Removal of rain, raindrops, snow, haze and blur from video: an OpenMMLab plugin that works with today's PyTorch.

Importing this package repairs what is broken in its dependencies (:mod:`mmweather.compat`) and loads nothing heavy:
the names below are imported when they are first used.
"""
import importlib

from . import compat
from .version import __version__

#: Where the public names live.
_HOMES = {
    'build_network': 'mmweather.zoo',
    'detect': 'mmweather.inference.detection',
    'load_weights': 'mmweather.zoo',
    'restore_clip': 'mmweather.models.temporal',
    'restore_video': 'mmweather.inference',
}

__all__ = ['__version__', 'build_network', 'detect', 'load_weights', 'restore_clip', 'restore_video']

compat.install()


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
