"""Fog in photographed stereo pairs, as Foggy Cityscapes was made.

Sakaridis et al., "Semantic Foggy Scene Understanding with Synthetic Data" (IJCV 2018), written anew from its equations:
disparity is completed to dense depth (:mod:`.depth_completion`), transmission follows from the distance along the ray,
``t = exp(-beta d)``, is smoothed by a guided filter with the clear image as its guide, and mixes the image with the
airlight, which the dark channel of the clear image tells: ``I = J t + L (1 - t)``.

For stereo video, where the paper gives no recipe, ours is: the right view's depth is the left one's, seen from there;
one airlight serves both views and all frames of a clip; where no disparity is at hand, semi-global matching makes it.
"""
import json
from dataclasses import dataclass

import cv2
import numpy as np

from mmweather.errors import UserError

from .depth_completion import complete_disparity, warp_to_right
from .haze import ray_length, scatter

__all__ = ['ColorGuidedFilter', 'StereoCamera', 'StereoFog', 'dark_channel', 'decode_disparity', 'estimate_airlight',
           'match_disparity']

# Constants of the paper.
DARK_PATCH, BRIGHTEST = 15, 0.001
GUIDED_WINDOW, GUIDED_EPS = 41, 1e-3


@dataclass(frozen=True)
class StereoCamera:
    """A rectified pair of cameras.

    Args:
        fx (float): Focal length in pixels, horizontally.
        fy (float): Focal length in pixels, vertically.
        cx (float): Column of the principal point; pixel centres have integer coordinates.
        cy (float): Row of the principal point.
        baseline (float): Distance of the cameras in metres.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    baseline: float

    @classmethod
    def read(cls, path):
        """Read one of Cityscapes' camera files.

        Args:
            path (str or Path): ``..._camera.json``.

        Returns:
            StereoCamera: The camera.

        Raises:
            UserError: If the file cannot be read or is no camera file.
        """
        try:
            with open(path, encoding='utf-8') as file:
                content = json.load(file)
            inner = content['intrinsic']
            camera = cls(*(float(inner[name]) for name in ('fx', 'fy', 'u0', 'v0')),
                         float(content['extrinsic']['baseline']))
        except OSError as error:
            raise UserError(f'{path} cannot be read ({error.strerror}): restore it from the archive '
                            '"camera"') from error
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f'{path} is no camera file of Cityscapes ({error!r}): restore it from the archive '
                            '"camera"') from error
        if not (camera.fx > 0 and camera.fy > 0 and camera.baseline > 0):
            raise UserError(f'{path}: focal length and baseline must be positive: restore it from the archive "camera"')
        return camera

    @property
    def intrinsics(self):
        """dict: ``fx``, ``fy``, ``cx``, ``cy``, as scenes have them."""
        return {'fx': self.fx, 'fy': self.fy, 'cx': self.cx, 'cy': self.cy}

    @property
    def depth_unit(self):
        """float: ``fx * baseline``; depth is this over disparity, and the other way round."""
        return self.fx * self.baseline


def decode_disparity(values):
    """Cityscapes' 16-bit disparity in pixels: ``(value - 1) / 256``, and 0 is unknown.

    Args:
        values (numpy.ndarray): uint16 ``(H, W)``.

    Returns:
        numpy.ndarray: float32 ``(H, W)``; NaN where unknown, 0 where infinitely far away.

    Raises:
        ValueError: If the values are not 16-bit.
    """
    if values.dtype != np.uint16 or values.ndim != 2:
        raise ValueError(f'Cityscapes stores disparity as 16-bit gray, not {values.dtype} {values.shape}')
    return np.where(values > 0, (values.astype(np.float32) - 1) / 256, np.float32(np.nan))


def match_disparity(left, right, max_disparity=None):
    """Disparity of the left view by semi-global matching (Hirschmueller, TPAMI 2008) as OpenCV has it.

    Args:
        left (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        right (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        max_disparity (int, optional): Pixels, a multiple of 16; None for a sixteenth of the width, which is 3.7 m with
            Cityscapes' cameras. Defaults to None.

    Returns:
        numpy.ndarray: float32 ``(H, W)``, pixels; NaN where views or neighbours disagree, 0 where infinitely far away.
    """
    reach = max_disparity or max(16, -(-left.shape[1] // 256) * 16)
    block = 5
    # without the margin nothing would be known in the left `reach` columns
    views = [cv2.copyMakeBorder(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), 0, 0, reach, 0, cv2.BORDER_REPLICATE)
             for view in (left, right)]
    matcher = cv2.StereoSGBM_create(
        minDisparity=0, numDisparities=reach, blockSize=block, P1=8 * block**2, P2=32 * block**2, disp12MaxDiff=1,
        uniquenessRatio=10, speckleWindowSize=100, speckleRange=2, mode=cv2.STEREO_SGBM_MODE_SGBM)
    disparity = matcher.compute(*views)[:, reach:].astype(np.float32) / 16
    return np.where(disparity >= 0, disparity, np.float32(np.nan))


def dark_channel(image, patch=DARK_PATCH):
    """The least of all colour channels in the neighbourhood of each pixel (He et al., CVPR 2009).

    Args:
        image (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        patch (int): Side of the neighbourhood. Defaults to 15.

    Returns:
        numpy.ndarray: uint8 ``(H, W)``.
    """
    return cv2.erode(image.min(axis=2), np.ones((patch, patch), np.uint8))


def estimate_airlight(image):
    """The colour of the light in an image: that of the median of the thousandth with the brightest dark channel.

    Args:
        image (numpy.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        numpy.ndarray: float32 ``(3,)``, RGB in [0, 1]; a colour that occurs in the image.
    """
    dark = dark_channel(image).ravel()
    count = max(1, round(BRIGHTEST * dark.size))
    brightest = np.argpartition(dark, -count)[-count:]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).ravel()[brightest]
    median = brightest[np.argsort(gray, kind='stable')[count // 2]]
    return image.reshape(-1, 3)[median].astype(np.float32) / 255


class ColorGuidedFilter:
    """Edge-preserving smoothing by a local linear model of a colour image (He et al., TPAMI 2013).

    What depends on the guide alone is computed once, for any number of images.

    Args:
        guide (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        window (int): Side of the window in pixels, odd. Defaults to 41.
        eps (float): Variance, for values in [0, 1], below which the guide counts as flat. Defaults to 1e-3.
    """

    def __init__(self, guide, window=GUIDED_WINDOW, eps=GUIDED_EPS):
        self._window = (window, window)
        self._guide = guide.astype(np.float32) / 255
        self._mean = self._blur(self._guide)
        # the covariance of the channels, symmetric, in the order rr, rg, rb, gg, gb, bb
        pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
        rr, rg, rb, gg, gb, bb = (
            self._blur(self._guide[..., i] * self._guide[..., j]) - self._mean[..., i] * self._mean[..., j]
            + np.float32(eps if i == j else 0) for i, j in pairs)
        # its inverse, by cofactors
        cofactors = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb, rr * bb - rb * rb, rb * rg - rr * gb,
                     rr * gg - rg * rg)
        determinant = rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]
        rr, rg, rb, gg, gb, bb = (cofactor / determinant for cofactor in cofactors)
        self._inverse = ((rr, rg, rb), (rg, gg, gb), (rb, gb, bb))

    def _blur(self, image):
        return cv2.blur(image, self._window, borderType=cv2.BORDER_REFLECT)

    def __call__(self, image):
        """Smooth an image.

        Args:
            image (numpy.ndarray): float32 ``(H, W)``.

        Returns:
            numpy.ndarray: float32 ``(H, W)``.
        """
        mean = self._blur(image)
        covariance = [self._blur(self._guide[..., i] * image) - self._mean[..., i] * mean for i in range(3)]
        offset = mean.copy()
        smooth = np.zeros_like(mean)
        for i, row in enumerate(self._inverse):
            slope = row[0] * covariance[0] + row[1] * covariance[1] + row[2] * covariance[2]
            offset -= slope * self._mean[..., i]
            smooth += self._blur(slope) * self._guide[..., i]
        smooth += self._blur(offset)
        return smooth


class StereoFog:
    """Fog of any density and colour over one stereo pair; what all densities share is computed once.

    Args:
        left (numpy.ndarray): Clear left view, uint8 RGB ``(H, W, 3)``.
        right (numpy.ndarray): Clear right view, uint8 RGB ``(H, W, 3)``.
        camera (StereoCamera): The cameras.
        disparity (numpy.ndarray, optional): Disparity of the left view, float32 ``(H, W)`` in pixels, NaN where
            unknown; None for semi-global matching. Defaults to None.
        seed (int): Seed of the depth completion. Defaults to 0.

    Attributes:
        depth (tuple[numpy.ndarray, numpy.ndarray]): z-depth of both views, float32 ``(H, W)``, metres.

    Raises:
        ValueError: If the views or the disparity have different sizes.
        UserError: If nothing matches in the two views.
    """

    def __init__(self, left, right, camera, disparity=None, seed=0):
        if left.shape != right.shape:
            raise ValueError(f'the views have the shapes {left.shape} and {right.shape}, which must be the same')
        if disparity is None:
            disparity = match_disparity(left, right)
        if disparity.shape != left.shape[:2]:
            raise ValueError(f'the disparity has the shape {disparity.shape}, the views have {left.shape[:2]}')
        if not np.isfinite(disparity).any():
            raise UserError('no disparity is known in a pair of views: check that they are left and right of one '
                            'moment')
        dense = complete_disparity(disparity, left, right, camera.depth_unit, seed)
        self.views = (left, right)
        self.depth = tuple((camera.depth_unit / view).astype(np.float32) for view in (dense, warp_to_right(dense)))
        self._distance = [ray_length(depth, camera.intrinsics) for depth in self.depth]
        self._filters = [ColorGuidedFilter(view) for view in self.views]

    def transmission(self, beta):
        """The smoothed transmission of both views.

        Args:
            beta (float): Extinction coefficient in 1/m.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: Left and right, float32 ``(H, W)`` in [0, 1].
        """
        return self.smooth(*(np.exp(np.float32(-beta) * distance) for distance in self._distance))

    def smooth(self, left, right):
        """Smooth transmission, each view's by its clear image, so that its edges are theirs.

        Args:
            left (numpy.ndarray): Transmission of the left view, float32 ``(H, W)``.
            right (numpy.ndarray): Of the right view.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: Left and right, float32 ``(H, W)`` in [0, 1].
        """
        return tuple(np.clip(smooth(view), 0, 1) for smooth, view in zip(self._filters, (left, right)))

    def __call__(self, beta, airlight):
        """Lay fog over the pair.

        Args:
            beta (float): Extinction coefficient in 1/m.
            airlight (Sequence[float]): RGB in [0, 1], such as :func:`estimate_airlight` finds it.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: Left and right, uint8 RGB ``(H, W, 3)``.
        """
        return tuple(scatter(view, transmission, airlight)
                     for view, transmission in zip(self.views, self.transmission(beta)))
