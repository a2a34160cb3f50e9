"""What all tests share: one thread, a seed, and fresh processes."""
import os
import random
import subprocess
import sys
from pathlib import Path

# Before torch and OpenCV start: the suite runs in several processes, and each would take every core.
for _name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ.setdefault(_name, '1')

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
cv2.setNumThreads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(autouse=True)
def seed():
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the state that MMEngine's samplers and transforms use
    torch.manual_seed(0)


@pytest.fixture
def in_tmp(tmp_path, monkeypatch):
    """A temporary folder that is the working directory, for what writes beside where it is called."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope='session')
def run_python():
    """Runs code or a module in a fresh interpreter, in which nothing has been imported yet."""

    def run(*arguments, path=(), env=None, cwd=None, timeout=120):
        """Runs ``python *arguments``.

        Args:
            arguments (str): Such as ``'-c', 'print(1)'``.
            path (Sequence): Folders to import from before all others; the checkout follows them. Defaults to ().
            env (dict[str, str], optional): Added to the environment. Defaults to None.
            cwd (Path, optional): Working directory. Defaults to None.
            timeout (float): Seconds until it is ended. Defaults to 120.

        Returns:
            subprocess.CompletedProcess: With ``returncode``, and text in ``stdout`` and ``stderr``.
        """
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, (*path, ROOT))), **(env or {})}
        return subprocess.run([sys.executable, *map(str, arguments)], env=environment, cwd=cwd, timeout=timeout,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    return run
