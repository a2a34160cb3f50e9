"""A training loop that goes on at once where it was."""
from mmengine.runner import IterBasedTrainLoop

from mmweather.registry import LOOPS


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """MMEngine's iteration-based loop without its way of resuming, which reads every past batch again.

    The sampler (:class:`ResumableSampler`) is told how many batches were drawn and starts there, so a run that was
    stopped at iteration 400,000 goes on in seconds and sees the samples that an uninterrupted run would see.
    """

    def run(self):
        """Trains, from the iteration that was restored if any.

        Returns:
            nn.Module: The trained model.
        """
        if self._iter > 0:
            sampler = self.dataloader.sampler
            if not hasattr(sampler, 'skip_batches'):
                raise TypeError(f'{type(sampler).__name__} cannot resume; use ResumableSampler in train_dataloader')
            sampler.skip_batches(self._iter, self.dataloader.batch_size)
            # The iterator of the constructor has begun at the first sample; its workers end with it.
            self.dataloader_iterator = _AlreadyAdvanced(type(self.dataloader_iterator)(self.dataloader), self._iter)
        return super().run()


class _AlreadyAdvanced:
    """Answers the parent loop's calls to ``next`` for past batches without reading anything."""

    def __init__(self, iterator, past):
        self.iterator = iterator
        self.past = past

    def __next__(self):
        if self.past:
            self.past -= 1
            return None
        return next(self.iterator)
