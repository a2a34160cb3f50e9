"""The training objective of ViMP-Net (ACM MM 2023), with the weights of the authors' published configuration."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..losses import charbonnier


@MODELS.register_module()
class ViMPLoss(nn.Module):
    """Five weighted terms: what the two stages restore, where drops and streaks are, what drops had hidden.

    ::

        L = w1 Charb(stage1, drop) + w2 Charb(output, gt) + w3 BCE(drop_mask, mask)
            + w4 mean|mask (output - gt)| / (mean(mask) + 1e-8) + w5 MSE(streak, streak_gt)

    with ``drop`` the frames that have raindrops but no streaks.

    Args:
        pixel_weight (float): w1. Defaults to 1.0.
        reconstruct_weight (float): w2. Defaults to 1.2.
        mask_weight (float): w3. Defaults to 0.8.
        hole_weight (float): w4. Defaults to 0.5.
        streak_weight (float): w5. Defaults to 0.5.
        eps (float): Of both Charbonnier terms. Larger values forgive small errors and weigh large ones. Defaults to
            1e-12, as published.
    """

    def __init__(self, pixel_weight=1.0, reconstruct_weight=1.2, mask_weight=0.8, hole_weight=0.5, streak_weight=0.5,
                 eps=1e-12):
        super().__init__()
        self.pixel_weight = pixel_weight
        self.reconstruct_weight = reconstruct_weight
        self.mask_weight = mask_weight
        self.hole_weight = hole_weight
        self.streak_weight = streak_weight
        self.eps = eps

    def forward(self, prediction, target):
        """Computes the weighted terms.

        Args:
            prediction (dict[str, Tensor]): What :meth:`ViMPNet.forward` returns.
            target (dict[str, Tensor]): ``gt`` and ``drop`` ``(N, T, 3, H, W)``, ``mask`` and ``streak``
                ``(N, T, 1, H, W)``, all in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss_pix``, ``loss_reconstruct``, ``loss_mask``, ``loss_hole``, ``loss_streak``.
        """
        output, gt, mask = prediction['output'], target['gt'], target['mask']
        # In float32 whatever the autocast: bfloat16 sigmoids reach exactly 1, and cross entropy is not for those.
        drop_mask = prediction['drop_mask'].float()
        with torch.autocast(drop_mask.device.type, enabled=False):
            loss_mask = F.binary_cross_entropy(drop_mask, mask.float())
        return dict(
            loss_pix=self.pixel_weight * charbonnier(prediction['stage1'], target['drop'], self.eps),
            loss_reconstruct=self.reconstruct_weight * charbonnier(output, gt, self.eps),
            loss_mask=self.mask_weight * loss_mask,
            loss_hole=self.hole_weight * (mask * (output - gt)).abs().mean() / (mask.mean() + 1e-8),
            loss_streak=self.streak_weight * F.mse_loss(prediction['streak'], target['streak']))
