"""PSNR and SSIM for each domain of haze."""
from collections.abc import Sequence
from typing import Any

from mmweather.registry import METRICS
from mmweather.synthesis.domains import DOMAINS

from .metric import Numbers, RestorationMetric, summarise

__all__ = ['DomainMetric']


@METRICS.register_module()
class DomainMetric(RestorationMetric):
    """:class:`RestorationMetric` with a mean for each domain, all domains counting the same overall.

    The keys are those of the protocol, such as ``vrds/PSNR`` and ``vrds/input_PSNR`` for the mean over the domains, and
    ``vrds/haze/PSNR`` and so on for the domains that occur. Samples without a domain are put together under
    ``vrds/other/PSNR``.

    Args:
        protocol (str | Protocol): Of the numbers of a frame; a domain's mean is taken over its frames, then over the
            domains, so it must take the mean over videos. Defaults to 'vrds'.
        baseline (bool): Score the network's input beside its output. Defaults to True.
        **kwargs: See :class:`RestorationMetric`.

    Raises:
        ValueError: If the protocol takes its mean over frames.
    """

    def __init__(self, protocol: str = 'vrds', baseline: bool = True, **kwargs) -> None:
        super().__init__(protocol=protocol, baseline=baseline, **kwargs)
        if self.protocol.mean_over != 'videos':
            raise ValueError(f'protocol: expected one that takes the mean over videos, such as vrds, which here are '
                             f'the domains; got {self.protocol.name}')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Score one batch.

        Args:
            data_batch (dict): The batch from the data loader.
            data_samples (Sequence[dict]): As for :class:`RestorationMetric`, with ``domain`` and ``key``.
        """
        renamed = []
        for sample in data_samples:
            domain = sample.get('domain', -1)
            # frames of different images may have one name
            names = [f'{sample["key"]}/{name}' for name in sample['names']]
            renamed.append({**sample, 'video': DOMAINS[domain] if domain >= 0 else 'other', 'names': names})
        super().process(data_batch, renamed)

    def compute_metrics(self, results: list[dict]) -> Numbers:
        """Average, print the table and write the JSON file; called on the main process only.

        Args:
            results (list[dict]): What :meth:`process` collected on all ranks.

        Returns:
            dict[str, float]: The overall numbers and those of each domain.
        """
        numbers = super().compute_metrics(results)
        domains: dict[str, dict[str, Numbers]] = {}
        for result in results:
            domains.setdefault(result['video'], {}).update(result['frames'])
        for domain, entry in summarise(domains, self.protocol)['videos'].items():
            numbers.update({f'{domain}/{name}': value for name, value in entry['mean'].items()})
        return numbers
