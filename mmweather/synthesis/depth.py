"""Depth of a photograph of which nothing else is known: a prior, not a measurement.

Distance washes colours out and brightens them, so brightness minus saturation grows with depth: the colour attenuation
prior (Zhu et al., "A Fast Single Image Haze Removal Algorithm Using Color Attenuation Prior", TIP 2015) with that
paper's coefficients, local minimum and guided smoothing. Ours is what makes it serve clear photographs too: the prior
is mixed with the place in the frame, since a camera outdoors stands on the ground and looks ahead, and the result is
stretched to metres.
"""
import cv2
import numpy as np

__all__ = ['estimate_depth', 'guided_filter']

# d = offset + brightness * value + saturation * saturation; table 1 of the paper's section IV
_OFFSET, _BRIGHTNESS, _SATURATION = 0.121779, 0.959710, -0.780245
# metres between which the estimate is stretched
_NEAR, _FAR = 3.0, 100.0
# share of the place in the frame, the rest is the prior's
_PLACE = 0.5


def estimate_depth(image, place=_PLACE):
    """Estimate the depth of an image.

    The scale is a guess: the nearest thing is taken to be 3 m away and the farthest 100 m, and depth runs
    exponentially between them. The estimate is for putting weather on photographs, where only a plausible
    order of depths is needed, and depends on the image alone, so that equal frames have equal depths.

    Args:
        image (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        place (float): Share of the place in the frame, in [0, 1]: 0 is the published prior alone, 1 a plane that
            recedes from the lower edge to the horizon. Defaults to 0.5.

    Returns:
        numpy.ndarray: float32 ``(H, W)``, metres in [3, 100].

    Raises:
        ValueError: If the image is no uint8 RGB image or ``place`` is outside [0, 1].

    Examples:
        >>> fog_bank = np.full((64, 96, 3), 230, np.uint8)
        >>> estimate_depth(fog_bank).shape
        (64, 96)
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'image must be uint8 RGB (H, W, 3), got {image.dtype} {image.shape}')
    if not 0 <= place <= 1:
        raise ValueError(f'place must be in [0, 1], got {place}')
    height, width = image.shape[:2]
    # the prior is a matter of regions: a few hundred pixels hold all that it knows
    scale = min(1.0, 320 / max(height, width))
    small = image if scale == 1 else cv2.resize(
        image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    prior = _attenuation_prior(small)
    rows = np.linspace(1, 0, small.shape[0], dtype=np.float32)[:, None]
    # a camera outdoors sees the ground recede to a horizon a third below the top, and the sky above it
    recession = np.clip(rows * 1.5, 0, 1)
    far = (1 - place) * _stretch(prior) + place * recession
    guide = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    radius = max(2, round(max(small.shape[:2]) / 16))
    far = guided_filter(guide, far, radius, 1e-3)
    far = np.clip(far, 0, 1)
    if scale != 1:
        far = cv2.resize(far, (width, height), interpolation=cv2.INTER_LINEAR)
    return (_NEAR * (_FAR / _NEAR)**far).astype(np.float32)


def guided_filter(guide, image, radius, eps):
    """Edge-preserving smoothing (He et al., "Guided Image Filtering", TPAMI 2013): a local linear model of the guide.

    Args:
        guide (numpy.ndarray): float32 ``(H, W)`` whose edges are kept.
        image (numpy.ndarray): float32 ``(H, W)`` to smooth.
        radius (int): The window is ``2 radius + 1`` pixels wide.
        eps (float): Variance of the guide below which it counts as flat.

    Returns:
        numpy.ndarray: float32 ``(H, W)``.
    """
    def mean(values):
        return cv2.blur(values, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)

    guide, image = (np.asarray(values, np.float32) for values in (guide, image))
    mean_guide, mean_image = mean(guide), mean(image)
    slope = (mean(guide * image) - mean_guide * mean_image) / (mean(guide * guide) - mean_guide**2 + np.float32(eps))
    offset = mean_image - slope * mean_guide
    return mean(slope) * guide + mean(offset)


def _attenuation_prior(image):
    """Brightness less saturation, the least in every neighbourhood: bright specks near by are not far away."""
    high = image.max(axis=2).astype(np.float32)
    low = image.min(axis=2).astype(np.float32)
    saturation = (high - low) / np.maximum(high, 1)
    depth = np.float32(_OFFSET) + np.float32(_BRIGHTNESS / 255) * high + np.float32(_SATURATION) * saturation
    side = max(3, round(max(image.shape[:2]) / 40)) | 1
    return cv2.erode(depth, np.ones((side, side), np.uint8), borderType=cv2.BORDER_REPLICATE)


def _stretch(values):
    """The values between their 2nd and 98th percentile in [0, 1]; one half where all are alike."""
    low, high = np.percentile(values, (2, 98))
    if high - low < 1e-3:
        return np.full_like(values, 0.5)
    return np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
