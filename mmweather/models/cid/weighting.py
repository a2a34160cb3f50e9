"""Weights of training samples that decorrelate the features (StableNet: Zhang et al., CVPR 2021).

Where the training data let two features occur together that have nothing to do with each other, a network leans on
the one for the other. Samples are weighted so that under the weights the features depend on each other as little as
possible, measured by the covariance of random Fourier features (RFF), which sees more than linear dependence.
"""
import math

import torch
from mmengine.dist import all_gather, get_dist_info
from torch import nn


def random_fourier_features(features, frequencies, phases):
    """Maps each feature to random cosines of itself.

    ``m = ω z + φ`` is rescaled, for every sample over its features, to [0, π/2]; the result is
    ``√(2 / F) (cos m + sin m)``, F the number of frequencies.

    Args:
        features (Tensor): ``(n, d)``.
        frequencies (Tensor): ``(..., F)``, standard normal.
        phases (Tensor): ``(..., d, F)``, uniform in [0, 2π).

    Returns:
        Tensor: ``(..., F, n, d)``.
    """
    angles = features * frequencies[..., None, None] + phases.transpose(-1, -2).unsqueeze(-2)
    low, high = angles.aminmax(dim=-1, keepdim=True)
    angles = (angles - low) / (high - low).clamp(min=1e-12) * (math.pi / 2)
    # cos m + sin m = √2 sin(m + π/4): one transcendental function instead of two
    return math.sqrt(2 / frequencies.shape[-1]) * math.sqrt(2) * torch.sin(angles + math.pi / 4)


def dependence(features, weights):
    """How much the features depend on each other: the squared weighted covariances of all pairs, summed.

    ``Σ_f Σ_{r≠s} Cov_p(z_r, z_s)²`` with ``Cov_p = Σ_i p_i z_i z_iᵀ - μ_p μ_pᵀ``. It is computed from the n x n
    products of samples instead of the d x d covariances, since batches are far smaller than features are many:
    ``‖ZᵀPZ‖² = tr(KPKP)`` with ``K = ZZᵀ`` and ``P = diag(p) - ppᵀ``.

    Args:
        features (Tensor): ``(F, n, d)``, as from :func:`random_fourier_features`.
        weights (Tensor): p, ``(n,)``, summing to 1.

    Returns:
        Tensor: A scalar.
    """
    return _dependence(*_products(features), weights)


def _products(features):
    """What :func:`dependence` needs of the features whatever the weights are."""
    # Covariance does not mind the shift, but the precision of the products does.
    centred = features - features.mean(-2, keepdim=True)
    return centred, centred @ centred.transpose(-1, -2)


def _dependence(centred, products, weights):
    weighted = products @ weights
    norm = (weights @ products.square() @ weights - 2 * (weighted.square() @ weights)
            + (weighted @ weights).square())
    variances = weights @ centred.square() - (weights @ centred).square()
    return (norm - variances.square().sum(-1)).sum()


class SampleWeighting(nn.Module):
    """Learns a weight for each sample of a batch, and remembers features and weights of the batches before.

    The inner problem: raw weights begin at one and are found by gradient descent (momentum 0.9, the rate a tenth after
    half of the steps) on ``dependence / λ + Σ p²``, where p is the softmax of the raw weights, over batch and memory
    for the first term and over the batch for the second; new RFF are drawn at every step. The memory follows the
    batches by a cumulative mean at first and an exponential one later.

    All ranks of a distributed training solve the same problem over the batches of all of them.

    Args:
        channels (int): Features per sample.
        memory (int): Samples in memory; as many as a batch has, over all ranks. Defaults to 32.
        steps (int): Steps of the inner problem. Defaults to 20.
        lr (float): Its first rate. Defaults to 1.0.
        frequencies (int): RFF per feature. Defaults to 1.
        penalty (float): λ. Defaults to 70.0.
        decay (float): λ is multiplied by this every ``decay_interval`` batches, down to a hundredth. Defaults to 1.0.
        decay_interval (int): Five epochs as published. Defaults to 2825, the sibling network's.
        warm_up (int): Batches of which the memory is the cumulative mean. Defaults to 10.
        momentum (float): What the memory keeps from then on. Defaults to 0.9.
    """

    def __init__(self, channels, memory=32, steps=20, lr=1.0, frequencies=1, penalty=70.0, decay=1.0,
                 decay_interval=2825, warm_up=10, momentum=0.9):
        super().__init__()
        self.steps = steps
        self.lr = lr
        self.frequencies = frequencies
        self.penalty = penalty
        self.decay = decay
        self.decay_interval = decay_interval
        self.warm_up = warm_up
        self.momentum = momentum
        self.register_buffer('memory_features', torch.zeros(memory, channels))
        self.register_buffer('memory_weights', torch.ones(memory))
        self.register_buffer('batches', torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, features):
        """Weighs the samples of a batch and remembers them.

        Args:
            features (Tensor): ``(n, d)``, n the same on all ranks.

        Returns:
            Tensor: A weight for each sample ``(n,)``, float32, positive; over all ranks their mean is 1.
        """
        features = features.detach().float()
        rank, _ = get_dist_info()
        everyone = torch.cat(all_gather(features.contiguous()))
        raw = self._solve(everyone)
        self._remember(everyone, raw)
        weights = torch.softmax(raw, dim=0) * len(everyone)
        return weights[rank * len(features):][:len(features)]

    def _solve(self, features):
        count = len(features)
        together = torch.cat([features, self.memory_features])
        # By number of the batch, so that ranks and resumed trainings agree.
        generator = torch.Generator().manual_seed(int(self.batches))
        frequencies = torch.randn(self.steps, self.frequencies, generator=generator)
        phases = 2 * math.pi * torch.rand(self.steps, features.shape[1], self.frequencies, generator=generator)
        centred, products = _products(
            random_fourier_features(together, frequencies.to(features), phases.to(features)))
        penalty = self.penalty * max(self.decay**(int(self.batches) // self.decay_interval), 0.01)
        raw, velocity = torch.ones(count, device=features.device), 0
        for step in range(self.steps):
            with torch.enable_grad():
                raw.requires_grad_()
                objective = (_dependence(centred[step], products[step],
                                         torch.softmax(torch.cat([raw, self.memory_weights]), dim=0)) / penalty
                             + torch.softmax(raw, dim=0).square().sum())
            gradient, = torch.autograd.grad(objective, raw)
            velocity = 0.9 * velocity + gradient
            raw = raw.detach() - (self.lr if step < self.steps // 2 else 0.1 * self.lr) * velocity
        return raw

    def _remember(self, features, raw):
        done = int(self.batches)
        keep = done / (done + 1) if done < self.warm_up else self.momentum
        count = min(len(features), len(self.memory_features))
        self.memory_features[:count].lerp_(features[:count], 1 - keep)
        self.memory_weights[:count].lerp_(raw[:count], 1 - keep)
        self.batches += 1
