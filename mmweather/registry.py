"""Registries: one node per kind, each a child of MMEngine's root node of that kind.

The parents are MMEngine's and not MMagic's on purpose. ``Registry.get`` imports a registry's ``locations`` before it
looks at a name, so a node below MMagic would pull in ``mmagic.models`` and everything that imports. The locations
named here are imported when a name is first looked up, never by ``import mmweather``.
"""
from mmengine import registry as _root

__all__ = [
    'DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'LOG_PROCESSORS', 'LOOPS', 'METRICS', 'MODELS', 'MODEL_WRAPPERS',
    'OPTIMIZERS', 'OPTIM_WRAPPERS', 'OPTIM_WRAPPER_CONSTRUCTORS', 'PARAM_SCHEDULERS', 'RUNNERS', 'TRANSFORMS',
    'VISBACKENDS', 'VISUALIZERS', 'WEIGHT_INITIALIZERS',
]


def _node(parent, *locations):
    return _root.Registry(parent.name, parent=parent, scope='mmweather', locations=list(locations))


# networks, restorers, losses, data preprocessors, convolution layers
MODELS = _node(_root.MODELS, 'mmweather.models')
# paired clip datasets, from disk and synthesised on the fly
DATASETS = _node(_root.DATASETS, 'mmweather.datasets')
# samplers that resume at the right sample
DATA_SAMPLERS = _node(_root.DATA_SAMPLERS, 'mmweather.engine.samplers')
# temporally consistent, paired transforms
TRANSFORMS = _node(_root.TRANSFORMS, 'mmweather.datasets.transforms')
# one metric class per named protocol
METRICS = _node(_root.METRICS, 'mmweather.evaluation')
HOOKS = _node(_root.HOOKS, 'mmweather.engine.hooks', 'mmweather.engine.visualization')
LOOPS = _node(_root.LOOPS, 'mmweather.engine.loops')
OPTIM_WRAPPERS = _node(_root.OPTIM_WRAPPERS, 'mmweather.engine.optim')
OPTIM_WRAPPER_CONSTRUCTORS = _node(_root.OPTIM_WRAPPER_CONSTRUCTORS, 'mmweather.engine.optim')
MODEL_WRAPPERS = _node(_root.MODEL_WRAPPERS, 'mmweather.engine.wrappers')
# pictures of restored clips
VISUALIZERS = _node(_root.VISUALIZERS, 'mmweather.engine.visualization')
# kinds of which we register nothing; without a node of ours MMEngine warns at every lookup in the scope "mmweather"
LOG_PROCESSORS = _node(_root.LOG_PROCESSORS)
OPTIMIZERS = _node(_root.OPTIMIZERS)
PARAM_SCHEDULERS = _node(_root.PARAM_SCHEDULERS)
RUNNERS = _node(_root.RUNNERS)
VISBACKENDS = _node(_root.VISBACKENDS)
WEIGHT_INITIALIZERS = _node(_root.WEIGHT_INITIALIZERS)
