"""Mixed precision wherever it helps, and optimisers of what is trained alone."""
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper

from mmweather.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS


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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, which hands over every parameter, without those that need no gradient.

    A frozen part of a network then has no place in the optimiser at all: no state, no weight decay.
    """

    def __call__(self, model):
        """Builds the wrapper for a model.

        Args:
            model (nn.Module): The model, or what wraps it.

        Returns:
            OptimWrapper: As configured, with the trainable parameters.
        """
        wrapper = super().__call__(model)
        groups = wrapper.optimizer.param_groups
        for group in groups:
            group['params'] = [parameter for parameter in group['params'] if parameter.requires_grad]
        groups[:] = [group for group in groups if group['params']]
        return wrapper
