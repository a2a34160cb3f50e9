"""What mim looks for in the installed package, in wheels and in editable installs.

``mim`` itself is not installed here (it needs setuptools below 82 and packages that nothing else needs): ``.ci/run``
installs it, and the package in both modes, and runs ``mim train``, ``mim test`` and ``mim search``.
"""
import shutil
import subprocess
import sys
import zipfile
from collections import Counter

import pytest
import yaml

MODES = ('wheel', 'editable')


@pytest.fixture(scope='module')
def metafiles(root):
    return [yaml.safe_load(path.read_text()) for path in sorted((root / 'configs').glob('*.yml'))]


@pytest.fixture(scope='module')
def installed(root, tmp_path_factory):
    """Folders as pip would fill site-packages, by mode, from a copy of the checkout."""
    source = tmp_path_factory.mktemp('source') / 'checkout'
    hidden = shutil.ignore_patterns('.*', '__pycache__', 'work_dirs', 'demo_output', 'build', 'dist', '*.egg-info')
    shutil.copytree(root, source, ignore=hidden)
    # What an earlier build left must not be installed.
    for stale in ('removed_since.py', '.mim/configs/removed_since.py'):
        (source / 'build' / 'lib' / 'mmweather' / stale).parent.mkdir(parents=True, exist_ok=True)
        (source / 'build' / 'lib' / 'mmweather' / stale).touch()
    (source / 'configs' / '__pycache__').mkdir()
    (source / 'configs' / '__pycache__' / 'x.pyc').touch()
    folders = {}
    for mode in MODES:
        wheels = tmp_path_factory.mktemp(mode)
        code = f'from setuptools.build_meta import build_{mode} as build; build({str(wheels)!r})'
        subprocess.run([sys.executable, '-c', code], cwd=source, check=True, capture_output=True, text=True)
        folders[mode] = wheels / 'site-packages'
        with zipfile.ZipFile(next(wheels.glob('*.whl'))) as wheel:
            wheel.extractall(folders[mode])
    return folders


@pytest.mark.parametrize('mode', MODES)
def test_scripts_configs_and_index_are_where_mim_looks(mode, installed, root):
    mim = installed[mode] / 'mmweather' / '.mim'

    def files(folder):
        return {path.relative_to(folder) for path in folder.rglob('*')
                if path.is_file() and '__pycache__' not in path.parts}

    for name in ('tools', 'configs'):
        assert files(mim / name) == files(root / name)
    index = yaml.safe_load((mim / 'model-index.yml').read_text())['Import']
    assert 'configs/vimpnet.yml' in index and all((mim / name).is_file() for name in index)
    assert len(index) == len(list((root / 'configs').glob('*.yml')))
    assert not list(mim.rglob('__pycache__'))


def test_editable_install_is_a_plain_path_and_no_import_finder(installed):
    # With a finder the folder that holds only .mim would be taken for the package.
    site = installed['editable']
    assert [path.suffix for path in site.glob('__editable__*')] == ['.pth']
    assert [path.name for path in (site / 'mmweather').iterdir()] == ['.mim']


def test_wheel_holds_the_package_its_data_and_its_command(installed, root):
    site = installed['wheel']
    for path in (root / 'mmweather').rglob('*'):
        if path.suffix in ('.py', '.safetensors', '.json', '.md'):
            assert (site / path.relative_to(root)).is_file(), f'{path.relative_to(root)} is missing from the wheel'
    assert sorted(path.name for path in site.iterdir() if path.suffix != '.dist-info') == ['mmweather']
    assert not list(site.rglob('removed_since.py'))
    information = next(site.glob('*.dist-info'))
    assert 'mmweather = mmweather.cli.main:main' in (information / 'entry_points.txt').read_text()
    assert 'License-Expression: Apache-2.0' in (information / 'METADATA').read_text()
    assert (information / 'licenses' / 'LICENSE').is_file()


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('name', ['vimpnet_tiny.py', '_base_/default_runtime.py'])
def test_mmengine_finds_configs_of_the_installed_package(mode, name, installed, root, run_python, tmp_path):
    (tmp_path / 'child.py').write_text(f"_base_ = ['mmweather::{name}']\n")
    code = ('import mmweather, mmengine\nfrom mmengine.hub import get_config\n'
            f'config = get_config("mmweather::{name}")\n'
            'assert config.default_scope == "mmweather"\n'
            'assert mmengine.Config.fromfile("child.py").default_scope == "mmweather"\n'
            'print(mmengine.utils.get_installed_path("mmweather"))')
    result = run_python('-c', code, path=[installed[mode]], cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(installed[mode] / 'mmweather')


def test_base_names_of_configs_are_unique(root):
    # mim finds a config by its base name, anywhere in the package.
    twice = [name for name, count in Counter(path.name for path in (root / 'configs').rglob('*.py')).items()
             if count > 1]
    assert twice == []


def test_metafiles_name_every_model_once_with_a_config_that_is_there(metafiles, root):
    models = [model for metafile in metafiles for model in metafile['Models']]
    collections = {collection['Name'] for metafile in metafiles for collection in metafile['Collections']}
    names = [model['Name'] for model in models]
    assert names == [name.lower() for name in names] and len(set(names)) == len(names)
    for model in models:
        assert (root / model['Config']).is_file() and model['In Collection'] in collections
        assert all(result.get('Dataset') and result.get('Task') for result in model['Results'])
    # Whoever adds a method adds its metafile; mim search lists nothing else.
    rooms = {path.parent.name for path in (root / 'mmweather' / 'models').glob('*/__init__.py')}
    rooms -= {'layers', 'losses', 'classifier'}
    assert rooms == {path.stem for path in (root / 'configs').glob('*.yml')}


def test_train_script_answers_mims_question(root, run_python):
    # mim asks for the help before every training, and takes --gpus in it for a script of OpenMMLab 1.0.
    result = run_python(root / 'tools' / 'train.py', '-h')
    assert result.returncode == 0 and 'usage' in result.stdout and '--gpus' not in result.stdout
    for option in ('--launcher', '--resume', '--amp', '--cfg-options', '--work-dir'):
        assert option in result.stdout
