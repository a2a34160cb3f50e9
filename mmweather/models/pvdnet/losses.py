"""The training objectives of PVDNet (ACM TOG 2021)."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..layers import flow_warp
from ..losses import charbonnier


@MODELS.register_module()
class PVDLoss(nn.Module):
    """The mean squared error on the scale [-1, 1], in which the method is published: four times that in [0, 1].

    Args:
        eps (float, optional): Take the Charbonnier loss ``mean sqrt(d² + eps)`` of values in [0, 1] instead. Ours, for
            short trainings: the frames that are blurred most do not outweigh all others. Defaults to None.
    """

    def __init__(self, eps=None):
        super().__init__()
        self.eps = eps

    def forward(self, prediction, target):
        """Computes the loss of one frame.

        Args:
            prediction (dict[str, Tensor]): ``output`` ``(N, 3, H, W)`` in [0, 1].
            target (dict[str, Tensor]): ``gt`` of the same shape, in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss_mse``, or ``loss_charbonnier``.
        """
        output = prediction['output'].float()
        if self.eps is not None:
            return dict(loss_charbonnier=charbonnier(output, target['gt'], self.eps))
        return dict(loss_mse=4 * F.mse_loss(output, target['gt']))


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
        _check_mixes(mixes)
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


@MODELS.register_module()
class EndPointLoss(nn.Module):
    """The distance between estimated and true flow, where the true one is known: for the first steps of BIMNet.

    From scratch, the blur-invariant loss teaches little before the flow points near the match; rendered scenes have
    exact flow, which teaches from the first step on. Each level of the pyramid is compared with the mean of the true
    flow over its pixels, in pixels of the full frame. Ours, as in the supervised training of LiteFlowNet (Hui et al.,
    CVPR 2018); whatever was blurred, the flow between the sharp frames is the target.

    Args:
        weight (float): Weight of the loss. Defaults to 1.0.
        mixes (tuple[str]): Which of the pairs are trained on, see :class:`BlurInvariantLoss`; one is drawn for each
            call. Defaults to all four.
        eps (float): Distances well below this many pixels count as their squares do. Defaults to 0.1.
    """

    def __init__(self, weight=1.0, mixes=('bb', 'bs', 'sb', 'ss'), eps=0.1):
        super().__init__()
        _check_mixes(mixes)
        self.weight = weight
        self.mixes = tuple(mixes)
        self.eps = eps

    def forward(self, motion, blurred, sharp, flow):
        """Computes the mean over levels and pixels.

        Args:
            motion (BIMNet): The network.
            blurred (tuple[Tensor, Tensor]): The current and the previous frame, blurred, ``(N, 3, H, W)`` in [0, 1].
            sharp (tuple[Tensor, Tensor]): The same frames, sharp.
            flow (Tensor): True flow ``(N, 2, H, W)`` from the current to the previous sharp frame in pixels, NaN where
                it is not known.

        Returns:
            dict[str, Tensor]: ``loss_flow``.
        """
        mix = self.mixes[int(torch.randint(len(self.mixes), ()))]
        kinds = dict(b=blurred, s=sharp)
        known = torch.isfinite(flow).all(dim=1, keepdim=True)
        known, flow = known.float(), torch.where(known, flow, 0)
        terms = []
        for found in motion.pyramid(kinds[mix[0]][0], kinds[mix[1]][1]):
            share = F.adaptive_avg_pool2d(known, found.shape[-2:])
            true = F.adaptive_avg_pool2d(flow, found.shape[-2:]) / share.clamp(min=1e-6)
            distance = ((found - true).square().sum(dim=1, keepdim=True) + self.eps**2).sqrt() - self.eps
            terms.append((distance * share).sum() / share.sum().clamp(min=1))
        return dict(loss_flow=self.weight * sum(terms) / len(terms))


def _check_mixes(mixes):
    unknown = set(mixes) - {'bb', 'bs', 'sb', 'ss'}
    if unknown or not mixes:
        raise ValueError(f"mixes: expected some of 'bb', 'bs', 'sb', 'ss', got {mixes!r}")


def _mean(terms):
    return sum(terms.values()) / len(terms)
