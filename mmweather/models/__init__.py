"""Networks, restorers and losses. Importing this package registers every method.

A method is a folder here with an ``__init__.py``; the folders are found, not listed, so that another method touches
no file but its own.
"""
import importlib
import pkgutil

import mmweather.ops.layers  # noqa: F401  Registers the operators as convolution layers.

from .checkpoint import KeyReport, OfficialLayout, load_weights
from .data_preprocessor import ClipDataPreprocessor
from .flow_trainer import FlowTrainer
from .restorer import BaseRestorer
from .temporal import ClipNetwork, ClipProtocol, RecurrentNetwork, restore_clip, restore_frames

__all__ = [
    'BaseRestorer', 'ClipDataPreprocessor', 'ClipNetwork', 'ClipProtocol', 'FlowTrainer', 'KeyReport', 'OfficialLayout',
    'RecurrentNetwork', 'load_weights', 'restore_clip', 'restore_frames',
]

for _room in pkgutil.iter_modules(__path__):
    if _room.ispkg and _room.name not in ('layers', 'losses'):
        importlib.import_module(f'{__name__}.{_room.name}')
