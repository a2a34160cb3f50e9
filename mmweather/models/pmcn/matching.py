"""Matches the views of a stereo frame by correlation, with nothing to learn (ours)."""
import torch
from torch.nn import functional as F

from ..layers import window_mean

#: Disparities that are tried, in pixels. What is nearer than the largest one has hardly any haze before it.
DISPARITIES = 32

#: Half the side of the windows that are compared.
_RADIUS = 3

#: How sharply the best disparities are preferred: a mean of them all would lie in between.
_SHARPNESS = 30.0

#: Variance of a window, of values in [0, 1], below which there is nothing in it to be matched.
_FLAT = 1e-5


def match_views(left, right, stride=1):
    """How far away in its row each view finds in the other one what it sees.

    The views are compared by normalised cross-correlation of windows, to which haze makes no difference as long as it
    is even across a window.

    Args:
        left (Tensor): ``(N, 3, H, W)`` in [0, 1].
        right (Tensor): The other view, of the same shape.
        stride (int): Disparities are found for every so many pixels, precise to less than one. Defaults to 1.

    Returns:
        Tensor: ``(2N, 3, H / stride, W / stride)``, the left views before the right ones: the correlation, how sure the
        match is, up to about 1; and times that the disparity d in units of :data:`DISPARITIES` pixels, and
        ``1 / (1 + d)``, which grows with the distance.
    """
    left, right = (_normalised(view.float().mean(1, keepdim=True)) for view in (left, right))
    # What is at column x on the left is at x - d on the right. Disparities are the channels, and those come last: the
    # means over windows are quickest so.
    to_right = F.pad(right, (DISPARITIES - 1, 0)).unfold(-1, DISPARITIES, 1).flip(-1)
    to_left = F.pad(left, (0, DISPARITIES - 1)).unfold(-1, DISPARITIES, 1)
    volumes = torch.cat((left[..., None] * to_right, right[..., None] * to_left))[:, 0].permute(0, 3, 1, 2)
    scores = window_mean(volumes, _RADIUS, stride)
    chances = (scores * _SHARPNESS).softmax(1)
    disparity = torch.einsum('ndhw,d->nhw', chances, torch.arange(DISPARITIES, device=left.device).float())[:, None]
    sure = (chances * scores).sum(1, keepdim=True)
    return torch.cat((sure, sure * disparity / DISPARITIES, sure / (1 + disparity)), dim=1)


def _normalised(gray):
    """Each pixel less the mean of its window, over the window's standard deviation."""
    centred = gray - window_mean(gray, _RADIUS)
    return centred * (window_mean(centred.square(), _RADIUS) + _FLAT).rsqrt()
