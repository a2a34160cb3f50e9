"""These tests need MMagic: `make test-mmagic` runs them. Where it is not installed, there is nothing to collect."""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec('mmagic') is None:
    collect_ignore_glob = ['test_*.py']

#: Settings with which any training of ours is a matter of seconds.
SMALL = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=1', 'train_dataloader.num_workers=0',
         'train_dataloader.persistent_workers=False']


@pytest.fixture(scope='session')
def small():
    return list(SMALL)


@pytest.fixture(scope='session')
def scripts():
    """The folder of MMagic's own installed scripts."""
    return Path(importlib.util.find_spec('mmagic').origin).parent / '.mim' / 'tools'


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """A folder with small synthesised data sets in the layouts of VRDS, RVSD and GoPro."""
    import shutil

    folder = tmp_path_factory.mktemp('data')
    # 256 pixels are the least that BasicVSR++ trains on
    for weather, layout in (('rain', 'vrds'), ('snow', 'rvsd')):
        subprocess.run([sys.executable, '-m', 'mmweather', 'synth', weather, 'scene:drive', '-o', folder / layout,
                        '--layout', layout, '--videos', '1', '--test-videos', '1', '--frames', '3', '--size', '256x256',
                        '--quiet'], check=True)
    # The same frames under the names of the other data sets: what is in them does not matter here.
    for split, lq, gt in (('train', 'lq', 'gt'), ('test', 'testlq', 'testgt')):
        video = next((folder / 'vrds' / lq).iterdir()).name
        for source, blurry in ((lq, 'blur_gamma'), (gt, 'sharp')):
            shutil.copytree(folder / 'vrds' / source / video, folder / 'gopro' / split / video / blurry)
    return folder


@pytest.fixture
def call(tmp_path):
    """Runs a command in a temporary folder, and fails with what it printed."""

    def run(*arguments, timeout=400):
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONWARNINGS': 'ignore',
                       'PATH': os.pathsep.join((str(Path(sys.executable).parent), os.environ['PATH']))}
        done = subprocess.run([str(argument) for argument in arguments], cwd=tmp_path, env=environment, timeout=timeout,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f'{done.stdout[-3000:]}\n{done.stderr[-3000:]}'
        return done.stdout + done.stderr

    return run
