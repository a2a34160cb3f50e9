"""The command line: quick to answer, one sentence for what a user can mend, tracebacks for what only we can."""
import importlib
import json
import platform
import time

import click
import pytest

from mmweather.cli import main as cli_main
from mmweather.errors import UserError


@pytest.fixture
def run(capsys):
    """Runs the command in this process and gives its exit code and what it printed."""

    def call(*arguments):
        with pytest.raises(SystemExit) as exited:
            cli_main.main(list(arguments))
        return exited.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def failing(monkeypatch):
    """Makes the command ``doctor`` raise something."""

    def prepare(error):

        @click.command()
        def command():
            raise error

        monkeypatch.setattr(importlib.import_module('mmweather.cli.doctor'), 'command', command)

    return prepare


def test_help_answers_in_half_a_second_and_imports_nothing_heavy(run_python):
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        result = run_python('-m', 'mmweather', '--help')
        seconds.append(time.perf_counter() - start)
    assert result.returncode == 0 and min(seconds) < 0.5
    # In the order of the table and with its words.
    positions = [result.stdout.index(f'\n  {name} ') for name in cli_main.COMMANDS]
    assert positions == sorted(positions)
    heavy = ('import sys\nfrom mmweather.cli.main import main\ntry: main(["--help"])\nexcept SystemExit: pass\n'
             'print([m for m in sys.modules if m in ("torch", "mmengine", "numpy", "cv2", "av", "rich") '
             'or m.startswith("mmweather.cli.") and m != "mmweather.cli.main"])')
    assert run_python('-c', heavy).stdout.splitlines()[-1] == '[]'


@pytest.mark.parametrize('name', cli_main.COMMANDS)
def test_every_command_is_there_and_importing_it_loads_no_torch(name, run_python):
    code = (f'import sys, click, importlib; command = importlib.import_module("mmweather.cli.{name}").command\n'
            'assert isinstance(command, click.Command)\n'
            'print([m for m in ("torch", "mmengine") if m in sys.modules])')
    result = run_python('-c', code)
    assert result.stdout.strip() == '[]', result.stderr


def test_version(run):
    from mmweather import __version__
    assert run('--version') == (0, f'mmweather {__version__}\n', '')


def test_user_error_is_one_sentence_and_code_2(run, failing):
    failing(UserError('rainy.mp4: there is no such file; check the path'))
    assert run('doctor') == (2, '', 'mmweather: rainy.mp4: there is no such file; check the path\n')


def test_defect_of_ours_keeps_its_traceback(failing):
    failing(ZeroDivisionError('ours'))
    with pytest.raises(ZeroDivisionError):
        cli_main.main(['doctor'])


def test_interrupt_is_code_130(run, failing):
    failing(KeyboardInterrupt())
    code, _, err = run('doctor')
    assert code == 130 and 'interrupted' in err and 'Traceback' not in err


def test_opencv_without_a_display_names_the_remedy(run, failing):
    failing(ImportError('libGL.so.1: cannot open shared object file: No such file or directory'))
    code, _, err = run('doctor')
    assert code == 2 and 'libGL.so.1' in err and 'pip install opencv-python-headless' in err
    failing(ImportError('cannot import name x'))
    with pytest.raises(ImportError, match='name x'):
        cli_main.main(['doctor'])


def test_unknown_command_offers_the_nearest(run):
    code, _, err = run('retsore')
    assert code == 2 and 'did you mean restore?' in err
    assert 'there are restore, compare, ui, synth' in run('zzz')[2]


def test_unknown_option_is_code_2(run):
    assert run('doctor', '--no-such-option')[0] == 2


@pytest.mark.parametrize('name', ['train', 'test'])
def test_train_and_test_pass_everything_on(name, run, monkeypatch):
    import mmweather.engine.run as engine_run
    received = []
    monkeypatch.setattr(engine_run, f'{name}_main', lambda argv, prog: received.extend([prog, *argv]) or 2)
    arguments = ['vimpnet.py', '--help', '--resume', '--cfg-options', 'a.b=[1,2]', 'c=d', '-C', 'x.pth']
    assert run(name, *arguments)[0] == 2
    assert received == [f'mmweather {name}', *arguments]


def test_python_m_mmweather_is_the_command(run_python):
    result = run_python('-m', 'mmweather', 'doctr')
    assert result.returncode == 2 and 'did you mean doctor?' in result.stderr


def _doctor(run_python, *path):
    result = run_python('-m', 'mmweather', 'doctor', '--json', path=path)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_doctor_reports_versions_devices_ops_repairs_and_features(run_python):
    import torch

    from mmweather import compat
    report = _doctor(run_python)
    versions = {row['name']: row['version'] for row in report['versions']}
    assert versions['torch'] == torch.__version__ and versions['Python'].split()[0] == platform.python_version()
    assert versions['OpenCV'].startswith('opencv-') and 'libavcodec' in versions['FFmpeg (in av)']
    assert report['devices'][0]['device'] == 'cpu' and report['devices'][0]['memory_gib'] > 0
    assert 'modulated_deform_conv2d' in [row['op'] for row in report['ops']]
    states = {row['name']: row['state'] for row in report['repairs']}
    assert list(states) == [repair.name for repair in compat.REPAIRS]
    # Nothing that MMEngine needs may still be waiting: doctor has imported it all.
    waiting = [name for name, state in states.items() if state == 'waiting']
    assert set(waiting) <= {'torchvision of another torch', 'mmcv.ops without a compiler',
                            'deformable convolution of mmcv.ops', 'numpy.bool8 for MMagic'}
    assert all(bool(row['remedy']) != row['ready'] for row in report['features'])
    assert report['faults'] == []


def test_doctor_runs_and_names_the_remedy_where_opencv_cannot_start(run_python, tmp_path):
    (tmp_path / 'cv2.py').write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    report = _doctor(run_python, tmp_path)
    assert any('libGL.so.1' in row['fault'] and 'opencv-python-headless' in row['remedy'] for row in report['faults'])
    # What does not depend on it is still examined.
    assert report['devices'] and report['features'] and report['repairs']


def test_doctor_names_distributions_that_overwrite_each_other(run_python, tmp_path):
    for name in ('opencv-contrib-python', 'opencv-python', 'mmcv', 'mmcv-lite'):
        information = tmp_path / f'{name.replace("-", "_")}-9.dist-info'
        information.mkdir()
        (information / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 9\n')
    faults = [row['fault'] for row in _doctor(run_python, tmp_path)['faults']]
    assert any('opencv-python' in fault and 'opencv-contrib-python' in fault for fault in faults)
    assert any('mmcv 9' in fault and 'mmcv-lite 9' in fault for fault in faults)


def test_doctor_prints_tables(run_python):
    result = run_python('-m', 'mmweather', 'doctor', env={'COLUMNS': '200'})
    for title in ('Versions', 'Devices', 'Operators', 'Repairs of dependencies', 'Features', 'Faults'):
        assert f'\n{title}' in f'\n{result.stdout}'
