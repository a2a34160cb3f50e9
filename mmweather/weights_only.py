"""Checkpoints of MMEngine, read without unpickling them.

A file that :func:`torch.save` wrote is a pickle, and a pickle may run any code. :func:`torch.load` with
``weights_only=True`` builds tensors and plain containers only, which refuses the files of MMEngine's Runner: next to
the weights they hold the log (``HistoryBuffer`` with NumPy arrays and, through ``builtins.getattr``, its methods) and
NumPy scalars. Allowing those names as they are would open the door again: ``getattr`` reaches everything, a
``HistoryBuffer`` keeps the functions that a file brings along, and ``numpy.dtype`` takes flags that make NumPy follow
the bytes of a file as pointers.

So every one of those names is answered by a stand-in of ours, which checks what it is asked for and builds the same
plain value. Nothing else is allowed, and nothing is ever read in another way when that fails.
"""
import math
import os
import pickle
import re
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from .errors import UserError

__all__ = ['weights_only']

#: NumPy's functions have lived under both names.
_NUMPY_ROOMS = ('numpy.core.multiarray', 'numpy._core.multiarray')
#: What a log is made of: booleans, integers and floats.
_PLAIN_DTYPE = re.compile(r'b1|[iu][1248]|f[248]')
#: Methods of ``HistoryBuffer`` that its own pickles name.
_STATISTICS = ('min', 'max', 'current', 'mean')
#: torch.load obeys the first whatever its caller asked for, and fails if the second is set too.
_FORCE, _FORCE_NOT = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'


@contextmanager
def weights_only(source):
    """Within it every :func:`torch.load` reads weights, plain values and MMEngine's log, and never unpickles.

    That holds for callers that ask for unpickling too, as :func:`torch.hub.load_state_dict_from_url` does.

    Args:
        source (str | Path): What is read, for the error's text.

    Raises:
        UserError: If the file asks for anything else, or is no checkpoint, or is cut short.
    """
    forced = {name: os.environ.pop(name, None) for name in (_FORCE, _FORCE_NOT)}
    os.environ[_FORCE] = '1'
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            yield
    except pickle.UnpicklingError as error:
        raise UserError(_refusal(source, error)) from error
    except (EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError) as error:
        # The restricted reader trips over the bytes of files that are no pickles in all these ways.
        raise UserError(_damaged(source)) from error
    except RuntimeError as error:
        if 'PytorchStreamReader' not in str(error):
            raise
        raise UserError(_damaged(source)) from error
    finally:
        del os.environ[_FORCE]
        os.environ.update({name: value for name, value in forced.items() if value is not None})


def _refusal(source, error):
    unsupported = re.search(r'GLOBAL ([\w.]+)', str(error))
    if not unsupported:
        return _damaged(source)
    return (f'{source}: asks for {unsupported[1]}, which weights have no need of, and files are never unpickled; '
            'where it was made, save its state_dict alone with torch.save or as safetensors')


def _damaged(source):
    return f'{source}: not a PyTorch checkpoint, or damaged; copy or download it again'


class _Dtype:
    """Answers for ``numpy.dtype``: a number's type and byte order, nothing else.

    Args:
        name (str): Such as 'f8'.
        align (bool): As in :class:`numpy.dtype`; without meaning for numbers. Defaults to False.
        copy (bool): As in :class:`numpy.dtype`. Defaults to False.
    """

    def __init__(self, name, align=False, copy=False):
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name):
            raise pickle.UnpicklingError(f'GLOBAL numpy.dtype({name!r}) is no type of numbers')
        self.dtype = np.dtype(name)

    def __setstate__(self, state):
        # Of the state (version, byte order, subarray, names, fields, size, alignment, flags) a number has one item.
        byte_order = state[1]
        if byte_order not in ('<', '>', '=', '|'):
            raise pickle.UnpicklingError(f'GLOBAL numpy.dtype of byte order {byte_order!r}')
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array(np.ndarray):
    """Answers for ``numpy.ndarray``: an array of numbers whose bytes are as many as its shape says."""

    def __new__(cls, *args, **kwargs):
        # Pickles of arrays never call the class, they only hand it to _reconstruct.
        raise pickle.UnpicklingError('GLOBAL numpy.ndarray is not to be called')

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not (isinstance(dtype, _Dtype) and isinstance(data, bytes)
                and math.prod(shape) * dtype.dtype.itemsize == len(data)):
            raise pickle.UnpicklingError('GLOBAL numpy.ndarray of something else than numbers')
        super().__setstate__((1, tuple(shape), dtype.dtype, bool(fortran), data))

    def __reduce__(self):
        # What is saved again is a plain array.
        return self.view(np.ndarray).__reduce__()


class _History(HistoryBuffer):
    """Answers for ``HistoryBuffer``: takes the numbers, leaves the functions, and turns into the real thing."""

    def __setstate__(self, state):
        history, counts = state['_log_history'], state['_count_history']
        if not isinstance(history, np.ndarray) or not isinstance(counts, np.ndarray):
            raise pickle.UnpicklingError('GLOBAL mmengine.logging.HistoryBuffer of something else than numbers')
        self.__class__ = HistoryBuffer
        self.__init__(np.array(history), np.array(counts), int(state['max_length']))


def _stand_in(path, target):
    """Lets ``target`` answer for the global ``path``."""
    # Named in place, since torch takes pairs (target, path) only in newer releases.
    target.__module__, _, target.__qualname__ = path.rpartition('.')
    target.__name__ = target.__qualname__
    return target


def _reconstruct(room):

    def reconstruct(subtype, shape, typecode):
        # Always an empty array, filled by the state that follows.
        return np.ndarray.__new__(_Array, (0, ))

    return _stand_in(f'{room}._reconstruct', reconstruct)


def _scalar(room):

    def scalar(dtype, data):
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != dtype.dtype.itemsize:
            raise pickle.UnpicklingError('GLOBAL numpy scalar of something else than a number')
        return np.frombuffer(data, dtype.dtype)[0]

    return _stand_in(f'{room}.scalar', scalar)


def _method(owner, name):
    if owner is not _History or name not in _STATISTICS:
        raise pickle.UnpicklingError(f'GLOBAL builtins.getattr({owner!r}, {name!r}) is not part of a log')
    return name


_STAND_INS = [
    _stand_in('builtins.getattr', _method),
    _stand_in('mmengine.logging.history_buffer.HistoryBuffer', _History),
    _stand_in('numpy.dtype', _Dtype),
    _stand_in('numpy.ndarray', _Array),
    *(make(room) for make in (_reconstruct, _scalar) for room in _NUMPY_ROOMS),
]
