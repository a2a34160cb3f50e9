"""Crops, flips and transposition, the same for all frames and keys of a sample."""
from typing import Any

import numpy as np

from mmweather.errors import UserError
from mmweather.registry import TRANSFORMS

from .base import ClipTransform, clip_items

__all__ = ['FlipClip', 'RandomCropClip', 'TransposeClip']

# counted from the end, so that stereo clips (T, 2, H, W, C) are served by the same code
HEIGHT, WIDTH, VIEW = -3, -2, -4


@TRANSFORMS.register_module()
class RandomCropClip(ClipTransform):
    """Cut one window out of all frames of all keys, at a random place.

    Before :class:`LoadFrames` it only chooses the window (``results['window']``), and the rest of each frame is dropped
    as soon as it is decoded; that is the faster order. After it, the arrays are sliced.

    Args:
        size (int | tuple[int, int]): Height and width of the window in pixels; an int means a square.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Crop, or choose the window.

        Args:
            results (dict): The sample.

        Returns:
            dict: The cropped sample, or the sample with its ``window`` ``(top, left, height, width)``.

        Raises:
            UserError: If the frames are smaller than the window.
        """
        clips = clip_items(results)
        full = clips[0][1].shape[HEIGHT:WIDTH + 1] if clips else results['ori_shape']
        height, width = self.size
        if full[0] < height or full[1] < width:
            raise UserError(f'{results["key"]} is {full[1]}x{full[0]}, smaller than the crop of {width}x{height}: '
                            f'lower the crop size or leave the video out')
        rng = results['rng']
        top, left = int(rng.integers(full[0] - height + 1)), int(rng.integers(full[1] - width + 1))
        if not clips:
            results['window'] = (top, left, height, width)
        for key, clip in clips:
            results[key] = clip[..., top:top + height, left:left + width, :]
        return results


@TRANSFORMS.register_module()
class FlipClip(ClipTransform):
    """Mirror all frames of all keys.

    A mirrored stereo pair is only a stereo pair again when left and right change places, so a horizontal flip swaps the
    views of stereo clips.

    Args:
        prob (float): Probability of the flip. Defaults to 0.5.
        direction (str): ``'horizontal'`` exchanges left and right, ``'vertical'`` top and bottom. Defaults to
            'horizontal'.
    """

    def __init__(self, prob: float = 0.5, direction: str = 'horizontal') -> None:
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(f"direction must be 'horizontal' or 'vertical', got {direction!r}")
        self.prob = prob
        self.direction = direction

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flip.

        Args:
            results (dict): The sample.

        Returns:
            dict: The sample, flipped or not.
        """
        if results['rng'].random() < self.prob:
            for key, clip in clip_items(results):
                axes = (HEIGHT,) if self.direction == 'vertical' else (WIDTH, VIEW) if clip.ndim == 5 else (WIDTH,)
                results[key] = np.flip(clip, axes)
        return results


@TRANSFORMS.register_module()
class TransposeClip(ClipTransform):
    """Exchange height and width of all frames of all keys.

    Stereo clips are refused: after a transposition their disparity would run along the columns.

    Args:
        prob (float): Probability of the transposition. Defaults to 0.5.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Transpose.

        Args:
            results (dict): The sample.

        Returns:
            dict: The sample, transposed or not.

        Raises:
            ValueError: If a clip is stereo.
        """
        clips = clip_items(results)
        stereo = [key for key, clip in clips if clip.ndim == 5]
        if stereo:
            raise ValueError(f'TransposeClip would break the epipolar geometry of the stereo clips {", ".join(stereo)}')
        if results['rng'].random() < self.prob:
            for key, clip in clips:
                results[key] = clip.swapaxes(HEIGHT, WIDTH)
        return results
