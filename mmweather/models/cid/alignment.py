"""Alignment of two domains by the covariance of their features (Deep CORAL: Sun and Saenko, ECCV Workshops 2016)."""
import torch
from mmengine.dist import get_dist_info
from torch import nn


def coral(source, target, standardise=False):
    """The distance of two covariances, ``‖C_s - C_t‖²_F / (4 d²)`` with ``C = (DᵀD - (1ᵀD)ᵀ(1ᵀD) / n) / (n - 1)``.

    That is the published Deep CORAL. (The helper that the authors of CID ship in a sibling repository subtracts
    ``mᵀm`` instead of ``n mᵀm``, m the mean, which is no covariance.) Computed in float32 whatever autocast says. In
    distributed training the statistics are those of the batches of all ranks, with gradients through all of them.

    Args:
        source (Tensor): Features ``(n, d)``.
        target (Tensor): Features ``(m, d)``, m may differ from n.
        standardise (bool): Measure both in standard deviations of the source (without gradient), which makes the
            distance independent of the features' scale. Defaults to False.

    Returns:
        Tensor: A scalar. Zero if there are less than two samples on either side.
    """
    with torch.autocast(source.device.type, enabled=False):
        (of_source, count), (of_target, other) = _covariance(source.float()), _covariance(target.float())
        if min(count, other) < 2:
            return 0 * (source.float().sum() + target.float().sum())
        if standardise:
            scale = of_source.detach().diagonal().clamp(min=1e-8).rsqrt()
            of_source, of_target = (covariance * scale * scale[:, None] for covariance in (of_source, of_target))
        return (of_source - of_target).square().sum() / (4 * source.shape[1]**2)


class CovarianceAlignment(nn.Module):
    """The bounded distance ``1 - exp(-coral)``.

    Args:
        weight (float): Defaults to 1.0.
        standardise (bool): See :func:`coral`. Defaults to False, as published.
    """

    def __init__(self, weight=1.0, standardise=False):
        super().__init__()
        self.weight = weight
        self.standardise = standardise

    def forward(self, source, target):
        """Compares features ``(n, d)`` and ``(m, d)``; returns a scalar in [0, weight]."""
        return self.weight * (1 - torch.exp(-coral(source, target, self.standardise)))


def _covariance(features):
    """Covariance over the samples of all ranks, and how many there are."""
    count = _summed(features.new_tensor(float(len(features))))
    mean = _summed(features.sum(0)) / count.clamp(min=1)
    centred = features - mean
    return _summed(centred.T @ centred) / (count - 1).clamp(min=1), int(count)


def _summed(value):
    if get_dist_info()[1] == 1:
        return value
    from torch.distributed.nn.functional import all_reduce
    return all_reduce(value)
