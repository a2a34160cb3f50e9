"""PSNR and SSIM, exact in float64.

What makes published numbers differ (colour space, rounding, borders, alignment, order of means) is not decided here but
in :mod:`mmweather.evaluation.protocols`.
"""
import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

__all__ = ['luma', 'psnr', 'ssim']


def psnr(restored: np.ndarray, gt: np.ndarray, data_range: float = 255.0, eps: float = 0.0) -> float:
    r"""Peak signal-to-noise ratio, :math:`10 \log_{10} (L^2 / (\mathrm{MSE} + \epsilon))`.

    Args:
        restored (np.ndarray): The restored image, of any shape and dtype.
        gt (np.ndarray): The clean image, of the same shape.
        data_range (float): The largest possible value L. Defaults to 255.
        eps (float): Added to the mean squared error of values divided by ``data_range``, as some scripts do to avoid
            the division by zero. Defaults to 0.

    Returns:
        float: dB; infinity for equal images when ``eps`` is 0.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(restored, gt)
    mse = float(np.mean(np.square(restored.astype(np.float64) - gt.astype(np.float64)))) / data_range**2 + eps
    return math.inf if mse == 0 else -10 * math.log10(mse)


def ssim(restored: np.ndarray,
         gt: np.ndarray,
         data_range: float = 255.0,
         padding: str = 'valid',
         window: int = 11,
         sigma: float | None = 1.5,
         single_precision: bool = False) -> float:
    """Structural similarity, mean over all pixels and channels.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", TIP 2004, with K1 = 0.01
    and K2 = 0.03, biased variances and no down-sampling.

    Args:
        restored (np.ndarray): The restored image, ``(H, W)`` or ``(H, W, C)``.
        gt (np.ndarray): The clean image, of the same shape.
        data_range (float): The largest possible value. Defaults to 255.
        padding (str): ``'valid'`` counts only pixels whose window lies inside the image, ``'zero'`` counts all pixels
            of images surrounded by zeros. Defaults to 'valid'.
        window (int): Side of the window in pixels, odd. Defaults to 11.
        sigma (float, optional): Standard deviation of the Gaussian window in pixels; None for a window of equal
            weights and unbiased variances, scikit-image's default. Defaults to 1.5.
        single_precision (bool): Compute in float32 with a plain convolution, as scripts written in PyTorch do. The
            variances are small differences of large numbers, so this moves the result by up to 1e-5; only for
            numbers that are to be compared with those scripts'. Defaults to False.

    Returns:
        float: At most 1.

    Raises:
        ValueError: If the shapes differ, ``padding`` is unknown, or the image is smaller than the window.
    """
    _check_shapes(restored, gt)
    if padding not in ('valid', 'zero'):
        raise ValueError(f"padding must be 'valid' or 'zero', got {padding!r}")
    if padding == 'valid' and min(gt.shape[:2]) < window:
        raise ValueError(f'SSIM needs images of at least {window}x{window} pixels, got {gt.shape[1]}x{gt.shape[0]}')
    dtype = np.float32 if single_precision else np.float64
    x, y = restored.astype(dtype), gt.astype(dtype)
    # normalised by PyTorch: in single precision another order of summation already shows in the sixth decimal
    distance = np.arange(window) - window // 2
    profile = np.ones(window) if sigma is None else np.exp(-distance**2 / (2 * sigma**2))
    kernel = torch.from_numpy(profile.astype(dtype))
    kernel = (kernel / kernel.sum()).numpy()

    def blur(image):
        if single_precision:
            return _convolve(image, kernel)
        return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)

    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + (blur(y * y) - mean_y**2)
    covariance = blur(x * y) - mean_x * mean_y
    if sigma is None:
        variances, covariance = (moment * (window**2 / (window**2 - 1)) for moment in (variances, covariance))
    c1, c2 = (0.01 * data_range)**2, (0.03 * data_range)**2
    quality = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)
               / ((mean_x**2 + mean_y**2 + c1) * (variances + c2)))
    if padding == 'valid':
        rim = window // 2
        quality = quality[rim:-rim, rim:-rim]
    return float(quality.mean(dtype=np.float64))


def luma(image: np.ndarray) -> np.ndarray:
    """Luma of ITU-R BT.601 at full range, 0.299 R + 0.587 G + 0.114 B, unrounded.

    Args:
        image (np.ndarray): RGB ``(H, W, 3)``.

    Returns:
        np.ndarray: float64 ``(H, W)`` in the range of the input.
    """
    return image.astype(np.float64) @ (0.299, 0.587, 0.114)


def _convolve(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Convolve each channel with the outer product of a kernel with itself, in the image's dtype, zeros outside."""
    planes = torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)[None].contiguous()
    weight = torch.from_numpy(np.outer(kernel, kernel)).expand(planes.shape[1], 1, -1, -1).contiguous()
    blurred = F.conv2d(planes, weight, padding=len(kernel) // 2, groups=planes.shape[1])
    return blurred[0].permute(1, 2, 0).numpy().reshape(image.shape)


def _check_shapes(restored: np.ndarray, gt: np.ndarray) -> None:
    if restored.shape != gt.shape:
        raise ValueError(f'restored and gt must have the same shape, got {restored.shape} and {gt.shape}')
