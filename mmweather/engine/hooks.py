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
class FrozenHook(Hook):
    """Asserts that parts of the generator are frozen through and through, and stay as they were to the bit.

    It freezes nothing itself: distributed training and the optimiser have taken their parameters before any hook runs,
    so a network freezes by an argument of its own.

    Args:
        modules (Sequence[str]): Attributes of the generator, such as ``['encoder']``.

    Raises:
        RuntimeError: If a parameter needs a gradient or is with the optimiser, if a normalisation would update its
            statistics, or if anything has changed when the training ends.
    """

    def __init__(self, modules):
        self.modules = tuple(modules)
        self._before = {}

    def before_train(self, runner):
        """Checks gradients and optimiser, and remembers the weights."""
        optimised = {id(parameter) for group in runner.optim_wrapper.param_groups for parameter in group['params']}
        for name, module in self._frozen(runner):
            for key, parameter in module.named_parameters():
                if parameter.requires_grad:
                    raise RuntimeError(f'FrozenHook: {name}.{key} needs a gradient')
                if id(parameter) in optimised:
                    raise RuntimeError(f'FrozenHook: {name}.{key} is with the optimiser; give optim_wrapper '
                                       "constructor='TrainableOptimWrapperConstructor'")
            self._before[name] = {key: value.clone() for key, value in module.state_dict().items()}

    def before_train_iter(self, runner, batch_idx, data_batch=None):  # noqa: ARG002
        """Checks that normalisations use their statistics and do not update them."""
        for name, module in self._frozen(runner):
            if any(part.training for part in module.modules()):
                raise RuntimeError(f'FrozenHook: {name} is in training mode')

    def after_train(self, runner):
        """Compares the weights with what they were."""
        for name, module in self._frozen(runner):
            changed = [key for key, value in module.state_dict().items()
                       if not value.equal(self._before[name][key])]
            if changed:
                raise RuntimeError(f'FrozenHook: {name}.{changed[0]} has changed')

    def _frozen(self, runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        return [(name, model.generator.get_submodule(name)) for name in self.modules]


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
