"""Several datasets as one, by weights."""
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mmweather.registry import DATASETS

from .base import ClipDataset, Draw

__all__ = ['WeightedMixture']


@DATASETS.register_module()
class WeightedMixture:
    """Draws every sample from one of several datasets, whatever their lengths, with given probabilities.

    Which dataset and which of its samples follow from ``seed`` and the number of the draw (see :class:`ClipDataset`),
    so a resumed training sees what an uninterrupted one would have seen. To be trained with, not to be tested with.

    Args:
        datasets (Sequence[dict | ClipDataset]): The datasets.
        weights (Sequence[float], optional): How often each is drawn; their scale does not matter. Defaults to None:
            equally often.
        length (int, optional): What ``len()`` says; a pass means nothing here. Defaults to None: the sum of the
            datasets' lengths.
        seed (int): Seed of the choice. Defaults to 0.
        lazy_init (bool): Prepare the datasets at the first use only. Defaults to False.

    Raises:
        ValueError: If there are no datasets, or the weights do not fit them.

    Examples:
        >>> labelled = dict(type='SyntheticDomains', pipeline=[dict(type='PackClip')])
        >>> real = dict(type='UnlabelledImages', data_root='photographs', pipeline=[dict(type='PackClip')])
        >>> dataset = dict(type='WeightedMixture', datasets=[labelled, real], weights=[3, 1])
    """

    def __init__(self,
                 datasets: Sequence[dict | ClipDataset],
                 weights: Sequence[float] | None = None,
                 length: int | None = None,
                 seed: int = 0,
                 lazy_init: bool = False) -> None:
        weights = np.ones(len(datasets)) if weights is None else np.asarray(weights, np.float64)
        if not len(datasets) or weights.shape != (len(datasets), ) or (weights < 0).any() or not weights.sum() > 0:
            raise ValueError(f'weights must be one number of at least 0 for each of {len(datasets)} datasets, not all '
                             f'0, got {weights.tolist()}')
        self.datasets = [DATASETS.build(dict(dataset, lazy_init=True)) if isinstance(dataset, dict) else dataset
                         for dataset in datasets]
        self.thresholds = np.cumsum(weights / weights.sum())
        self.length = length
        self.seed = seed
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        """dict: The metainfo of all datasets together; where they differ the first one's counts."""
        merged = {}
        for dataset in reversed(self.datasets):
            merged.update(dataset.metainfo)
        return copy.deepcopy(merged)

    def full_init(self) -> None:
        """Prepare all datasets; MMEngine calls this."""
        for dataset in self.datasets:
            dataset.full_init()
        self._fully_initialized = True

    def __len__(self) -> int:
        """int: ``length``, or the sum of the datasets' lengths."""
        return self.length or sum(len(dataset) for dataset in self.datasets)

    def __getitem__(self, idx: int | Draw) -> Any:
        """Draw a sample.

        Args:
            idx (int | tuple[int, int]): The index, which has no meaning here, or ``(index, draw)``.

        Returns:
            dict: The sample of one of the datasets.
        """
        if not self._fully_initialized:
            self.full_init()
        draw = int(idx[1]) if isinstance(idx, (tuple, list)) else torch.randint(2**62, ()).item()
        rng = np.random.default_rng([self.seed, draw])
        number = min(int(np.searchsorted(self.thresholds, rng.random(), side='right')), len(self.datasets) - 1)
        dataset = self.datasets[number]
        return dataset[int(rng.integers(len(dataset))), draw]
