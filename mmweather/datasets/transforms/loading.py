"""Reading the frames that the dataset chose."""
from pathlib import Path
from typing import Any

import numpy as np

from mmweather.datasets.frames import read_frame
from mmweather.errors import UserError
from mmweather.registry import TRANSFORMS

from .base import ClipTransform

__all__ = ['LoadFrames', 'StackViews']


@TRANSFORMS.register_module()
class LoadFrames(ClipTransform):
    """Read the frames of every key.

    Images are decoded by OpenCV. Frames in a cached array (see :mod:`mmweather.datasets.cache`) are mapped into memory
    and not read before a later step touches them, so that a crop costs the bytes of the crop.

    If :class:`RandomCropClip` stands before this step, only its window is kept of each decoded frame.

    Required keys: ``sources``, ``ori_shape``; optional ``window``. Added keys: one uint8 array ``(T, H, W, C)`` for
    each key of ``sources``, RGB or gray.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the frames.

        Args:
            results (dict): The sample.

        Returns:
            dict: The sample with its frames.

        Raises:
            UserError: If a frame is missing, unreadable, or of another size than the first one of ``lq``.
        """
        shape = tuple(results['ori_shape'])
        window = results.pop('window', (0, 0, *shape))
        for key, source in results.pop('sources').items():
            read = self._map if source['path'].endswith('.npy') else self._decode
            results[key] = read(source, shape, window)
        return results

    @staticmethod
    def _decode(source: dict, shape: tuple, window: tuple) -> np.ndarray:
        clip = np.empty((len(source['names']), *window[2:], 1 if source['gray'] else 3), np.uint8)
        for index, name in enumerate(source['names']):
            clip[index] = read_frame(Path(source['path']) / name, source['gray'], window, shape)
        return clip

    @staticmethod
    def _map(source: dict, shape: tuple, window: tuple) -> np.ndarray:
        frames = np.load(source['path'], mmap_mode='r')
        if frames.shape[1:3] != shape:
            raise UserError(f'{source["path"]} holds frames of {frames.shape[2]}x{frames.shape[1]}, but the rainy ones '
                            f'are {shape[1]}x{shape[0]}: delete it and run `mmweather data cache` again')
        indices = source['indices']
        top, left, height, width = window
        if not isinstance(indices, range):
            return np.stack([frames[index, top:top + height, left:left + width] for index in indices])
        return frames[indices.start:indices.stop:indices.step, top:top + height, left:left + width]


@TRANSFORMS.register_module()
class StackViews(ClipTransform):
    """Make stereo clips of the views of a pair: ``lq`` and ``right_lq`` become ``lq``, view 0 left, and so on.

    To stand after :class:`LoadFrames` and before :class:`FlipClip`, which has to swap the views when it mirrors them.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Stack.

        Args:
            results (dict): The sample, with uint8 arrays ``(T, H, W, C)`` under pairs of keys.

        Returns:
            dict: The sample with arrays ``(T, 2, H, W, C)`` under the left views' keys.

        Raises:
            UserError: If the sample has no right view.
        """
        rights = [key for key in results if key.startswith('right_')]
        if not rights:
            raise UserError(f'{results["key"]} has no right view: read it with all keys of the dataset, or take '
                            'StackViews out of the pipeline')
        for key in rights:
            left = key.removeprefix('right_')
            results[left] = np.stack([results[left], results.pop(key)], axis=1)
        return results
