"""From a sample's dict to what the data loader collates."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmweather.registry import TRANSFORMS
from mmweather.structures import ClipSample

from .base import ClipTransform, clip_items

__all__ = ['PackClip']


@TRANSFORMS.register_module()
class PackClip(ClipTransform):
    """Pack the input frames as a tensor and everything else as a :class:`ClipSample`.

    Tensors stay uint8, channels first and contiguous: a quarter of the bytes of float32 goes from the worker to the
    device, and the data preprocessor scales there.

    Args:
        meta_keys (Sequence[str]): Entries of the sample that become metainfo, where present. Defaults to
            ``('key', 'video', 'names', 'ori_shape', 'domain', 'labelled')``.
    """

    def __init__(
            self, meta_keys: Sequence[str] = ('key', 'video', 'names', 'ori_shape', 'domain', 'labelled')) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack.

        Args:
            results (dict): The sample; ``lq`` must be among its clips.

        Returns:
            dict: ``inputs``, a uint8 tensor ``(T, 3, H, W)``, or ``(T, 2, 3, H, W)`` for stereo, and ``data_samples``,
            a :class:`ClipSample` with every other clip as a field of the same layout.
        """
        tensors = {key: _to_tensor(clip) for key, clip in clip_items(results)}
        inputs = tensors.pop('lq')
        metainfo = {key: results[key] for key in self.meta_keys if key in results}
        return dict(inputs=inputs, data_samples=ClipSample(metainfo=metainfo, **tensors))


def _to_tensor(clip: np.ndarray) -> torch.Tensor:
    # always one copy: views of a crop, a flip or a memory map become the contiguous memory that is handed over
    return torch.from_numpy(np.array(np.moveaxis(clip, -1, -3), order='C'))
