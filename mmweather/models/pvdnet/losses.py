"""The training objectives of PVDNet (ACM TOG 2021)."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..layers import flow_warp


@MODELS.register_module()
class PVDLoss(nn.Module):
    """The mean squared error on the scale [-1, 1], in which the method is published: four times that in [0, 1]."""

    def forward(self, prediction, target):
        """Computes the loss of one frame.

        Args:
            prediction (dict[str, Tensor]): ``output`` ``(N, 3, H, W)`` in [0, 1].
            target (dict[str, Tensor]): ``gt`` of the same shape, in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss_mse``.
        """
        return dict(loss_mse=4 * F.mse_loss(prediction['output'].float(), target['gt']))


@MODELS.register_module()
class BlurInvariantLoss(nn.Module):
    """The blur-invariant motion loss (Eq. 1): whatever was blurred, the flow must align the *sharp* frames.

    From the pair of a current and a previous frame four flows are estimated, each frame blurred or sharp, and each
    flow is judged by the sharp pair::

        L^{ab} = Σ (warp(sharp_prev, W^{ab}) - sharp · m)² / Σ m,   L_BIM = (L^{bb} + L^{bs} + L^{sb} + L^{ss}) / 4

    with m the warped image of ones, which counts what the flow leads outside of the frame as nothing. The first letter
    stands for the current frame, the second for the previous one; the published code has ``bs`` and ``sb`` exchanged.

    Args:
        weight (float): Weight of L_BIM. Defaults to 1.0.
        mixes (tuple[str]): Which of the four pairs are trained on; their mean is taken. Defaults to all four.
        draw (int, optional): How many of the mixes each call draws at random, which costs less and has the same mean.
            Defaults to None: all of them.
    """

    def __init__(self, weight=1.0, mixes=('bb', 'bs', 'sb', 'ss'), draw=None):
        super().__init__()
        unknown = set(mixes) - {'bb', 'bs', 'sb', 'ss'}
        if unknown or not mixes:
            raise ValueError(f"mixes: expected some of 'bb', 'bs', 'sb', 'ss', got {mixes!r}")
        self.weight = weight
        self.mixes = tuple(mixes)
        self.draw = draw or len(self.mixes)

    def terms(self, motion, blurred, sharp, mixes=None):
        """Computes the terms of the mixes, unweighted.

        Args:
            motion (Callable): From (current, previous), each ``(N, 3, H, W)`` in [0, 1], to flow ``(N, 2, H, W)``.
            blurred (tuple[Tensor, Tensor]): The current and the previous frame, blurred.
            sharp (tuple[Tensor, Tensor]): The same frames, sharp.
            mixes (Sequence[str], optional): Which. Defaults to None: all that are trained on.

        Returns:
            dict[str, Tensor]: A scalar for each mix.
        """
        mixes = mixes or self.mixes
        kinds = dict(b=blurred, s=sharp)
        flows = motion(torch.cat([kinds[mix[0]][0] for mix in mixes]),
                       torch.cat([kinds[mix[1]][1] for mix in mixes])).chunk(len(mixes))
        return {mix: self._misalignment(flow, *sharp) for mix, flow in zip(mixes, flows)}

    def forward(self, motion, blurred, sharp):
        """Computes the weighted mean of the terms; see :meth:`terms`.

        Returns:
            dict[str, Tensor]: ``loss_bim``.
        """
        drawn = [self.mixes[index] for index in torch.randperm(len(self.mixes))[:self.draw].tolist()]
        terms = self.terms(motion, blurred, sharp, drawn)
        return dict(loss_bim=self.weight * sum(terms.values()) / len(terms))

    @staticmethod
    def _misalignment(flow, current, previous):
        with torch.no_grad():
            inside = flow_warp(torch.ones_like(current), flow)
        return (flow_warp(previous, flow) - current * inside).square().sum() / inside.sum()
