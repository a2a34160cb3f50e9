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
        pyramid_weight (float): Weight of the same loss on the flow of every level and frames of that level's size,
            relative to the loss proper. Ours, to train from scratch, since LiteFlowNet was trained level by level: a
            level learns nothing before the coarser ones point near the match. Needs frames whose sides are multiples
            of the network's ``size_divisor``. Defaults to 0.0: the published loss.
        draw (int, optional): How many of the mixes each call draws at random, which costs less and has the same mean.
            Defaults to None: all of them.
    """

    def __init__(self, weight=1.0, mixes=('bb', 'bs', 'sb', 'ss'), pyramid_weight=0.0, draw=None):
        super().__init__()
        unknown = set(mixes) - {'bb', 'bs', 'sb', 'ss'}
        if unknown or not mixes:
            raise ValueError(f"mixes: expected some of 'bb', 'bs', 'sb', 'ss', got {mixes!r}")
        self.weight = weight
        self.mixes = tuple(mixes)
        self.pyramid_weight = pyramid_weight
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
            dict[str, Tensor]: ``loss_bim``, and with ``pyramid_weight`` also ``loss_pyramid``.
        """
        drawn = [self.mixes[index] for index in torch.randperm(len(self.mixes))[:self.draw].tolist()]
        if not self.pyramid_weight:
            return dict(loss_bim=self.weight * _mean(self.terms(motion, blurred, sharp, drawn)))
        flows = []

        def finest(current, previous):
            flows.extend(motion.pyramid(current, previous))
            return F.interpolate(flows[-1], size=current.shape[-2:], mode='bilinear', align_corners=False)

        loss = _mean(self.terms(finest, blurred, sharp, drawn))
        levels = [_mean(self._level_terms(flow, sharp, drawn)) for flow in flows]
        return dict(loss_bim=self.weight * loss,
                    loss_pyramid=self.weight * self.pyramid_weight * sum(levels) / len(levels))

    def _level_terms(self, flow, sharp, mixes):
        size = flow.shape[-2:]
        current, previous = (F.interpolate(frame, size=size, mode='area') for frame in sharp)
        scaled = flow * (size[1] / sharp[0].shape[-1])
        return {mix: self._misalignment(part, current, previous) for mix, part in zip(mixes, scaled.chunk(len(mixes)))}

    @staticmethod
    def _misalignment(flow, current, previous):
        with torch.no_grad():
            inside = flow_warp(torch.ones_like(current), flow)
        # A flow that leads out of the frame everywhere has nothing to be judged by.
        return (flow_warp(previous, flow) - current * inside).square().sum() / inside.sum().clamp(min=1)


def _mean(terms):
    return sum(terms.values()) / len(terms)
