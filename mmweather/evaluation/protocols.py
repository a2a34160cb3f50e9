"""Named metric protocols: the same pair of images scores 22.7 dB or 36.6 dB depending on whose script is used.

A protocol is data: how images are prepared, which PSNR and SSIM are taken, and in which order means are formed. Each
one reproduces the script of the benchmark it is named after, to 1e-4 dB (``rvsd``, which took its PSNR in single
precision, to 1e-3 dB) and 1e-6 SSIM; ``plain`` is what most deblurring papers mean, with scikit-image's default SSIM.
"""
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from .functional import luma, psnr, ssim

__all__ = ['PROTOCOLS', 'Protocol', 'align_koehler', 'get_protocol', 'score']


@dataclass(frozen=True)
class Protocol:
    """How a benchmark scores a restored frame, and how it averages.

    Args:
        name (str): Name of the benchmark, which every number carries.
        frame (Callable): Scores one pair of RGB images ``(H, W, 3)`` and returns PSNR and SSIM. The images are uint8,
            or float32 in [0, 1] if ``quantise`` is False.
        description (str): What the protocol does, in one line for tables and reports.
        quantise (bool): Whether the restored frame is scored as the 8-bit image that a user would save. Defaults to
            True.
        mean_over (str): ``'videos'``: mean of the videos' means; ``'frames'``: every frame of every video counts the
            same. Defaults to 'videos'.
        skip_first (int): Frames at the beginning of each video that are not scored. Defaults to 0.
        lpips (str, optional): Channel order in which the benchmark's script gives 8-bit images to LPIPS-Alex, ``'rgb'``
            or ``'bgr'`` (what OpenCV reads; the network was trained on RGB, but the published numbers were taken so).
            Defaults to None: the benchmark has no LPIPS.
    """

    name: str
    frame: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
    description: str
    quantise: bool = True
    mean_over: str = 'videos'
    skip_first: int = 0
    lpips: str | None = None


def _vrds(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    return psnr(restored, gt), ssim(restored, gt)


def _rvsd(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    # pyiqa adds 1e-8 to the mean squared error of images in [0, 1]
    return psnr(restored, gt, eps=1e-8), ssim(_rounded_y(restored), _rounded_y(gt))


def _sfvc(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    return psnr(restored, gt, data_range=1), ssim(restored, gt, data_range=1, padding='zero', single_precision=True)


def _plain(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    return psnr(restored, gt, data_range=1), ssim(restored, gt, data_range=1, window=7, sigma=None)


def _koehler(restored: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    restored, gt = _koehler_crop(restored, gt)
    scale, shift = _koehler_alignment(restored, gt)
    # brightness and shift act on every channel alike, so they act on the luma, a third of the pixels
    restored, gt = _shift(scale * luma(restored), *shift), _only_shifted(luma(gt), *shift)
    return psnr(restored, gt), ssim(restored, gt)


def _rounded_y(image: np.ndarray) -> np.ndarray:
    """Y of YIQ, rounded to whole numbers, as pyiqa computes it.

    One pixel in a thousand lies exactly between two whole numbers, and then single precision decides: the sum is formed
    in float32 from red to blue with fused multiply-adds, which float64 arithmetic rounded at each step reproduces on
    any machine. It matters from the sixth decimal of the SSIM on.
    """
    image = image.astype(np.float32) / np.float32(255)
    y = np.zeros(image.shape[:2], np.float32)
    for channel, weight in enumerate(np.float32((0.299, 0.587, 0.114))):
        y = (image[..., channel].astype(np.float64) * np.float64(weight) + y).astype(np.float32)
    return np.round(y * np.float32(255))


def align_koehler(restored: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Align brightness and position as the benchmarks of Köhler et al. (ECCV 2012) and Su et al. (CVPR 2017) do.

    Deblurring leaves a global shift undetermined, so the best integer shift is taken out before scoring:

    1. portrait images are transposed, and a border of 16 pixels is cut off;
    2. the restored image z is scaled by ``sum(x z) / sum(z z)``, with x the clean one;
    3. it is shifted to the maximum of the circular cross-correlation of the channel means;
    4. what the shift leaves without a counterpart becomes zero in both images.

    Args:
        restored (np.ndarray): RGB ``(H, W, 3)``, values in [0, 255].
        gt (np.ndarray): RGB ``(H, W, 3)``, values in [0, 255].

    Returns:
        tuple[np.ndarray, np.ndarray, tuple[int, int]]: Both images aligned, float64 ``(H - 32, W - 32, 3)``
        (landscape), and the shift ``(rows, columns)`` that was applied to the restored one.

    Raises:
        ValueError: If the shapes differ or nothing is left inside the border.
    """
    z, x = _koehler_crop(restored, gt)
    scale, shift = _koehler_alignment(z, x)
    return _shift(scale * z, *shift), _only_shifted(x, *shift), shift


def _koehler_crop(restored: np.ndarray, gt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both images in landscape without their borders, float64."""
    if restored.shape != gt.shape:
        raise ValueError(f'restored and gt must have the same shape, got {restored.shape} and {gt.shape}')
    if min(gt.shape[:2]) <= 32:
        raise ValueError(f'the koehler protocol cuts off 16 pixels on every side, '
                         f'{gt.shape[1]}x{gt.shape[0]} is too small')
    if gt.shape[0] > gt.shape[1]:
        restored, gt = restored.swapaxes(0, 1), gt.swapaxes(0, 1)
    return tuple(np.ascontiguousarray(image[16:-16, 16:-16], np.float64) for image in (restored, gt))


def _koehler_alignment(z: np.ndarray, x: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The scale and the shift by which z comes nearest to x."""
    energy = np.vdot(z, z)
    scale = float(np.vdot(x, z) / energy) if energy > 0 else 1.0
    mean_x, mean_z = x @ np.full(3, 1 / 3), z @ np.full(3, scale / 3)
    correlation = np.fft.irfft2(np.fft.rfft2(mean_x) * np.conj(np.fft.rfft2(mean_z)), mean_x.shape)
    peak = np.unravel_index(np.argmax(correlation), correlation.shape)
    # indices beyond the middle stand for negative shifts
    rows, columns = (int(index) if index <= size // 2 else int(index) - size
                     for index, size in zip(peak, correlation.shape, strict=True))
    return scale, (rows, columns)


def _only_shifted(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The image with zeros where a shifted one has none of its pixels."""
    height, width = image.shape[:2]
    inside = slice(max(rows, 0), height + min(rows, 0)), slice(max(columns, 0), width + min(columns, 0))
    kept = np.zeros_like(image)
    kept[inside] = image[inside]
    return kept


def _shift(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Translate by whole pixels, with zeros where nothing comes from."""
    height, width = image.shape[:2]
    shifted = np.zeros_like(image)
    shifted[max(rows, 0):height + min(rows, 0), max(columns, 0):width + min(columns, 0)] = \
        image[max(-rows, 0):height + min(-rows, 0), max(-columns, 0):width + min(-columns, 0)]
    return shifted


PROTOCOLS = MappingProxyType({protocol.name: protocol for protocol in (
    Protocol('vrds', _vrds, 'RGB PSNR, SSIM per RGB channel; mean per video, then over videos',
             lpips='bgr'),
    Protocol('rvsd', _rvsd, 'RGB PSNR, SSIM on rounded Y; mean per video, then over videos',
             lpips='rgb'),
    Protocol('sfvc', _sfvc, 'RGB PSNR and zero-padded SSIM of unquantised frames; mean over frames, per view',
             quantise=False, mean_over='frames'),
    Protocol('plain', _plain, 'RGB PSNR and SSIM (7x7 mean window) of unquantised frames; mean over frames',
             quantise=False, mean_over='frames'),
    Protocol('koehler', _koehler, 'luma PSNR and SSIM after alignment; mean over frames, first of each video skipped',
             mean_over='frames', skip_first=1),
)})


def get_protocol(protocol: str | Protocol) -> Protocol:
    """Look a protocol up by name; a :class:`Protocol` is returned as it is.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        raise ValueError(f'unknown metric protocol {protocol!r}: choose one of {", ".join(PROTOCOLS)}')
    return PROTOCOLS[protocol]


def score(restored: np.ndarray, gt: np.ndarray, protocol: str | Protocol) -> dict[str, float]:
    """Score one restored image by a named protocol.

    Args:
        restored (np.ndarray): RGB ``(H, W, 3)``, uint8, or floating point in [0, 1]. Floats are clipped and rounded to
            8 bits where the protocol scores saved images.
        gt (np.ndarray): The clean image, likewise.
        protocol (str | Protocol): ``'vrds'``, ``'rvsd'``, ``'sfvc'``, ``'plain'`` or ``'koehler'``.

    Returns:
        dict[str, float]: ``psnr`` in dB and ``ssim``.

    Raises:
        ValueError: If the images differ in shape or are no RGB images, or the protocol is unknown.

    Examples:
        >>> image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        >>> score(image, image, 'vrds')
        {'psnr': inf, 'ssim': 1.0}
    """
    protocol = get_protocol(protocol)
    for name, image in (('restored', restored), ('gt', gt)):
        if image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f'{name} must be an RGB image of the shape (H, W, 3), got {image.shape}')
    psnr_value, ssim_value = protocol.frame(_prepare(restored, protocol.quantise), _prepare(gt, protocol.quantise))
    return dict(psnr=psnr_value, ssim=ssim_value)


def _prepare(image: np.ndarray, quantise: bool) -> np.ndarray:
    """The image as a protocol wants it: uint8, or float32 in [0, 1]."""
    if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
        raise ValueError(f'images must be uint8 or floating point in [0, 1], got {image.dtype}')
    if quantise:
        return image if image.dtype == np.uint8 else np.round(image.clip(0, 1) * 255).astype(np.uint8)
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
