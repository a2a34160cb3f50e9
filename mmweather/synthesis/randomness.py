"""Random numbers that depend on a seed and a place in the stream, and on nothing else.

Every effect of this room is a pure function of ``(seed, frame index)``: frame 1000 of a video can be rendered alone and
equals frame 1000 of a long run. That needs a fresh generator per place instead of one that is passed along. All
generators are numpy's PCG64 seeded through :class:`numpy.random.SeedSequence`, so a seed means the same on every
machine.
"""
import zlib
from functools import lru_cache

import numpy as np

__all__ = ['generator', 'smooth_signal']


def generator(seed, *place):
    """A generator for one place in the stream of a seed.

    Args:
        seed (int): The user's seed; negative numbers are folded to 64 bits.
        place (int | str): What the numbers are for, e.g. ``('rain', layer, frame)``. Different places give independent
            streams.

    Returns:
        numpy.random.Generator: PCG64.
    """
    key = tuple(zlib.crc32(part.encode()) if isinstance(part, str) else int(part) & 0xFFFFFFFF for part in place)
    sequence = np.random.SeedSequence(int(seed) & 0xFFFFFFFFFFFFFFFF, spawn_key=key)
    return np.random.Generator(np.random.PCG64(sequence))


def smooth_signal(seed, time, period, *place):
    """A slow random signal in [-1, 1], the same for the same arguments: cubic-blended value noise.

    Args:
        seed (int): The seed.
        time (float): Seconds.
        period (float): Seconds between the random knots.
        place (int | str): What the signal is for.

    Returns:
        float: The value at ``time``.
    """
    knot, phase = divmod(time / period, 1.0)
    before, after = _knot(seed, *place, int(knot)), _knot(seed, *place, int(knot) + 1)
    return float(before + (after - before) * phase * phase * (3 - 2 * phase))


@lru_cache(maxsize=4096)
def _knot(seed, *place):
    """A knot serves many moments, and a generator takes longer to make than to use."""
    return generator(seed, *place).uniform(-1, 1)
