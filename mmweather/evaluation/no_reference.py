"""How hazy an image looks, and what a restoration has brought out, where no clear version exists.

The published index of the kind, FADE (Choi et al., TIP 2015), compares an image with statistics of hundreds of foggy
and fog-free photographs, which do not ship with this package. :func:`fog_density` is our substitute: it combines three
features of fog, of the kind that paper uses, without reference statistics. Its numbers order images by their fog but
are no FADE numbers and must not be compared with them. The rest are the usual measures:

- :func:`dark_channel_mean`: He et al., "Single Image Haze Removal Using Dark Channel Prior", CVPR 2009;
- :func:`colourfulness`: Hasler and Süsstrunk, "Measuring Colorfulness in Natural Images", SPIE 2003;
- :func:`contrast_gain` and :func:`new_visible_edges`: after Hautière et al., "Blind Contrast Enhancement Assessment by
  Gradient Ratioing at Visible Edges", Image Analysis & Stereology 2008. Their segmentation of visible edges is replaced
  by a threshold of 5 % on the local contrast, the same visibility threshold of the CIE.

None of them knows what is true. Oversharpening raises the last three and black lowers the first two, so they are to be
read together, and beside the picture.
"""
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmweather.registry import METRICS

from .functional import luma

__all__ = [
    'NoReferenceMetric', 'colourfulness', 'contrast_gain', 'dark_channel', 'dark_channel_mean', 'fog_density',
    'new_visible_edges', 'score_no_reference', 'visible_edges',
]

#: Contrast at which the CIE calls a thing visible.
VISIBLE = 0.05
# a contrast is relative to the light; this much (of 255) keeps noise in the dark from counting
_BLACK = 12.0


def dark_channel(image: np.ndarray, patch: int = 15) -> np.ndarray:
    """The least value of any channel in the patch around each pixel; near 0 in clear images outdoors.

    Args:
        image (np.ndarray): RGB ``(H, W, 3)``, uint8 or floating point.
        patch (int): Side of the patch in pixels, odd. Defaults to 15.

    Returns:
        np.ndarray: ``(H, W)`` of the image's dtype and range.
    """
    return cv2.erode(image.min(axis=2), np.ones((patch, patch), np.uint8), borderType=cv2.BORDER_REPLICATE)


def dark_channel_mean(image: np.ndarray, patch: int = 15) -> float:
    """Mean of the dark channel, in [0, 1]; haze raises it.

    Args:
        image (np.ndarray): uint8 RGB ``(H, W, 3)``.
        patch (int): Side of the patch in pixels, odd. Defaults to 15.

    Returns:
        float: The mean.
    """
    _check(image)
    return float(dark_channel(image, patch).mean() / 255)


def colourfulness(image: np.ndarray) -> float:
    """Colourfulness M3 of Hasler and Süsstrunk; 0 for gray images, above 100 for extremely colourful ones.

    With ``rg = R - G`` and ``yb = (R + G) / 2 - B``: the length of their standard deviations plus 0.3 times the length
    of their means.

    Args:
        image (np.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        float: The colourfulness.
    """
    _check(image)
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0)
    opponents = red - green, (red + green) / 2 - blue
    spread = np.hypot(*(channel.std() for channel in opponents))
    return float(spread + 0.3 * np.hypot(*(channel.mean() for channel in opponents)))


def visible_edges(image: np.ndarray) -> np.ndarray:
    """Where the contrast of neighbouring pixels reaches 5 %.

    The contrast is the range of the 3x3 neighbourhood of the slightly smoothed luma, relative to its sum (Michelson).

    Args:
        image (np.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        np.ndarray: bool ``(H, W)``.
    """
    _check(image)
    light = _smooth_luma(image)
    kernel = np.ones((3, 3), np.uint8)
    high, low = cv2.dilate(light, kernel), cv2.erode(light, kernel)
    return high - low >= VISIBLE * (high + low + 2 * _BLACK)


def new_visible_edges(restored: np.ndarray, hazy: np.ndarray) -> float:
    """Rate of new visible edges e: how many more pixels lie on visible edges, relative to before.

    Args:
        restored (np.ndarray): uint8 RGB ``(H, W, 3)``.
        hazy (np.ndarray): The image before, of the same shape.

    Returns:
        float: 0 if there are as many, 1 if there are twice as many, negative if there are less; at most 100, which
        also stands for edges where there were none.
    """
    _check_pair(restored, hazy)
    before, after = int(visible_edges(hazy).sum()), int(visible_edges(restored).sum())
    return min((after - before) / before, 100.0) if before else 100.0 * (after > 0)


def contrast_gain(restored: np.ndarray, hazy: np.ndarray) -> float:
    """Gain of contrast r: geometric mean of the ratio of the gradients, over the visible edges of the restored image.

    Args:
        restored (np.ndarray): uint8 RGB ``(H, W, 3)``.
        hazy (np.ndarray): The image before, of the same shape.

    Returns:
        float: 1 if nothing has changed (or the restored image has no visible edge), above 1 for more contrast.
    """
    _check_pair(restored, hazy)
    after, before = _gradient(restored), _gradient(hazy)
    # less than one gray level is less than 8 bits can tell
    edges = visible_edges(restored) & (after >= 1)
    if not edges.any():
        return 1.0
    return float(np.exp(np.mean(np.log(after[edges]) - np.log(np.maximum(before[edges], 1)))))


def fog_density(image: np.ndarray, patch: int = 15) -> float:
    """How foggy an image looks, in [0, 1]; our substitute for FADE, see above.

    The geometric mean of three features of fog, each in [0, 1], averaged over the image: the dark channel (fog lifts
    the black), the lack of saturation (fog is gray), and the lack of local contrast (fog is smooth), which is
    ``1 / (1 + 8 s)`` with s the standard deviation of the luma in the patch relative to its mean.

    Args:
        image (np.ndarray): uint8 RGB ``(H, W, 3)``.
        patch (int): Side of the patch in pixels, odd. Defaults to 15.

    Returns:
        float: The density.
    """
    _check(image)
    high = image.max(axis=2).astype(np.float32)
    gray = 1 - (high - image.min(axis=2)) / np.maximum(high, 1)
    light = luma(image)
    mean = cv2.blur(light, (patch, patch), borderType=cv2.BORDER_REFLECT)
    variance = np.maximum(cv2.blur(light * light, (patch, patch), borderType=cv2.BORDER_REFLECT) - mean**2, 0)
    smooth = 1 / (1 + 8 * np.sqrt(variance) / (mean + _BLACK))
    return float(np.cbrt(dark_channel(image, patch) / 255 * gray * smooth).mean())


def score_no_reference(restored: np.ndarray, hazy: np.ndarray | None = None) -> dict[str, float]:
    """All measures of one image.

    Args:
        restored (np.ndarray): uint8 RGB ``(H, W, 3)``.
        hazy (np.ndarray, optional): The image before, of the same shape. Defaults to None: the measures that compare
            are left out.

    Returns:
        dict[str, float]: ``fog_density``, ``dark_channel``, ``colourfulness`` and, with ``hazy``, ``contrast_gain``
        and ``new_edges``.

    Raises:
        ValueError: If the images are not uint8 RGB or differ in shape.
    """
    numbers = dict(fog_density=fog_density(restored), dark_channel=dark_channel_mean(restored),
                   colourfulness=colourfulness(restored))
    if hazy is not None:
        numbers.update(contrast_gain=contrast_gain(restored, hazy), new_edges=new_visible_edges(restored, hazy))
    return numbers


@METRICS.register_module()
class NoReferenceMetric(BaseMetric):
    """The measures without reference of restored images and of what they were before; means over all frames.

    The keys are ``real/fog_density``, ``real/dark_channel``, ``real/colourfulness``, the same with ``input_`` for the
    input, ``real/contrast_gain`` and ``real/new_edges``.

    Args:
        prefix (str): Prefix of the keys. Defaults to 'real'.
        **kwargs: See MMEngine's ``BaseMetric``.
    """

    def __init__(self, prefix: str = 'real', **kwargs) -> None:
        super().__init__(prefix=prefix, **kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure one batch.

        Args:
            data_batch (dict): ``inputs``, clips ``(T, 3, H, W)``, uint8 or in [0, 1].
            data_samples (Sequence[dict]): Samples with ``output``, likewise.
        """
        for clip, sample in zip(data_batch['inputs'], data_samples, strict=True):
            for before, after in zip(clip, sample['output'], strict=True):
                hazy, restored = _to_image(before), _to_image(after)
                numbers = score_no_reference(restored, hazy)
                numbers.update({f'input_{name}': value for name, value in score_no_reference(hazy).items()})
                self.results.append(numbers)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average; called on the main process only.

        Args:
            results (list[dict]): What :meth:`process` collected on all ranks.

        Returns:
            dict[str, float]: The means.
        """
        return {name: float(np.mean([numbers[name] for numbers in results])) for name in results[0]}


def _smooth_luma(image):
    return cv2.GaussianBlur(luma(image).astype(np.float32), (0, 0), 0.8)


def _gradient(image):
    light = _smooth_luma(image)
    return np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(light, cv2.CV_32F, 0, 1, scale=0.25))


def _to_image(frame: torch.Tensor) -> np.ndarray:
    frame = frame.detach().permute(1, 2, 0).cpu()
    return (frame if frame.dtype == torch.uint8 else (frame.float().clamp(0, 1) * 255).round().byte()).numpy()


def _check(image):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'expected a uint8 RGB image (H, W, 3), got {image.dtype} {image.shape}')


def _check_pair(restored, hazy):
    _check(restored)
    _check(hazy)
    if restored.shape != hazy.shape:
        raise ValueError(f'the images must have one shape, got {restored.shape} and {hazy.shape}')
