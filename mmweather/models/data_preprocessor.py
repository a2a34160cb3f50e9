"""From the uint8 clips that workers hand over to floats in [0, 1] on the device."""
import torch
from mmengine.model import BaseDataPreprocessor

from mmweather.registry import MODELS


@MODELS.register_module()
class ClipDataPreprocessor(BaseDataPreprocessor):
    """Stacks clips into a batch, moves them to the device as uint8 and scales them there.

    A clip crosses to the device at a quarter of the bytes that floats would take, and the workers do no arithmetic.

    Args:
        non_blocking (bool): Copy to the device while the host goes on. Defaults to True.
    """

    def __init__(self, non_blocking=True):
        super().__init__(non_blocking=non_blocking)

    def forward(self, data, training=False):
        """Prepares one batch.

        Args:
            data (dict): ``inputs``, a list of uint8 clips ``(T, 3, H, W)`` or an already stacked tensor, and
                ``data_samples``, a list of :class:`ClipSample`.
            training (bool): Whether targets are stacked and scaled too; at test time they stay as they are, on
                the CPU, where the metrics want them. Defaults to False.

        Returns:
            dict: ``inputs``: ``(N, T, 3, H, W)`` in [0, 1] when training. At test time the clips stay uint8 and on
            the CPU, as a list: a whole video may be larger than the device, and windows are moved one by one.
            ``data_samples``: the samples; in training a dict of stacked targets ``(N, T, C, H, W)`` in [0, 1].
        """
        if not training:
            inputs = data['inputs']
            return dict(inputs=list(inputs), data_samples=data.get('data_samples'))
        targets = {}
        for name in data['data_samples'][0].keys():
            targets[name] = self._scale([sample.get(name) for sample in data['data_samples']])
        return dict(inputs=self._scale(data['inputs']), data_samples=targets)

    def _scale(self, clips):
        stacked = torch.stack(list(clips)) if isinstance(clips, (list, tuple)) else clips
        stacked = stacked.to(self.device, non_blocking=self._non_blocking)
        return stacked.float().div_(255) if stacked.dtype == torch.uint8 else stacked
