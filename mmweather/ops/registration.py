"""What every operator of this package does alike: argument checks, the autocast rule, memory formats.

Each operator is a pair of ``torch.library`` operators, forward and backward, with a fake kernel each. They are opaque
to ``torch.compile`` and ``torch.export``; which backend computes them is settled when they run. ONNX knows none of
them, so while a model is exported to ONNX the public functions take their operator's portable formulation instead.
"""
import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

_LIBRARY = torch.library.Library('mmweather', 'FRAGMENT')


def operator(name: str) -> Callable:
    """Define ``torch.ops.mmweather.<name>`` and make the decorated function its kernel on every device.

    The schema follows from the function's annotations. :func:`torch.library.custom_op` would do as much, but its first
    call imports the whole of ``torch._dynamo``, which takes seconds.

    Args:
        name (str): Name of the operator, without the namespace.

    Returns:
        Callable: The decorator; it returns the function.
    """

    def decorate(function):
        schema = torch.library.infer_schema(function, mutates_args=())
        _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag, ))
        _LIBRARY.impl(name, function, 'CompositeExplicitAutograd')
        return function

    return decorate


def register_fake(name: str) -> Callable:
    """Make the decorated function an operator's fake kernel, which tells the shape of its output.

    Args:
        name (str): Name of the operator, without the namespace.

    Returns:
        Callable: The decorator; it returns the function.
    """
    return torch.library.register_fake(f'mmweather::{name}', lib=_LIBRARY)


def register_autograd(name: str, backward: Callable, setup_context: Callable) -> None:
    """Give an operator its derivative.

    Args:
        name (str): Name of the operator, without the namespace.
        backward (Callable): Takes the context and the output's gradient, returns one gradient or None per argument.
        setup_context (Callable): Takes the context, the arguments and the output, and saves what backward needs.
    """
    torch.library.register_autograd(f'mmweather::{name}', backward, setup_context=setup_context, lib=_LIBRARY)


def register_autocast(name: str, cast: Iterable[str]) -> None:
    """Give an operator its rule for automatic mixed precision.

    Unlike :func:`torch.library.register_autocast` the rule follows the dtype that the user chose for the region, and
    spares the arguments that hold coordinates: a sampling position of 300 pixels has a resolution of 2 pixels in
    bfloat16.

    Args:
        name (str): Name of the operator, without the namespace.
        cast (Iterable[str]): The arguments that are cast to the region's dtype. float64 tensors never are.
    """
    overload = getattr(torch.ops.mmweather, name).default
    to_cast = frozenset(cast)
    names = [argument.name for argument in overload._schema.arguments]
    for device_type in ('cpu', 'cuda'):

        def rule(*args, device_type=device_type):
            dtype = torch.get_autocast_dtype(device_type)
            args = [
                value.to(dtype) if name in to_cast and isinstance(value, Tensor) and value.is_floating_point()
                and value.dtype != torch.float64 else value for name, value in zip(names, args)
            ]
            with torch.autocast(device_type, enabled=False):
                return overload(*args)

        _LIBRARY.impl(name, rule, f'Autocast{device_type.upper()}')


def expect_shape(name: str, tensor: Tensor, shape: Sequence, meaning: str) -> None:
    """Refuse a tensor of another shape.

    Args:
        name (str): The argument's name.
        tensor (Tensor): Its value.
        shape (Sequence[int | None]): The shape it must have; None where any size will do.
        meaning (str): The shape in words, such as '(N, C, H, W)'.

    Raises:
        ValueError: Names the argument, the expected shape and the shape found.
    """
    if tensor.dim() != len(shape) or any(want is not None and want != have for want, have in zip(shape, tensor.shape)):
        wanted = ', '.join('any' if size is None else str(size) for size in shape)
        raise ValueError(f'{name} must have shape ({wanted}), which is {meaning}, but has {tuple(tensor.shape)}')


def expect_tensors(op: str, reference: str, coordinates: Iterable[str] = (), **tensors: Tensor | None) -> None:
    """Refuse tensors that are not floating point, lie on different devices or differ in dtype.

    Inside an autocast region dtypes may differ, since the rule unites them.

    Args:
        op (str): Name of the operator, for the message.
        reference (str): The argument whose device and dtype the others must share.
        coordinates (Iterable[str]): Arguments that hold coordinates, which may be float32 beside half-precision values.
            Defaults to ().
        **tensors (Tensor | None): The arguments by name; None is skipped.

    Raises:
        TypeError: Names the argument and what was expected.
    """
    lead = tensors[reference]
    autocast = torch.is_autocast_enabled(lead.device.type) if lead.device.type in ('cpu', 'cuda') else False
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if not tensor.is_floating_point():
            raise TypeError(f'{name} of {op} must be a floating-point tensor, but is {_dtype_name(tensor)}')
        if tensor.device != lead.device:
            raise TypeError(f'{name} of {op} must be on {lead.device} like {reference}, but is on {tensor.device}')
        if autocast or tensor.dtype == lead.dtype or (name in coordinates and tensor.dtype == torch.float32):
            continue
        also = ' or float32' if name in coordinates else ''
        raise TypeError(f'{name} of {op} must be {_dtype_name(lead)}{also} like {reference}, but is '
                        f'{_dtype_name(tensor)}')


def _dtype_name(tensor):
    return str(tensor.dtype).removeprefix('torch.')


def empty_like_input(x: Tensor, shape: Sequence) -> Tensor:
    """Allocate an output in the memory format of the input: channels-last in, channels-last out.

    Args:
        x (Tensor): The input, (N, C, H, W).
        shape (Sequence[int]): Shape of the output, also (N, C, H, W).

    Returns:
        Tensor: Uninitialised, with the dtype and device of ``x``.
    """
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty(shape, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """Give the dtype in which the reference accumulates: float64 in float64, everything else in float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def alert_not_deterministic(what: str) -> None:
    """Do as PyTorch's own operators do when determinism is asked for and a kernel cannot give it.

    Args:
        what (str): The operator, for the message.

    Raises:
        RuntimeError: ``torch.use_deterministic_algorithms(True)`` is in force.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = (f'the Triton kernel of {what} adds with atomics and is not deterministic; set MMWEATHER_OPS=torch, or '
               f'torch.use_deterministic_algorithms(True, warn_only=True)')
    if torch.is_deterministic_algorithms_warn_only_enabled():
        warnings.warn(message, stacklevel=2)
    else:
        raise RuntimeError(message)
