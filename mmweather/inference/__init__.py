"""Video in, video out: reading, restoring and writing videos, folders of frames and images.

Names are imported when they are first used: :func:`open_source` and :func:`open_sink` need no PyTorch.
"""
from importlib import import_module

_HOMES = {
    'open_source': 'mmweather.inference.media',
    'open_sink': 'mmweather.inference.media',
    'RestoreSummary': 'mmweather.inference.restore',
    'load_network': 'mmweather.inference.restore',
    'restore_many': 'mmweather.inference.batch',
    'restore_stereo': 'mmweather.inference.stereo',
    'restore_stream': 'mmweather.inference.restore',
    'restore_video': 'mmweather.inference.restore',
}

__all__ = ['RestoreSummary', 'load_network', 'open_sink', 'open_source', 'restore_many', 'restore_stereo',
           'restore_stream', 'restore_video']


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
