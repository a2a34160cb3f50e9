"""The one place that decides which backend serves an operator.

Three backends exist. ``torch`` is plain PyTorch, serves everywhere and is the reference. ``triton`` holds the GPU
kernels of :mod:`mmweather.ops.triton`. ``mmcv`` is MMCV's compiled extension, where a user has one. On a CPU ``torch``
serves; on CUDA the first of ``triton``, ``mmcv`` and ``torch`` that can.

The environment variable ``MMWEATHER_OPS=torch|triton|mmcv`` overrides that wherever the named backend has the operator
and can serve the tensor's device and dtype; elsewhere the choice stays as it was. It is read at every call.
Nothing is probed, imported or built before a tensor asks for it.
"""
import functools
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import NamedTuple

import torch

from mmweather.errors import UserError

__all__ = [
    'BACKENDS', 'BackendRow', 'Choice', 'Kernels', 'choose', 'describe', 'describe_backends', 'kernels', 'obstacle_to',
    'register'
]

ENVIRONMENT_VARIABLE = 'MMWEATHER_OPS'
BACKENDS = ('torch', 'triton', 'mmcv')
_DEFAULT_ORDER = {'cpu': ('torch', ), 'cuda': ('triton', 'mmcv', 'torch')}


class Kernels(NamedTuple):
    """The two halves of an operator as one backend computes them.

    Attributes:
        forward (Callable): Takes the operator's arguments, returns its output.
        backward (Callable): Takes the output's gradient, the operator's arguments and which gradients are wanted;
            returns a list of gradients, empty tensors where none was wanted.
    """

    forward: Callable
    backward: Callable


class Choice(NamedTuple):
    """The backend that serves an operator, and why it does.

    Attributes:
        backend (str): 'torch', 'triton' or 'mmcv'.
        why (str): The reason, as a phrase.
    """

    backend: str
    why: str


class BackendRow(NamedTuple):
    """One operator's line in ``mmweather doctor``.

    Attributes:
        op (str): Name of the operator.
        cpu (str): Backend that serves it on a CPU.
        cuda (str): Backend that serves it on a CUDA device, or would if there were one.
        available (tuple[str]): Every backend that could serve it here, on either device.
        why (str): Why these serve.
    """

    op: str
    cpu: str
    cuda: str
    available: tuple
    why: str


# Operator name to {backend: Kernels, or the name of the module that holds a `forward` and a `backward`}.
_OPERATORS = {}


def register(op: str, **implementations: Kernels | str) -> None:
    """Make an operator known.

    Args:
        op (str): Name of the operator.
        **implementations (Kernels | str): One entry per backend that has the operator: its kernels, or the name of a
            module with a function ``forward`` and a function ``backward`` that is imported when it is first needed.
    """
    _OPERATORS[op] = implementations


def interpreted() -> bool:
    """Whether Triton's interpreter is on, which runs the GPU kernels on CPU tensors."""
    return os.environ.get('TRITON_INTERPRET') == '1'


@functools.cache
def _missing_for_triton():
    """What Triton lacks to compile a kernel here, as a phrase; an empty string where nothing is missing."""
    if importlib.util.find_spec('triton') is None:
        return 'Triton is not installed'
    # Triton builds its launcher with the system's C compiler.
    if not (os.environ.get('CC') or shutil.which('gcc') or shutil.which('clang')):
        return 'Triton finds no C compiler (gcc or clang)'
    return ''


@functools.cache
def _missing_for_mmcv():
    if importlib.util.find_spec('mmcv') is None or importlib.util.find_spec('mmcv._ext') is None:
        return 'no compiled MMCV is installed'
    try:
        importlib.import_module('mmcv._ext')
    except (ImportError, OSError) as error:
        return f'the compiled extension of the installed MMCV cannot be loaded ({error})'
    return ''


def obstacle_to(backend, op, device_type, dtype):
    """Say what keeps a backend from serving an operator.

    Args:
        backend (str): One of :data:`BACKENDS`.
        op (str): Name of the operator.
        device_type (str): Type of the tensors' device, such as 'cpu' or 'cuda'.
        dtype (torch.dtype): Type of the tensors.

    Returns:
        str: The reason as a phrase; empty where nothing does.
    """
    if backend not in _OPERATORS[op]:
        return f'{backend} has no {op}'
    if backend == 'triton':
        if dtype == torch.float64:
            return 'the Triton kernels do not compute in float64'
        if interpreted():
            return 'Triton is not installed' if importlib.util.find_spec('triton') is None else ''
        return _missing_for_triton() if device_type == 'cuda' else 'Triton serves CUDA tensors only'
    if backend == 'mmcv':
        if device_type not in ('cpu', 'cuda'):
            return f'MMCV does not serve {device_type} tensors'
        if dtype == torch.bfloat16 or (device_type == 'cpu' and dtype == torch.float16):
            return f'MMCV does not compute in {str(dtype).removeprefix("torch.")} on {device_type}'
        return _missing_for_mmcv()
    return ''


def _override():
    name = os.environ.get(ENVIRONMENT_VARIABLE, '').strip().lower()
    if name and name not in BACKENDS:
        raise UserError(f'The environment variable {ENVIRONMENT_VARIABLE} is {name!r}, which is no backend; set it to '
                        f'one of {", ".join(BACKENDS)}, or unset it.')
    return name


def choose(op: str, device_type: str, dtype: torch.dtype = torch.float32) -> Choice:
    """Say which backend serves an operator, and why.

    Args:
        op (str): Name of the operator.
        device_type (str): Type of the tensors' device, such as 'cpu' or 'cuda'.
        dtype (torch.dtype): Type of the tensors. Defaults to torch.float32.

    Returns:
        Choice: The backend and the reason.

    Raises:
        UserError: ``MMWEATHER_OPS`` names no backend, or one that is not installed.
    """
    wanted = _override()
    obstacle = ''
    if wanted:
        obstacle = obstacle_to(wanted, op, device_type, dtype)
        if not obstacle:
            return Choice(wanted, f'{ENVIRONMENT_VARIABLE}={wanted}')
        if 'installed' in obstacle:
            raise UserError(f'The environment variable {ENVIRONMENT_VARIABLE} asks for {wanted}, but {obstacle}; '
                            f'install it, or unset the variable.')
        obstacle = f'{ENVIRONMENT_VARIABLE}={wanted} does not apply: {obstacle}'
    reasons = [obstacle] if obstacle else []
    for name in _DEFAULT_ORDER.get(device_type, ('torch', )):
        obstacle = obstacle_to(name, op, device_type, dtype)
        if not obstacle:
            break
        reasons.append(obstacle)
    return Choice(name, '; '.join(reasons) or f'the default on {device_type}')


def kernels(op: str, tensor: torch.Tensor) -> Kernels:
    """Give the kernels that serve an operator for a tensor, importing them where that has not been done.

    Args:
        op (str): Name of the operator.
        tensor (Tensor): The operator's first argument.

    Returns:
        Kernels: Forward and backward.
    """
    found = _OPERATORS[op][choose(op, tensor.device.type, tensor.dtype).backend]
    if isinstance(found, str):
        module = importlib.import_module(found)
        found = Kernels(module.forward, module.backward)
    return found


def describe(op: str, tensor: torch.Tensor | None = None) -> str:
    """Name the backend that serves an operator, for a module's ``repr``.

    Args:
        op (str): Name of the operator.
        tensor (Tensor | None): A tensor on the device and of the dtype in question, such as the module's weight. None
            stands for a float32 tensor on the CPU. Defaults to None.

    Returns:
        str: Such as ``'backend=triton'``; a ``repr`` never fails, so a bad ``MMWEATHER_OPS`` is named in it as well.
    """
    device_type, dtype = ('cpu', torch.float32) if tensor is None else (tensor.device.type, tensor.dtype)
    try:
        return f'backend={choose(op, device_type, dtype).backend}'
    except UserError as error:
        return f'backend=none ({error})'


def describe_backends() -> list:
    """List every operator with the backends that serve it, as ``mmweather doctor`` prints them.

    Returns:
        list[BackendRow]: One row per operator, sorted by name.

    Raises:
        UserError: ``MMWEATHER_OPS`` names no backend, or one that is not installed.
    """
    rows = []
    for op in sorted(_OPERATORS):
        cpu, cuda = choose(op, 'cpu'), choose(op, 'cuda')
        available = tuple(
            name for name in BACKENDS
            if not all(obstacle_to(name, op, device_type, torch.float32) for device_type in ('cpu', 'cuda')))
        here = '' if torch.cuda.is_available() else ' (no CUDA device here)'
        rows.append(BackendRow(op, cpu.backend, cuda.backend, available, f'cpu: {cpu.why}; cuda{here}: {cuda.why}'))
    return rows
