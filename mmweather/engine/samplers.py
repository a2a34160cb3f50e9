"""A sampler that knows what the n-th sample of a training is."""
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from mmweather.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless, shuffled, distributed sampler whose every draw is a function of the seed and the draw's number.

    It yields pairs (index, draw). The dataset seeds the random decisions of a sample (which frames, which crop) with
    the draw's number, so neither the number of workers nor an interruption changes what is trained on.

    Args:
        dataset (Sized): The dataset.
        shuffle (bool): A new permutation per pass over the dataset. Defaults to True.
        seed (int): Seed of the permutations; the same on all ranks. Defaults to 0.
        round_up (bool): Accepted because MMEngine passes it; an endless sampler has nothing to round.
    """

    def __init__(self, dataset, shuffle=True, seed=0, round_up=True):  # noqa: ARG002
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = seed or 0
        self.rank, self.world_size = get_dist_info()
        self.start = 0

    def skip_batches(self, batches, batch_size):
        """Lets the next iteration begin behind so many batches per rank."""
        self.start = batches * batch_size * self.world_size

    def __iter__(self):
        permutation, epoch = None, None
        draw = self.start + self.rank
        while True:
            if draw // self.size != epoch:
                epoch = draw // self.size
                permutation = self._permutation(epoch)
            yield int(permutation[draw % self.size]), draw
            draw += self.world_size

    def __len__(self):
        """int: Size of the dataset, which is what a pass means."""
        return self.size

    def _permutation(self, epoch):
        if not self.shuffle:
            return range(self.size)
        generator = torch.Generator()
        generator.manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(self.size, generator=generator)
