"""Losses for optical flow that need no true flow."""
import torch
from torch import nn

from mmweather.registry import MODELS

from ..layers.warp import flow_warp


@MODELS.register_module()
class PhotometricLoss(nn.Module):
    """Brightness constancy and smoothness, with which flow learns from any video (Yu et al., ECCV-W 2016).

    ::

        L = mean_inside sqrt(|I1 - warp(I2, w)|² + eps) + smoothness mean exp(-edge |grad I1|) |grad w|

    Pixels that the flow leads out of the frame do not count in the first term.

    Args:
        smoothness (float): Weight of the second term. Defaults to 0.02.
        edge (float): How much an edge of the image lets the flow break. Defaults to 10.0.
        eps (float): Squares of differences well below this count as squares. Defaults to 1e-4.
    """

    def __init__(self, smoothness=0.02, edge=10.0, eps=1e-4):
        super().__init__()
        self.smoothness = smoothness
        self.edge = edge
        self.eps = eps

    def forward(self, flow, reference, support):
        """Judges a flow.

        Args:
            flow (Tensor): From ``reference`` to ``support``, ``(N, 2, H, W)`` in pixels, x before y.
            reference (Tensor): Frames ``(N, 3, H, W)`` in [0, 1].
            support (Tensor): Frames of the same shape.

        Returns:
            dict[str, Tensor]: ``loss_photometric`` and ``loss_smoothness``.
        """
        flow = flow.float()
        inside = flow_warp(torch.ones_like(reference[:, :1]), flow) > 0.999
        apart = (flow_warp(support, flow) - reference).square().sum(dim=1, keepdim=True)
        photometric = ((apart + self.eps).sqrt() * inside).sum() / inside.sum().clamp(min=1)
        smooth = sum(
            ((-self.edge * reference.diff(dim=dim).abs().mean(dim=1, keepdim=True)).exp()
             * flow.diff(dim=dim).abs()).mean() for dim in (2, 3))
        return dict(loss_photometric=photometric, loss_smoothness=self.smoothness * smooth)
