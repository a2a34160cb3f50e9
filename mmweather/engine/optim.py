"""Mixed precision wherever it helps."""
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper

from mmweather.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16, on the CPU and the GPU.

    MMEngine's ``AmpOptimWrapper`` refuses the CPU. bfloat16 has the range of float32, so no loss scale is needed and
    none can go wrong.

    Args:
        **kwargs: As for :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model):
        """Runs the forward pass under autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
