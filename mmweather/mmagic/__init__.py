"""MMagic as a neighbour: our classes in its registries, its networks as baselines on our data.

Importing this package registers every class of ours in MMagic's registries too, so that a config with
``default_scope = 'mmagic'`` and ``custom_imports = dict(imports=['mmweather.mmagic'])`` names them without a prefix.
MMagic's own classes are reached as ``mmagic.X`` from any config, and the wrappers of
:mod:`mmweather.mmagic.baselines` make its networks restore clips as ours do.

MMagic itself is imported when one of its classes is looked up, not here. It needs no compiled MMCV:
:mod:`mmweather.compat` lets ``mmcv.ops`` be imported without one.
"""
import importlib
import pkgutil

from mmweather.errors import UserError

try:
    import mmagic.registry as _theirs
except ModuleNotFoundError as error:
    if error.name != 'mmagic':
        raise
    raise UserError('MMagic is not installed in this environment; run `make mmagic`, or: pip install --no-deps '
                    '-r requirements/mmagic.txt') from error

import mmweather.engine
import mmweather.registry as _ours

from .baselines import BaselineLoss, CentreBaseline, ClipBaseline, FrameBaseline

__all__ = ['BaselineLoss', 'CentreBaseline', 'ClipBaseline', 'FrameBaseline', 'register_in_mmagic']


def register_in_mmagic():
    """Registers our classes in MMagic's registries, under their names; calling it again changes nothing.

    Returns:
        dict[str, list[str]]: What was registered, by the registry's name, such as 'MODELS'.

    Raises:
        KeyError: MMagic has another class of that name. MMagic's own classes may be imported later than this, and then
            it is MMagic that raises; the names are kept apart by a test.
    """
    for room in ('mmweather.models', 'mmweather.datasets', 'mmweather.datasets.transforms', 'mmweather.evaluation'):
        importlib.import_module(room)
    for module in pkgutil.iter_modules(mmweather.engine.__path__, 'mmweather.engine.'):
        importlib.import_module(module.name)
    registered = {}
    for kind in _ours.__all__:
        theirs = getattr(_theirs, kind)
        for name, thing in getattr(_ours, kind).module_dict.items():
            if theirs.module_dict.get(name) is not thing:
                theirs.register_module(name=name, module=thing)
                registered.setdefault(kind, []).append(name)
    return registered


register_in_mmagic()
