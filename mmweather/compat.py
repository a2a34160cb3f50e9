"""Every repair of a dependency, each with its reason.

MMEngine's last release is older than the torch, NumPy and setuptools that are installed today, so a plugin brings its
own repairs. Each is a :class:`Repair`: which module it mends, what goes wrong without it, and a probe that tells
whether the fault is there at all. :func:`install`, called by ``import mmweather``, imports none of those modules. It
waits for their import and mends them right after it, or at once where somebody imported them before us.
``mmweather doctor`` lists what became of each.
"""
import functools
import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

__all__ = ['REPAIRS', 'Repair', 'install', 'status']


class Repair(NamedTuple):
    """One mended fault of one module.

    Args:
        name (str): What ``mmweather doctor`` calls it.
        module (str): The module that is mended when it has been imported.
        symptom (str): What users see without the repair.
        remedy (str): What the repair does.
        needed (Callable): Takes the module, says whether the fault is there.
        apply (Callable): Takes the module and mends it.
        before (bool): Whether ``needed`` and ``apply`` run before the module's own code does. Defaults to False.
    """

    name: str
    module: str
    symptom: str
    remedy: str
    needed: Callable
    apply: Callable
    before: bool = False


# --- checkpoints ----------------------------------------------------------------------------------------------------


def _read_weights_only(checkpoint):
    load_checkpoint = checkpoint.CheckpointLoader.load_checkpoint.__func__

    @functools.wraps(load_checkpoint)
    def load_weights_only(cls, filename, map_location=None, logger='current'):
        from .weights_only import weights_only
        if str(map_location).startswith('mps'):
            # Apple's GPU has no float64, in which the log is kept; all that is read is copied to its place anyway.
            map_location = 'cpu'
        with weights_only(filename):
            return load_checkpoint(cls, filename, map_location, logger)

    checkpoint.CheckpointLoader.load_checkpoint = classmethod(load_weights_only)


def _pickles_its_methods(message_hub):
    return 'statistics_methods' in message_hub.HistoryBuffer().__getstate__()


def _save_plain_log(message_hub):
    import numpy as np
    import torch
    hub, buffer = message_hub.MessageHub, message_hub.HistoryBuffer
    state_dict, load_state_dict = hub.state_dict, hub.load_state_dict

    def to_plain(log):
        history, counts = log.data
        return dict(log_history=torch.tensor(history), count_history=torch.tensor(counts), max_length=log.max_length)

    def from_plain(log):
        if not isinstance(log, dict):
            return log
        return buffer(log['log_history'].cpu().numpy(), log['count_history'].cpu().numpy(), log['max_length'])

    @functools.wraps(state_dict)
    def plain_state_dict(self):
        state = state_dict(self)
        state['log_scalars'] = {name: to_plain(log) for name, log in state['log_scalars'].items()}
        state['runtime_info'] = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in state['runtime_info'].items()
        }
        return state

    @functools.wraps(load_state_dict)
    def load_plain_state_dict(self, state):
        if isinstance(state, dict):
            logs = {name: from_plain(log) for name, log in state['log_scalars'].items()}
            state = dict(state, log_scalars=logs)
        return load_state_dict(self, state)

    hub.state_dict, hub.load_state_dict = plain_state_dict, load_plain_state_dict


# --- installed packages and their configs ---------------------------------------------------------------------------


def _lacks_pkg_resources(module):
    return importlib.util.find_spec('pkg_resources') is None


def _ask_importlib_metadata(package_utils):
    from importlib import metadata
    from pathlib import Path

    def package2module(package):
        """Infers the name of the module that a distribution installs."""
        distribution = metadata.distribution(package)
        top_level = (distribution.read_text('top_level.txt') or '').split()
        if top_level:
            return top_level[0]
        rooms = sorted({path.parts[0] for path in distribution.files or () if path.name == '__init__.py'})
        if not rooms:
            raise ValueError(f'can not infer the module name of {package}')
        return rooms[0]

    def is_installed(package):
        """Whether a distribution, or else a module, of that name is installed."""
        try:
            metadata.distribution(package)
        except metadata.PackageNotFoundError:
            spec = importlib.util.find_spec(package)
            # A namespace package is a folder that happens to have the name.
            return spec is not None and spec.origin is not None
        return True

    def get_installed_path(package):
        """The folder in which a distribution's module is installed."""
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            spec = importlib.util.find_spec(package)
            if spec is None:
                raise
            if spec.origin is None:
                raise RuntimeError(
                    f'{package} is a namespace package, which is invalid for `get_install_path`') from None
            return str(Path(spec.origin).parent)
        path = Path(distribution.locate_file(package))
        return str(path if path.exists() else distribution.locate_file(package2module(package)))

    for function in (package2module, is_installed, get_installed_path):
        _rebind(package_utils, function.__name__, function)


def _knows_no_mmweather(config_utils):
    return 'mmweather' not in config_utils.MODULE2PACKAGE


def _introduce_mmweather(config_utils):
    config_utils.MODULE2PACKAGE['mmweather'] = 'mmweather'


def _wants_folder_in_name(config_utils):
    try:
        config_utils._get_package_and_cfg_path('mmengine::flat.py')
    except ValueError:
        return True
    except AssertionError:
        # Not a package it knows, but the name was accepted.
        return False
    return False


def _accept_flat_names(config_utils):
    original = config_utils._get_package_and_cfg_path

    @functools.wraps(original)
    def get_package_and_cfg_path(cfg_path):
        package, separator, name = cfg_path.partition('::')
        if package == 'mmweather' and separator and '/' not in name:
            # The same checks, made with the folder that the pattern asks for.
            return original(f'{package}::configs/{name}')[0], name
        return original(cfg_path)

    _rebind(config_utils, '_get_package_and_cfg_path', get_package_and_cfg_path)


# --- starting a Runner ----------------------------------------------------------------------------------------------


def _torchvision_is_installed(module):
    # Whether it can be imported shows when it is: that takes a second, which is not spent here.
    return importlib.util.find_spec('torchvision') is not None


def _survive_torchvision(collect_env_module):
    original = collect_env_module.collect_env

    @functools.wraps(original)
    def collect_env():
        try:
            return original()
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            with _absent('torchvision'):
                env_info = original()
            env_info['TorchVision'] = f'cannot be loaded: {error}'
            return env_info

    _rebind(collect_env_module, 'collect_env', collect_env)


def _lacks_operators(extension):
    return not extension._has_ops()


def _define_operators(extension):
    import torch
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    # The definitions go when the library does.
    extension.mmweather_library = library


def _has_no_cuda(module):
    import torch
    return not torch.cuda.is_available()


def _start_processes_on_cpu(dist_utils):
    import torch

    def on_cpu(init):

        @functools.wraps(init)
        def init_process_group(backend, **kwargs):
            if backend == 'nccl':
                backend = 'gloo'
            with _attribute(torch.cuda, 'set_device', lambda device: None):
                return init(backend, **kwargs)

        return init_process_group

    for launcher in ('pytorch', 'mpi', 'slurm'):
        name = f'_init_dist_{launcher}'
        setattr(dist_utils, name, on_cpu(getattr(dist_utils, name)))


def _wrap_models_on_cpu(distributed):
    wrapper = distributed.MMDistributedDataParallel
    original = wrapper.__init__

    @functools.wraps(original)
    def init(self, module, *args, **kwargs):
        if all(parameter.device.type == 'cpu' for parameter in module.parameters()):
            kwargs.update(device_ids=None, output_device=None)
        original(self, module, *args, **kwargs)

    wrapper.__init__ = init


# --- MMCV and MMagic ------------------------------------------------------------------------------------------------


def _mmcv_is_not_compiled(module):
    return 'mmcv._ext' not in sys.modules and importlib.util.find_spec('mmcv._ext') is None


def _stand_in_for_extension(module):

    class Extension(types.ModuleType):
        """The place of ``mmcv._ext`` while ``mmcv.ops`` is imported: every function of it is there and says so."""

        def __getattr__(self, name):
            if name.startswith('__'):
                raise AttributeError(name)

            def missing(*args, **kwargs):
                raise NotImplementedError(
                    f'mmcv.ops needs {name}, which is part of a compiled mmcv only; this is mmcv-lite, for which '
                    'mmweather provides deform_conv2d and modulated_deform_conv2d: install a full mmcv 2.1 for the '
                    'rest, or choose a model without it')

            return missing

    sys.modules['mmcv._ext'] = Extension('mmcv._ext')


def _has_stand_in(ops):
    return 'mmcv._ext' in sys.modules and sys.modules['mmcv._ext'].__spec__ is None


def _bridge_deformable_convolution(ops):
    # The modules of mmcv.ops hold what they took from the stand-in. Nobody else is to take it for the real one.
    del sys.modules['mmcv._ext']

    def modulated_deform_conv2d(input, offset, mask, weight, bias=None, stride=1, padding=0, dilation=1, groups=1,
                                deform_groups=1):
        """mmcv.ops.modulated_deform_conv2d, served by :func:`mmweather.ops.modulated_deform_conv2d`."""
        from mmweather.ops import modulated_deform_conv2d as serve
        return serve(input, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)

    def deform_conv2d(input, offset, weight, stride=1, padding=0, dilation=1, groups=1, deform_groups=1, bias=False,
                      im2col_step=32):
        """mmcv.ops.deform_conv2d, served by :func:`mmweather.ops.deform_conv2d`."""
        from mmweather.ops import deform_conv2d as serve
        if bias:
            raise ValueError('mmcv.ops.deform_conv2d has no bias')
        return serve(input, offset, weight, None, stride, padding, dilation, groups, deform_groups)

    # MMCV's layers call these functions, so DCN, DCNv2 and what is made of them work with their own parameters.
    _rebind(sys.modules['mmcv.ops.modulated_deform_conv'], 'modulated_deform_conv2d', modulated_deform_conv2d)
    _rebind(sys.modules['mmcv.ops.deform_conv'], 'deform_conv2d', deform_conv2d)


def _numpy_lacks_bool8(module):
    import numpy as np
    return not hasattr(np, 'bool8')


def _alias_bool8(module):
    import numpy as np
    np.bool8 = np.bool_


REPAIRS = (
    Repair(
        name='weights-only checkpoints',
        module='mmengine.runner.checkpoint',
        symptom='--resume fails with "Weights only load failed" (torch 2.6 and newer); checkpoints from a URL are '
        'unpickled',
        remedy='reads weights, plain values and the log of MMEngine, and nothing else, wherever a file comes from',
        # There is no release of MMEngine whose readers never unpickle.
        needed=lambda checkpoint: True,
        apply=_read_weights_only),
    Repair(
        name='plain log in checkpoints',
        module='mmengine.logging.message_hub',
        symptom='a checkpoint holds the log\'s functions and NumPy scalars, so other programs cannot read it weights '
        'only',
        remedy='saves the log as tensors and plain numbers',
        needed=_pickles_its_methods,
        apply=_save_plain_log),
    Repair(
        name='installed packages',
        module='mmengine.utils.package_utils',
        symptom='"No module named pkg_resources" from get_config and from _base_ = \'package::config.py\' '
        '(setuptools 82 and newer)',
        remedy='asks importlib.metadata instead',
        needed=_lacks_pkg_resources,
        apply=_ask_importlib_metadata),
    Repair(
        name='mmweather in config names',
        module='mmengine.config.utils',
        symptom='_base_ = \'mmweather::...\' fails: MMEngine knows OpenMMLab\'s own packages only',
        remedy='adds mmweather to the table of packages',
        needed=_knows_no_mmweather,
        apply=_introduce_mmweather),
    Repair(
        name='flat config names',
        module='mmengine.config.utils',
        symptom='\'mmweather::vimpnet.py\' fails: only names with a folder are accepted',
        remedy='accepts mmweather\'s names without one',
        needed=_wants_folder_in_name,
        apply=_accept_flat_names),
    Repair(
        name='broken torchvision',
        module='mmengine.utils.dl_utils.collect_env',
        symptom='every Runner dies where torchvision is installed and cannot be imported',
        remedy='reports the environment without torchvision',
        needed=_torchvision_is_installed,
        apply=_survive_torchvision),
    Repair(
        name='torchvision of another torch',
        module='torchvision.extension',
        symptom='import torchvision fails with "operator torchvision::nms does not exist" where it was built for '
        'another torch, such as its CUDA build beside a CPU torch',
        remedy='declares the two operators, so that all of torchvision that is Python works',
        needed=_lacks_operators,
        apply=_define_operators),
    Repair(
        name='distributed start on CPU',
        module='mmengine.dist.utils',
        symptom='several processes without a GPU fail with "module torch._C has no attribute _cuda_setDevice"',
        remedy='starts them with gloo and sets no device',
        needed=_has_no_cuda,
        apply=_start_processes_on_cpu),
    Repair(
        name='distributed model on CPU',
        module='mmengine.model.wrappers.distributed',
        symptom='DistributedDataParallel refuses the device_ids that the Runner passes for a model on the CPU',
        remedy='passes none for such a model',
        needed=_has_no_cuda,
        apply=_wrap_models_on_cpu),
    Repair(
        name='mmcv.ops without a compiler',
        module='mmcv.ops',
        symptom='import mmcv.ops fails with "No module named mmcv._ext" where mmcv-lite is installed, and with it '
        'mmagic.models and mmagic.engine',
        remedy='imports mmcv.ops without its compiled part; what needs that part says so when it is called',
        needed=_mmcv_is_not_compiled,
        apply=_stand_in_for_extension,
        before=True),
    Repair(
        name='deformable convolution of mmcv.ops',
        module='mmcv.ops',
        symptom='MMagic\'s BasicVSR++, EDVR and TDAN need a compiled mmcv',
        remedy='lets mmweather.ops compute deform_conv2d and modulated_deform_conv2d of mmcv.ops, which MMCV\'s layers '
        'DCN and DCNv2 call',
        needed=_has_stand_in,
        apply=_bridge_deformable_convolution),
    Repair(
        name='numpy.bool8 for MMagic',
        module='mmagic',
        symptom='import mmagic.utils fails with "module numpy has no attribute bool8" (NumPy 2)',
        remedy='gives numpy.bool_ its old name back when MMagic is imported',
        needed=_numpy_lacks_bool8,
        apply=_alias_bool8,
        before=True),
)

# --- when and how they are applied ----------------------------------------------------------------------------------

#: What became of each repair, by name: 'active', 'not needed' or 'failed: why'; nothing before its module is imported.
_outcomes = {}


class _RepairAfterImport:
    """Finds the modules that repairs wait for as everybody else does, and mends them when they are run."""

    def find_spec(self, fullname, path=None, target=None):
        repairs = _waiting(fullname)
        if not repairs:
            return None
        others = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((spec for spec in others if spec is not None), None)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            _apply([repair for repair in repairs if repair.before], module)
            run(module)
            _apply([repair for repair in repairs if not repair.before], module)

        # On this one loader object: its class, and all that others ask of a loader, stay as they are.
        spec.loader.exec_module = exec_module
        return spec


_finder = _RepairAfterImport()


def install():
    """Mends what is imported already and waits for the import of the rest. Calling it again changes nothing."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name in {repair.module for repair in REPAIRS}:
        if name in sys.modules:
            _apply(_waiting(name), sys.modules[name])


def status():
    """What became of every repair.

    Returns:
        list[dict[str, str]]: For each its ``name``, ``module``, ``symptom``, ``remedy`` and ``state``: 'active', 'not
        needed' (the fault is not there), 'waiting' (its module has not been imported) or 'failed: why'.
    """
    return [
        dict(name=repair.name, module=repair.module, symptom=repair.symptom, remedy=repair.remedy,
             state=_outcomes.get(repair.name, 'waiting')) for repair in REPAIRS
    ]


def _waiting(module_name):
    return [repair for repair in REPAIRS if repair.module == module_name and repair.name not in _outcomes]


def _apply(repairs, module):
    for repair in repairs:
        if repair.name in _outcomes:
            continue
        try:
            needed = repair.needed(module)
            if needed:
                repair.apply(module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the module must stay importable
            _outcomes[repair.name] = f'failed: {error!r}'
            warnings.warn(
                f'mmweather could not mend {repair.module} ({error!r}); without that: {repair.symptom}', stacklevel=2)
        else:
            _outcomes[repair.name] = 'active' if needed else 'not needed'


def _rebind(module, name, replacement):
    """Replaces a function in its module and wherever it was imported by name."""
    original = getattr(module, name)
    for holder in list(sys.modules.values()):
        if getattr(holder, '__dict__', {}).get(name) is original:
            setattr(holder, name, replacement)
    setattr(module, name, replacement)


@contextmanager
def _attribute(owner, name, value):
    """Gives an attribute another value for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def _absent(package):
    """Makes ``import package`` say for a while that it is not installed."""
    original = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] == package}
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]
        sys.modules.update(original)
