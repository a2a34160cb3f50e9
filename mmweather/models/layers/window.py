"""Means over windows."""
import torch.nn.functional as F


def window_mean(x, radius, stride=1):
    """The mean over the window around each pixel, along one axis after the other; windows end at the borders.

    Args:
        x (Tensor): ``(N, C, H, W)``.
        radius (int): Half the side of a window, its centre not counted.
        stride (int): The mean is taken around every so many pixels. Defaults to 1.

    Returns:
        Tensor: ``(N, C, H / stride, W / stride)``, rounded up.
    """
    for side, step, padding in (((2 * radius + 1, 1), (stride, 1), (radius, 0)),
                                ((1, 2 * radius + 1), (1, stride), (0, radius))):
        x = F.avg_pool2d(x, side, step, padding, count_include_pad=False)
    return x
