"""Results that people can look at: a page that compares videos, and a video that shows them together."""
from importlib import import_module

_HOMES = {
    'Comparison': 'mmweather.report.comparison',
    'compare': 'mmweather.report.comparison',
    'render_page': 'mmweather.report.page',
    'write_page': 'mmweather.report.page',
    'write_video': 'mmweather.report.montage',
}

__all__ = ['Comparison', 'compare', 'render_page', 'write_page', 'write_video']


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
