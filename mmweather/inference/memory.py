"""How much memory there is, and which tiles and windows fit into it.

What a network needs is measured, not guessed: it is run on two small tiles while all tensors that are alive are
added up, and the larger sizes follow from how the two differ.
"""
import ctypes
import functools
import math
import os
import weakref
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmweather.errors import UserError
from mmweather.models.temporal import ClipNetwork, smaller_tiles

__all__ = ['free_memory', 'keep_freed_memory', 'network_memory', 'return_freed_memory', 'suit_memory']

# what convolutions and the allocator need beside the tensors that are alive
_SURCHARGE = 1.5
# frames of 4:2:0 that the encoder looks ahead, and decoded frames that wait
_ENCODER_FRAMES, _QUEUED_FRAMES = 60, 12
# where no memory is asked for, a network is measured only if so many floats for each of its pixels would not fit
_MODEST = 3000

# numbers of glibc's mallopt, from malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def keep_freed_memory():
    """Have the C library keep what a network's tensors on the CPU leave behind for those that come next.

    By default it returns larger blocks to the system, which then has to fill the next ones with zeros again, page by
    page: up to a sixth of the time of a small network. Blocks of more than 64 MiB are still returned, so that large
    frames need no more memory than before. Only glibc, the C library of most Linux systems, is told.

    Returns:
        bool: Whether it was told.
    """
    mallopt = _c_function('mallopt')
    if mallopt is None or _c_function('malloc_trim') is None:
        return False
    settings = {_MMAP_THRESHOLD: 1 << 26, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 1 << 26}
    return all(mallopt(number, value) for number, value in settings.items())


def return_freed_memory():
    """Return what was kept to the system, once in a while: small blocks come to lie between the large ones."""
    if keep_freed_memory():
        _c_function('malloc_trim')(0)


def _c_function(name):
    """A function of the C library, None if it has no such one."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None


def free_memory(device):
    """Bytes that can still be had.

    Args:
        device (torch.device): A CPU or GPU.

    Returns:
        int or None: The bytes, None where the system does not say.
    """
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    free = []
    try:
        lines = dict(line.split(':', 1) for line in Path('/proc/meminfo').read_text().splitlines())
        free.append(1024 * int(lines['MemAvailable'].split()[0]))
    except (OSError, KeyError, ValueError):
        if hasattr(os, 'sysconf') and 'SC_PHYS_PAGES' in os.sysconf_names:
            free.append(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2)
    try:  # a container may have less than the machine
        group = Path('/sys/fs/cgroup')
        free.append(int((group / 'memory.max').read_text()) - int((group / 'memory.current').read_text()))
    except (OSError, ValueError):
        pass
    return min(free, default=None)


def network_memory(network, window, size, device, dtype=None):
    """Measure how much memory a forward pass needs at its peak, weights not counted.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network.
        window (int): Frames of the clip; recurrent networks are given one step.
        size (tuple[int, int]): Height and width that the network accepts.
        device (torch.device): Where it runs.
        dtype (torch.dtype, optional): Type for autocast. Defaults to None.

    Returns:
        int: Bytes.
    """
    is_clip = isinstance(network, ClipNetwork)
    stereo = (2, ) if getattr(network, 'stereo', False) else ()
    count = window if is_clip else 1 + network.lookahead
    frames = torch.rand((1, count, *stereo, 3, *size), device=device)
    network.to(device)
    was_training = network.training
    network.eval()
    alive = _Alive() if device.type == 'cpu' else None
    try:
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype not in (None, torch.float32)):
            if alive is None:
                torch.cuda.reset_peak_memory_stats(device)
                before = torch.cuda.memory_allocated(device)
                _pass(network, frames, is_clip)
                return torch.cuda.max_memory_allocated(device) - before
            with alive:
                _pass(network, frames, is_clip)
            return alive.peak
    finally:
        network.train(was_training)


def suit_memory(network, protocol, size, memory, device, dtype=None):
    """Choose tiles, and if need be windows, for the memory there is.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network.
        protocol (ClipProtocol): What is wanted; tiles and windows become no larger than its.
        size (tuple[int, int]): Height and width of the frames.
        memory (int, optional): Bytes that may be used, those of the process included; None for what is free.
        device (torch.device): Where the network runs.
        dtype (torch.dtype, optional): Type for autocast. Defaults to None.

    Returns:
        tuple[ClipProtocol, str or None]: The protocol, and what was chosen in words if anything was.

    Raises:
        UserError: If the smallest tiles and windows need more.
    """
    window = protocol.window if isinstance(network, ClipNetwork) else 1
    asked = memory is not None
    budget = memory - (_resident() if device.type == 'cpu' else 0) if asked else free_memory(device)
    pixels = _batch(protocol, size) * _tile_pixels(network, protocol, size)
    if budget is None or not asked and 4 * _MODEST * window * pixels + _frames_memory(window, size) < budget:
        return protocol, None
    model = _MemoryModel(network, window, device, dtype)
    tried = protocol
    while True:
        for frames in range(window, 0, -1) if smaller_tiles(network, tried, size) is None else [window]:
            needed = _batch(tried, size) * model.of(_tile_pixels(network, tried, size), frames) \
                + _frames_memory(frames, size)
            if needed <= budget:
                chosen = replace(tried, window=frames, window_overlap=min(tried.window_overlap, frames - 1)) \
                    if isinstance(network, ClipNetwork) else tried
                if chosen == protocol and not asked:
                    return protocol, None
                return chosen, f'{_in_words(network, chosen)} for {_gigabytes(budget)} of memory'
        tried_next = smaller_tiles(network, tried, size)
        if tried_next is None:
            raise UserError(f'{type(network).__name__} needs about {_gigabytes(needed + (memory or 0) - budget)} of '
                            f'memory for frames of {size[1]}x{size[0]} even in the smallest tiles: give it more, or '
                            'scale the video down')
        tried = tried_next


class _MemoryModel:
    """Extrapolates what a network needs from two small sizes."""

    def __init__(self, network, window, device, dtype):
        divisor = network.size_divisor
        small = -(-max(network.min_size, 64) // divisor) * divisor
        large = -(-max(network.min_size * 3 // 2, 128) // divisor) * divisor
        self.pixels = large**2
        self.bytes, less = (network_memory(network, window, (side, side), device, dtype) for side in (large, small))
        # attention grows faster than the number of pixels
        growth = math.log(max(1, self.bytes) / max(1, less)) / math.log(large**2 / small**2)
        self.power = min(2., max(1., growth))
        self.window = window

    def of(self, pixels, window):
        return _SURCHARGE * self.bytes * (pixels / self.pixels)**self.power * window / self.window


class _Alive(TorchDispatchMode):
    """Adds up the bytes of the tensors that are alive among those that were made under it."""

    def __init__(self):
        super().__init__()
        self.bytes = self.peak = 0
        self._known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self._known:
                    self._known.add(key)
                    self.bytes += storage.nbytes()
                    self.peak = max(self.peak, self.bytes)
                    weakref.finalize(storage, self._gone, key, storage.nbytes())
        return result

    def _gone(self, key, size):
        self._known.discard(key)
        self.bytes -= size


def _pass(network, frames, is_clip):
    if is_clip:
        return network(frames)
    return network.step(frames, network.init_state(frames))


def _tile_pixels(network, protocol, size):
    divisor = protocol.size_divisor or network.size_divisor
    sides = [min(length, protocol.tile or length) for length in size]
    height, width = (-(-max(side, network.min_size) // divisor) * divisor for side in sides)
    return height * width


def _batch(protocol, size):
    """How many tiles a forward pass gets."""
    return protocol.tile_batch if protocol.tile and protocol.tile < max(size) else 1


def _frames_memory(window, size):
    """Bytes for frames outside of the network: as float in windows and sums, as bytes in queues and the encoder."""
    pixels = size[0] * size[1]
    return pixels * (4 * 3 * (4 * window + 4) + 3 * _QUEUED_FRAMES + _ENCODER_FRAMES * 3 // 2)


def _resident():
    """Bytes of memory that the process has."""
    try:
        return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    except (OSError, ValueError, IndexError):
        return 0


def _in_words(network, protocol):
    tiles = 'whole frames' if protocol.tile is None else f'tiles of {protocol.tile} pixels'
    if not isinstance(network, ClipNetwork):
        return tiles
    return f'windows of {protocol.window} frame{"s" if protocol.window != 1 else ""}, {tiles}'


def _gigabytes(count):
    return f'{count / 1e9:.2g} GB'
