"""Hooks."""
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmweather.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Keeps parts of the generator fixed for the first iterations.

    It looks at the runner's iteration, so a resumed run thaws when an uninterrupted one would. In distributed
    training the wrapper needs ``find_unused_parameters=True``, since frozen parameters get no gradient.

    Args:
        until (dict[str, int]): From a prefix of the generator's parameter names to the first iteration in which
            they are trained; -1 keeps them fixed for ever.
    """

    def __init__(self, until):
        self.until = dict(until)

    def before_train(self, runner):
        """Freezes what is frozen at the iteration with which this run begins."""
        self._set(runner, runner.iter)

    def before_train_iter(self, runner, batch_idx, data_batch=None):  # noqa: ARG002
        """Thaws what is due."""
        if batch_idx in self.until.values():
            self._set(runner, batch_idx)

    def _set(self, runner, iteration):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        parameters = dict(model.generator.named_parameters())
        for prefix, until in self.until.items():
            selected = [parameter for name, parameter in parameters.items() if name.startswith(prefix)]
            if not selected:
                raise ValueError(f'FreezeHook: no parameter of the generator begins with {prefix!r}')
            for parameter in selected:
                parameter.requires_grad_(0 <= until <= iteration)


@HOOKS.register_module()
class SaveFramesHook(Hook):
    """Writes restored frames while testing, ``<folder>/<video>/<name>.png``, under the names they came with.

    Args:
        folder (str): Where to.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):  # noqa: ARG002
        """Writes the frames of the clips that were just restored."""
        for sample in outputs:
            folder = self.folder / str(sample.video)
            folder.mkdir(parents=True, exist_ok=True)
            for name, frame in zip(sample.names, sample.output):
                pixels = (frame.clamp(0, 1) * 255).round().to('cpu').numpy().astype(np.uint8)
                self._write(folder / f'{Path(name).stem}.png', pixels.transpose(1, 2, 0)[..., ::-1])

    @staticmethod
    def _write(path, bgr):
        done, encoded = cv2.imencode('.png', np.ascontiguousarray(bgr))
        if not done:
            raise OSError(f'{path}: the frame could not be encoded as PNG')
        # Beside its final name first: whoever finds a file under that name finds it whole.
        part = path.with_suffix('.part')
        part.write_bytes(encoded.tobytes())
        part.replace(path)
