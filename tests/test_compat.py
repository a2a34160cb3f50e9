"""Every repair: the fault is there without it and gone with it, whether we are imported before or after MMEngine."""
import io
import json
import os
import pickle
import socket
import textwrap

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmweather import compat
from mmweather.errors import UserError
from mmweather.weights_only import weights_only

#: For every repair code that fails without it. Each is run as it is, and after ``import mmweather``.
FAULTS = {
    'weights-only checkpoints': """
        from mmengine.runner import CheckpointLoader
        checkpoint = CheckpointLoader.load_checkpoint('native.pth')
        assert checkpoint['message_hub']['log_scalars']['loss'].mean() == 2.5
        assert checkpoint['message_hub']['runtime_info']['best_score'] == 31.5
    """,
    'plain log in checkpoints': """
        import numpy, torch
        from mmengine.logging import MessageHub
        hub = MessageHub('written')
        hub.update_scalar('loss', 4.0, 2)
        hub.update_scalar('loss', 1.0)
        hub.update_info('best_score', numpy.float64(31.5))
        torch.save(hub.state_dict(), 'plain.pth')
        read = MessageHub('read')
        read.load_state_dict(torch.load('plain.pth', weights_only=True))
        assert read.get_scalar('loss').mean() == (4 + 1) / (2 + 1) and read.get_scalar('loss').current() == 1
        assert read.get_info('best_score') == 31.5
    """,
    'installed packages': """
        import sys
        sys.modules['pkg_resources'] = None
        import mmengine
        from mmengine.hub import hub
        from mmengine.config import config
        from pathlib import Path
        assert mmengine.utils.is_installed('mmengine') and not mmengine.utils.is_installed('no_such_package')
        for module in (mmengine.utils, hub, config):
            assert Path(module.get_installed_path('mmengine')) == Path(mmengine.__file__).parent
        assert Path(mmengine.utils.get_installed_path('opencv-python')).name == 'cv2'
    """,
    'mmweather in config names': """
        from mmengine.config.config import _get_package_and_cfg_path
        assert _get_package_and_cfg_path('mmweather::_base_/runtime.py') == ('mmweather', '_base_/runtime.py')
    """,
    'flat config names': """
        from mmengine.hub.hub import _get_package_and_cfg_path
        assert _get_package_and_cfg_path('mmweather::vimpnet.py') == ('mmweather', 'vimpnet.py')
    """,
    'broken torchvision': """
        import sys, torch
        from mmengine.runner.runner import collect_env
        sys.path.insert(0, 'broken')
        try:
            environment = collect_env()
        finally:
            sys.path.remove('broken')
        assert environment['PyTorch'] == torch.__version__ and 'libcudart' in environment['TorchVision']
    """,
    'torchvision of another torch': """
        import torchvision
    """,
    'distributed start on CPU': """
        import mmengine.dist, torch
        mmengine.dist.init_dist('pytorch')
        assert torch.distributed.get_backend() == 'gloo'
    """,
    'distributed model on CPU': """
        import torch
        from mmengine.model import MMDistributedDataParallel
        torch.distributed.init_process_group('gloo')
        model = MMDistributedDataParallel(torch.nn.Linear(2, 1), device_ids=[0])
        model(torch.ones(1, 2)).sum().backward()
        assert model.module.weight.grad.tolist() == [[1, 1]]
    """,
    'mmcv.ops without a compiler': """
        import importlib.util, mmcv.ops, torch
        assert importlib.util.find_spec('mmcv._ext') is None
        try:
            mmcv.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)
        except NotImplementedError as error:
            assert 'install a full mmcv' in str(error)
        else:
            raise AssertionError('nms of nothing')
    """,
    'deformable convolution of mmcv.ops': """
        import mmcv.ops, torch
        x, offset = torch.rand(1, 2, 5, 5), torch.randn(1, 18, 5, 5)
        for name, arguments in (('ModulatedDeformConv2d', [torch.rand(1, 9, 5, 5)]), ('DeformConv2d', [])):
            import mmweather.ops
            layer = getattr(mmcv.ops, name)(2, 3, 3, padding=1, bias=False)
            ours = getattr(mmweather.ops, name)(2, 3, 3, padding=1, bias=False)
            ours.load_state_dict(layer.state_dict())
            assert torch.equal(layer(x, offset, *arguments), ours(x, offset, *arguments)), name
        result = mmcv.ops.modulated_deform_conv2d(x, offset, torch.ones(1, 9, 5, 5), layer.weight, None, 1, 1)
        assert result.shape == (1, 3, 5, 5)
    """,
    'numpy.bool8 for MMagic': """
        import mmagic
        assert mmagic.dtypes['bool'] is bool
    """,
}
FAULTS = {name: textwrap.dedent(code) for name, code in FAULTS.items()}


@pytest.fixture(scope='module')
def room(tmp_path_factory):
    """A folder with a checkpoint as MMEngine writes it, and packages with the faults of real ones."""
    folder = tmp_path_factory.mktemp('compat')
    torch.save(
        dict(
            state_dict=torch.nn.Linear(2, 1).state_dict(),
            message_hub=dict(
                log_scalars=dict(loss=HistoryBuffer([4.0, 1.0], [1, 1])),
                runtime_info=dict(best_score=np.float64(31.5)),
                resumed_keys=dict(loss=True))), folder / 'native.pth')
    (folder / 'broken').mkdir()
    (folder / 'broken' / 'torchvision.py').write_text('raise OSError("libcudart.so.13: cannot open it")')
    (folder / 'torchvision').mkdir()
    (folder / 'torchvision' / 'extension.py').write_text('def _has_ops():\n    return False\n')
    (folder / 'torchvision' / '__init__.py').write_text(
        'import torch\nfrom . import extension\n'
        '@torch.library.register_fake("torchvision::nms")\ndef nms(dets, scores, iou_threshold):\n    return dets\n')
    (folder / 'mmagic').mkdir()
    (folder / 'mmagic' / '__init__.py').write_text(
        'import numpy as np\ndtypes = {"bool": bool if np.bool8 is np.bool_ else None}')
    return folder


@pytest.fixture(scope='module')
def run_code(run_python, room):
    """Runs code in a fresh process in that folder, as the one process of a distributed run without a GPU."""

    def run(code):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = probe.getsockname()[1]
        environment = dict(CUDA_VISIBLE_DEVICES='', RANK='0', LOCAL_RANK='0', WORLD_SIZE='1',
                           MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        return run_python('-c', code, path=[room], env=environment, cwd=room)

    return run


@pytest.fixture(scope='module')
def mended_first(run_code):
    """Errors of the snippets, and states of the repairs, in a process that imported mmweather before all else."""
    result = run_code(textwrap.dedent(f"""
        import json, mmweather, torch
        errors = {{}}
        for name, snippet in json.loads({json.dumps(FAULTS)!r}).items():
            try:
                exec(snippet, {{}})
            except Exception as error:
                errors[name] = repr(error)
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()
        states = {{repair['name']: repair['state'] for repair in mmweather.compat.status()}}
        print(json.dumps([errors, states]))
    """))
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_every_repair_has_its_fault_here():
    assert list(FAULTS) == [repair.name for repair in compat.REPAIRS]


#: MMagic's fault came with NumPy 2.
numpy_2 = pytest.mark.skipif(np.__version__ < '2', reason='NumPy 1 has bool8')


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=numpy_2) if name == 'numpy.bool8 for MMagic' else name for name in FAULTS])
def test_repair_is_applied_when_its_module_is_imported(name, mended_first):
    errors, states = mended_first
    assert name not in errors
    assert states[name] == 'active'


# One process each: the fault as it is, then the repair of modules that are imported already. MMagic's cannot be
# mended that late: its import has failed.
@pytest.mark.parametrize('name', [repair.name for repair in compat.REPAIRS if not repair.before])
def test_fault_is_there_and_a_late_import_of_mmweather_mends_it(name, run_code):
    result = run_code(textwrap.dedent(f"""
        import sys, torch
        snippet = {FAULTS[name]!r}
        try:
            exec(snippet, {{}})
        except Exception as error:
            print('fault:', repr(error))
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        import mmweather
        exec(snippet, {{}})
        print('mended')
    """))
    assert '\nfault: ' in '\n' + result.stdout
    assert result.stdout.splitlines()[-1] == 'mended', result.stderr


@numpy_2
def test_fault_of_mmagic_is_there_without_the_repair(run_code):
    assert "has no attribute 'bool8'" in run_code(FAULTS['numpy.bool8 for MMagic']).stderr


def test_a_repair_that_fails_leaves_the_module_importable(run_code):
    result = run_code(textwrap.dedent("""
        import mmweather
        mmweather.compat.REPAIRS = [mmweather.compat.Repair(
            'x', 'mmengine.config.utils', 'symptom', 'remedy', lambda module: True, lambda module: 1 / 0)]
        import mmengine
        print(mmweather.compat.status()[0]['state'])
    """))
    assert result.stdout.splitlines()[-1].startswith('failed: ZeroDivisionError')
    assert 'could not mend mmengine.config.utils' in result.stderr


def test_modules_keep_their_own_loader_and_source(run_code):
    # inspect, pickle and resource readers ask the loader: it must not be a foreign one.
    result = run_code(textwrap.dedent("""
        import importlib.machinery, inspect, mmweather, mmengine.config.utils as module
        assert type(module.__spec__.loader) is importlib.machinery.SourceFileLoader
        assert 'MODULE2PACKAGE' in inspect.getsource(module)
    """))
    assert result.returncode == 0, result.stderr


# --- a checkpoint never runs code ------------------------------------------------------------------------------------


class Pickled:
    """Whatever a file may ask for: pickles as a call of ``function`` and, after it, a state."""

    def __init__(self, function, *arguments, state=None):
        self.recipe = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.recipe


def _poisoned_log():
    log = HistoryBuffer([1.0], [1])
    # A function that any file may name, in place of one that the log would call.
    log._statistics_methods = dict(log._statistics_methods, mean=torch.serialization._get_layout)
    return log


MALICIOUS = {
    'runs a command': lambda: Pickled(os.system, 'touch ran'),
    'evaluates code': lambda: Pickled(eval, 'open("ran", "w")'),
    'getattr of the log class': lambda: Pickled(getattr, HistoryBuffer, '__init__'),
    'getattr of a plain class': lambda: Pickled(getattr, torch.Tensor, 'numpy'),
    'array of objects': lambda: np.array([1, 'two'], dtype=object),
    'dtype of records': lambda: np.zeros(2, dtype=[('a', 'f4')]),
    'call of ndarray': lambda: Pickled(np.ndarray, (2, ), 'f4'),
    'scalar beyond its bytes': lambda: Pickled(np.float64(1).__reduce__()[0], np.dtype('f8'), b'1'),
    'array beyond its bytes': lambda: Pickled(*np.zeros(2).__reduce__()[:1], np.ndarray, (0, ), b'b',
                                              state=(1, (1000, ), np.dtype('f8'), False, b'12345678')),
    'log of something else': lambda: Pickled(HistoryBuffer.__new__, HistoryBuffer,
                                             state={'_log_history': [1], '_count_history': [1], 'max_length': 1}),
}


@pytest.mark.parametrize('payload', MALICIOUS)
def test_malicious_checkpoint_is_refused(payload, in_tmp):
    torch.save(dict(state_dict={}, message_hub=MALICIOUS[payload]()), 'bad.pth')
    # Even for a caller that asks for unpickling.
    with pytest.raises(UserError, match='^bad.pth: .*(never unpickled|damaged)'), weights_only('bad.pth'):
        torch.load('bad.pth', weights_only=False)
    assert not os.path.exists('ran')


def test_functions_in_a_log_are_left_in_the_file(in_tmp):
    before = dict(HistoryBuffer._statistics_methods)
    torch.save(_poisoned_log(), 'log.pth')
    with weights_only('log.pth'):
        log = torch.load('log.pth')
    assert type(log) is HistoryBuffer and log.statistics('mean') == 1
    assert HistoryBuffer._statistics_methods == before


def test_flags_of_a_dtype_are_not_believed(in_tmp):
    # With these NumPy would take the eight bytes for the address of a Python object.
    array = np.arange(2.0)
    function, arguments, (version, shape, dtype, fortran, data) = array.__reduce__()
    _, _, (dtype_version, order, *rest, _) = dtype.__reduce__()
    hostile = Pickled(np.dtype, 'f8', False, True, state=(dtype_version, order, *rest, 63))
    torch.save(Pickled(function, *arguments, state=(version, shape, hostile, fortran, data)), 'array.pth')
    with weights_only('array.pth'):
        read = torch.load('array.pth')
    assert read.dtype.flags == array.dtype.flags and read.tolist() == [0, 1]


@pytest.mark.parametrize('array', [np.arange(6.0).reshape(2, 3).T, np.array([True, False]), np.int64(7),
                                   np.arange(3, dtype='>f4')], ids=['fortran', 'bool', 'scalar', 'big endian'])
def test_arrays_and_scalars_of_numbers_survive(array, in_tmp):
    torch.save(array, 'array.pth')
    with weights_only('array.pth'):
        read = torch.load('array.pth')
    # As any reader of pickles does, bytes in foreign order are swapped.
    assert np.array_equal(read, array) and read.dtype == array.dtype.newbyteorder('=')
    # And they are saved again as what they are, not as ours.
    assert type(pickle.loads(pickle.dumps(read))) is type(array)


@pytest.mark.parametrize('content', [b'', b'not a checkpoint', b'\x80\x02', b'PK\x03\x04 cut short'])
def test_damaged_checkpoint_is_named(content):
    with pytest.raises(UserError, match='^some.pth: not a PyTorch checkpoint, or damaged'), weights_only('some.pth'):
        torch.load(io.BytesIO(content))


def test_environment_is_as_before_and_its_wish_to_unpickle_is_not_heeded(monkeypatch, in_tmp):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    torch.save(Pickled(os.system, 'touch ran'), 'bad.pth')
    before = dict(os.environ)
    with pytest.raises(UserError), weights_only('bad.pth'):
        torch.load('bad.pth')
    assert dict(os.environ) == before and not os.path.exists('ran')


def test_other_readers_are_not_given_the_stand_ins():
    before = set(torch.serialization.get_safe_globals())
    with weights_only('x'):
        assert set(torch.serialization.get_safe_globals()) > before
    assert set(torch.serialization.get_safe_globals()) == before
