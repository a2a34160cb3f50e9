"""Procedural noise: the material of asphalt, clouds, foliage, haze and snow."""
from functools import lru_cache

import cv2
import numpy as np

__all__ = ['fractal_noise', 'value_noise']


def fractal_noise(size, rng, beta=2.0, low=1.0):
    """Tileable noise with a ``1 / f^beta`` power spectrum; natural images have beta near 2.

    Args:
        size (tuple[int, int]): Height and width; powers of two are fast.
        rng (numpy.random.Generator): Source of the noise.
        beta (float): Slope of the power spectrum; 0 is white, 3 is smooth as clouds. Defaults to 2.0.
        low (float): Frequencies below this many cycles per image are left out, which keeps tiles from showing.
            Defaults to 1.0.

    Returns:
        numpy.ndarray: float32 ``(H, W)`` with mean 0 and standard deviation 1.
    """
    height, width = size
    # white noise drawn as its own spectrum saves a transform
    spectrum = rng.standard_normal((height, width // 2 + 1, 2), dtype=np.float32).view(np.complex64)[..., 0]
    noise = np.fft.irfft2(spectrum * _spectral_gain(height, width, float(beta), float(low)), s=size).astype(np.float32)
    return noise / max(float(noise.std()), 1e-6)


@lru_cache(maxsize=32)
def _spectral_gain(height, width, beta, low):
    """Amplitude of each frequency, float32 ``(height, width // 2 + 1)``; 0 for the mean and below ``low``."""
    fy = np.fft.fftfreq(height)[:, None] * height
    fx = np.fft.rfftfreq(width)[None] * width
    frequency = np.hypot(fx, fy)
    gain = np.maximum(frequency, 1.0)**(-beta / 2)
    gain[(frequency < low) | (frequency == 0)] = 0
    gain = gain.astype(np.float32)
    gain.setflags(write=False)
    return gain


def value_noise(size, rng, cell, low=0.0, high=1.0):
    """Smooth random blobs about ``cell`` pixels wide: bicubic interpolation of a coarse uniform grid.

    Args:
        size (tuple[int, int]): Height and width.
        rng (numpy.random.Generator): Source of the noise.
        cell (float): Distance between the random values in pixels.
        low (float): Lower end of the values. Defaults to 0.0.
        high (float): Upper end of the values. Defaults to 1.0.

    Returns:
        numpy.ndarray: float32 ``(H, W)`` in [low, high].
    """
    height, width = size
    grid = rng.uniform(low, high, (max(2, round(height / cell) + 2), max(2, round(width / cell) + 2)))
    return np.clip(cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), low, high)
