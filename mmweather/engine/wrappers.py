"""Model wrappers for distributed training."""
from mmengine.model import MMDistributedDataParallel

from mmweather.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class RecurrentDistributedDataParallel(MMDistributedDataParallel):
    """Distributed training of a :class:`RecurrentRestorer`, whose iteration is many forward passes.

    Gradients are exchanged only where a step of the optimiser follows.
    """

    def train_step(self, data, optim_wrapper):
        """Trains on one batch of clips; see :meth:`RecurrentRestorer.train_step`."""
        return self.module.train_clip(data, optim_wrapper, self, self.no_sync)
