"""Networks as ONNX files, checked against PyTorch before they appear."""
import logging
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from mmweather.errors import UserError
from mmweather.inference.files import part_file
from mmweather.inference.restore import load_network
from mmweather.models import RecurrentNetwork

__all__ = ['ExportReport', 'export_onnx']

#: The oldest opset in which everything that the networks do can be said.
OPSET = 18


@dataclass(frozen=True)
class ExportReport:
    """What :func:`export_onnx` wrote.

    Attributes:
        paths (list[Path]): The files: the network, or of a recurrent one its step and what makes its first state.
        inputs (dict[str, tuple]): Shapes of the inputs of the network or step.
        outputs (dict[str, tuple]): Shapes of its outputs.
        difference (float): Largest difference between ONNX Runtime and PyTorch over all outputs of two clips.
    """
    paths: list
    inputs: dict
    outputs: dict
    difference: float


class _Clip(nn.Module):
    """A clip network with one input and one output."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, clip):
        return _output(self.network(clip))


class _Step(nn.Module):
    """One step of a recurrent network, its state spread out.

    States are of the first one's form: what a network remembers beyond that only saves it work.
    """

    def __init__(self, network, first):
        super().__init__()
        self.network = network
        self.first = first

    def forward(self, frames, *state):
        result, following = self.network.step(frames, _filled(self.first, iter(state)))
        return (_output(result), *_tensors(following, self.first))


class _Start(nn.Module):
    """What makes the first state of a recurrent network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, frames):
        # An output that is an input, or a constant, is no output for ONNX.
        return tuple(leaf + 0 * frames.sum() for leaf in _tensors(self.network.init_state(frames)))


def export_onnx(model, output, size=(256, 256), frames=None, checkpoint=None, tolerance=1e-3):
    """Write a network as ONNX for frames of one size.

    A clip network becomes one file, ``clip (1, T, 3, H, W)`` to ``output`` of the same shape, RGB in [0, 1]. A
    recurrent network becomes two: ``NAME.onnx`` is one step, ``frames (1, 1 + lookahead, 3, H, W)`` (stereo: ``(1, 1 +
    lookahead, 2, 3, H, W)``) and ``state_0...`` to ``output`` and ``next_state_0...``; ``NAME.start.onnx`` makes the
    first state from the first frames. ONNX Runtime then computes two clips, and the files appear only if its
    results are those of PyTorch.

    Args:
        model (str or nn.Module): Name in the zoo, or a network.
        output (str or Path): The ``.onnx`` file.
        size (tuple[int, int]): Height and width; what is larger is to be cut into tiles, what is smaller to be padded.
            Defaults to (256, 256).
        frames (int, optional): Frames of a clip. Defaults to None: the network's window.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        tolerance (float): Largest difference that is accepted. Defaults to 1e-3, a quarter of a grey level.

    Returns:
        ExportReport: The files, their inputs and outputs, and the difference.

    Raises:
        UserError: If ONNX is not installed, the size does not suit the network, the file cannot be written, or ONNX
            Runtime disagrees.
    """
    output = Path(output)
    if output.suffix.lower() != '.onnx':
        raise UserError(f'{output} is no ONNX file: end its name in .onnx')
    _check_installed()
    network = (load_network(model, checkpoint) if isinstance(model, str) else model).eval()
    _check_size(network, size, output)
    jobs = []
    with torch.no_grad():
        if isinstance(network, RecurrentNetwork):
            views = 2 if getattr(network, 'stereo', False) else 1
            shown = 1 + network.lookahead
            video = _video(1 + shown, views, size)
            if views == 1:
                video = video[:, :, 0]
            clips = [video[:, start:start + shown] for start in range(2)]
            first = network.init_state(clips[0])
            # copies, because a first state may hold the same tensor twice, of which the exporter would make one input
            states = [[leaf.clone() for leaf in _tensors(state, first)]
                      for state in (first, network.step(clips[0], first)[1])]
            names = [f'state_{index}' for index in range(len(states[0]))]
            jobs.append((output, _Step(network, first), ['frames', *names],
                         ['output', *(f'next_{name}' for name in names)],
                         [(clip, *state) for clip, state in zip(clips, states)]))
            jobs.append((output.with_name(f'{output.stem}.start.onnx'), _Start(network), ['frames'], names,
                         [(clip, ) for clip in clips]))
        else:
            length = frames or network.window
            video = _video(1 + length, 1, size)[:, :, 0]
            jobs.append((output, _Clip(network), ['clip'], ['output'],
                         [(video[:, start:start + length], ) for start in range(2)]))
        with ExitStack() as parts:
            differences = []
            for path, module, inputs, outputs, values in jobs:
                part = parts.enter_context(part_file(path))
                _write(module.eval(), values[0], part, inputs, outputs)
                differences += [_difference(module, part, inputs, value) for value in values]
            if not max(differences) <= tolerance:
                raise UserError(f'{output} was not written because ONNX Runtime differs from PyTorch by '
                                f'{max(differences):.2g}, more than {tolerance:.2g}: report it with the versions that '
                                f'mmweather doctor prints')
        _, module, inputs, outputs, values = jobs[0]
        results = module(*values[0])
    results = results if isinstance(results, tuple) else (results, )
    return ExportReport([job[0] for job in jobs], dict(zip(inputs, (tuple(value.shape) for value in values[0]))),
                        dict(zip(outputs, (tuple(value.shape) for value in results))), max(differences))


def _video(frames, views, size):
    """Soft blots that drift, with a little grain, ``(1, T, V, 3, H, W)``.

    What networks are made for: in white noise every match between frames is a draw, and rounding decides which wins.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = size
    blots = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    blots = F.interpolate(blots, (height + 2 * frames, width + 4 * views), mode='bicubic').clamp(0, 1)
    clip = torch.stack([
        torch.stack([blots[..., 2 * t:2 * t + height, 4 * v:4 * v + width] for v in range(views)], dim=1)
        for t in range(frames)], dim=1)
    return (0.9 * clip + 0.1 * torch.rand(clip.shape, generator=generator)).contiguous()


def _tensors(state, like=None):
    """The tensors of a state in order; where ``like`` has none, the state's are left out."""
    like = state if like is None else like
    if torch.is_tensor(like):
        return [state]
    return [tensor for part, model in zip(_parts(state), _parts(like)) if model is not None
            for tensor in _tensors(part, model)]


def _filled(state, tensors):
    """A state of the same form with other tensors, taken from an iterator."""
    if torch.is_tensor(state):
        return next(tensors)
    parts = [part if part is None else _filled(part, tensors) for part in _parts(state)]
    if is_dataclass(state):
        return replace(state, **{entry.name: part for entry, part in zip(fields(state), parts)})
    return dict(zip(state, parts)) if isinstance(state, dict) else type(state)(parts)


def _parts(state):
    """What a state is made of: dataclasses, dicts, tuples and lists of tensors."""
    if is_dataclass(state):
        return [getattr(state, entry.name) for entry in fields(state)]
    return list(state.values()) if isinstance(state, dict) else list(state)


def _output(result):
    return result['output'] if isinstance(result, dict) else result


def _check_installed():
    missing = []
    for name in ('onnx', 'onnxscript', 'onnxruntime'):
        try:
            __import__(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise UserError(f'{" and ".join(missing)} must be installed to export: pip install {" ".join(missing)}')


def _check_size(network, size, output):
    for side in size:
        if side % network.size_divisor or side < network.min_size:
            raise UserError(f'{output} was not written because {size[1]}x{size[0]} does not suit the network: give '
                            f'sides of at least {network.min_size} that are multiples of {network.size_divisor}')


def _write(module, values, path, inputs, outputs):
    """Exports and leaves the weights in the one file."""
    with _quiet():
        program = torch.onnx.export(module, values, dynamo=True, opset_version=OPSET, input_names=inputs,
                                    output_names=outputs, verbose=False)
        program.save(str(path), external_data=False)


@contextmanager
def _quiet():
    """The exporter talks about packages that nobody needs."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _difference(module, path, names, values):
    """Largest difference between what the file and the module make of the same values."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    known = {entry.name for entry in session.get_inputs()}
    theirs = session.run(None, {name: value.numpy() for name, value in zip(names, values) if name in known})
    ours = module(*values)
    ours = ours if isinstance(ours, tuple) else (ours, )
    return max(float((torch.from_numpy(there) - here).abs().max()) for there, here in zip(theirs, ours))
