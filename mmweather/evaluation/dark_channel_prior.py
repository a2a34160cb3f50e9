"""The dark channel prior as a baseline that needs no training.

He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009, with the guided filter of their later paper
(TPAMI 2013) in place of soft matting.
"""
import cv2
import numpy as np

from mmweather.synthesis.depth import guided_filter

from .no_reference import dark_channel

__all__ = ['dehaze_dark_channel']


def dehaze_dark_channel(image: np.ndarray, omega: float = 0.95, patch: int = 15, least: float = 0.1) -> np.ndarray:
    """Remove haze by the dark channel prior, with the paper's settings.

    The airlight A is the mean colour of the 0.1 % of pixels with the brightest dark channel, the transmission
    ``t = 1 - omega dark(I / A)``, refined by a guided filter (radius 60, epsilon 1e-3, on the luma), and the result
    ``J = (I - A) / max(t, least) + A``.

    Args:
        image (np.ndarray): uint8 RGB ``(H, W, 3)``.
        omega (float): Share of the haze that is removed. Defaults to 0.95.
        patch (int): Side of the patch in pixels, odd. Defaults to 15.
        least (float): Least transmission that is divided by. Defaults to 0.1.

    Returns:
        np.ndarray: uint8 RGB ``(H, W, 3)``.
    """
    light = image.astype(np.float32) / 255
    dark = dark_channel(light, patch)
    brightest = np.argsort(dark, axis=None)[-max(1, dark.size // 1000):]
    airlight = np.maximum(light.reshape(-1, 3)[brightest].mean(axis=0), 1e-3)
    transmission = 1 - np.float32(omega) * dark_channel(light / airlight, patch)
    guide = cv2.cvtColor(light, cv2.COLOR_RGB2GRAY)
    transmission = np.maximum(guided_filter(guide, transmission, 60, 1e-3), np.float32(least))[..., None]
    return np.rint(np.clip((light - airlight) / transmission + airlight, 0, 1) * 255).astype(np.uint8)
