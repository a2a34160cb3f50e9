"""Which tile sizes a kernel runs with.

Each kernel lists a handful of configurations, the one expected to be best first. On a GPU the first call with a new
kind of problem times them, for a bounded time, and remembers the winner for the process and on disk. In the
interpreter, and while a CUDA graph is captured, the first one runs.
"""
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import triton

from mmweather.ops.backend import interpreted

__all__ = ['Tuner']

# Seconds that the choice for one kind of problem may take, compiling included. What was not tried by then is not tried.
_BUDGET = 20.0
_REPEATS = 5


def _cache_file():
    folder = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(folder) / 'mmweather' / 'triton_tuning.json'


class Tuner:
    """Chooses and remembers one kernel's configuration per kind of problem.

    Args:
        kernel (str): Name of the kernel.
        configurations (Sequence[dict]): Keyword arguments of a launch, the one expected to be best first.
    """

    def __init__(self, kernel: str, configurations: Sequence):
        self.kernel = kernel
        self.configurations = list(configurations)
        self._chosen = {}

    def run(self, launch: Callable, problem: Sequence) -> None:
        """Launch a kernel in its best configuration.

        Args:
            launch (Callable): Takes a configuration's keyword arguments and launches. It must leave the same result
                however often it is called.
            problem (Sequence): What the best configuration depends on: sizes and dtype.
        """
        launch(**self._choose(launch, problem))

    def _choose(self, launch, problem):
        if interpreted():
            return self.configurations[0]
        key = '/'.join(map(str, (self.kernel, torch.cuda.get_device_name(), triton.__version__, *problem)))
        if key not in self._chosen:
            found = _read_cache().get(key)
            if found not in self.configurations:
                if torch.cuda.is_current_stream_capturing():
                    return self.configurations[0]
                found = self._time(launch)
                _write_cache(key, found)
            self._chosen[key] = found
        return self._chosen[key]

    def _time(self, launch):
        deadline = time.monotonic() + _BUDGET
        best, fastest = self.configurations[0], float('inf')
        for configuration in self.configurations:
            try:
                launch(**configuration)
            except triton.runtime.OutOfResources:
                # This GPU has too little shared memory or too few registers for it.
                continue
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(_REPEATS):
                launch(**configuration)
            stop.record()
            stop.synchronize()
            if start.elapsed_time(stop) < fastest:
                best, fastest = configuration, start.elapsed_time(stop)
            if time.monotonic() > deadline:
                break
        return best


def _read_cache():
    try:
        return json.loads(_cache_file().read_text())
    except (OSError, ValueError):
        # No file yet, or one that was cut off: timing again costs seconds.
        return {}


def _write_cache(key, configuration):
    path = _cache_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f'.{os.getpid()}')
        part.write_text(json.dumps({**_read_cache(), key: configuration}, indent=1))
        part.replace(path)
    except OSError:
        # A home that cannot be written to costs the timing in every process, nothing else.
        return
