"""The training objective of SVDNet. The contrastive term is the paper's by name; the rest and all weights are ours."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..layers import flow_warp
from ..losses import PerceptualLoss, charbonnier
from .contrastive import SnowContrastiveLoss
from .physics import compose


@MODELS.register_module()
class SVDLoss(nn.Module):
    """Restored frames, contrast to snow, physics, and motion.

    ::

        L = Charb(J, G) + w1 L_contrast + w2 mean|G T + A (1 - T) + S - I| + w3 VGG(J, G)
            + w4 (h(T - T*) + h(S - S*) + h(A - A*) + h(a - a*)) + w5 MSE(s, a*) + w6 L_flow

    The terms of w4 and w5 need the true layers (``transmission``, ``snow``, ``airlight``, and ``mask`` for the flakes'
    opacity a and the snow map s), which synthetic data has and RVSD has not; without them they are left out. h is
    Huber's function with its corner at 0.1, and the map's error is squared: flakes are rare, and a mean absolute error
    is least where they are passed over. L_flow compares every clean frame at a quarter of the resolution with its
    neighbours warped onto it.

    Args:
        contrast_weight (float): w1, 0 for none. Defaults to 0.1.
        physical_weight (float): w2. Defaults to 0.1.
        perceptual_weight (float): w3, of no effect without ``vgg19``. Defaults to 0.03.
        layer_weight (float): w4. Defaults to 0.5.
        mask_weight (float): w5. Defaults to 0.5.
        flow_weight (float): w6. Defaults to 0.1.
        eps (float): Of the Charbonnier terms. Defaults to 1e-6.
        contrast (dict, optional): Arguments of :class:`SnowContrastiveLoss`; ``vgg19`` is added.
        vgg19 (str | Path, optional): File of VGG-19's weights as torchvision distributes them, for the contrastive and
            the perceptual term. Defaults to None: neither needs a download.
    """

    def __init__(self, contrast_weight=0.1, physical_weight=0.1, perceptual_weight=0.03, layer_weight=0.5,
                 mask_weight=0.5, flow_weight=0.1, eps=1e-6, contrast=None, vgg19=None):
        super().__init__()
        self.contrast_weight = contrast_weight
        self.physical_weight = physical_weight
        self.perceptual_weight = perceptual_weight
        self.layer_weight = layer_weight
        self.mask_weight = mask_weight
        self.flow_weight = flow_weight
        self.eps = eps
        self.contrast = SnowContrastiveLoss(**{'vgg19': vgg19, **(contrast or {})}) if contrast_weight else None
        self.perceptual = PerceptualLoss(vgg19) if vgg19 and perceptual_weight else None

    def forward(self, prediction, target):
        """Computes the weighted terms.

        Args:
            prediction (dict[str, Tensor]): What :meth:`SVDNet.forward` returns.
            target (dict[str, Tensor]): ``gt`` and ``lq`` ``(N, T, 3, H, W)``, and where known ``snow``,
                ``transmission``, ``airlight`` and ``mask``, all in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss_pix``, and of the others those that apply: ``loss_contrast``, ``loss_physical``,
            ``loss_layers``, ``loss_mask``, ``loss_flow``, ``loss_perceptual``.
        """
        output, gt = prediction['output'], target['gt']
        layers = {name: prediction[name] for name in ('snow', 'transmission', 'airlight') if name in prediction}
        losses = dict(loss_pix=charbonnier(output, gt, self.eps))
        if self.contrast is not None:
            losses['loss_contrast'] = self.contrast_weight * self.contrast(output, gt, target['lq'], layers)
        if layers and self.physical_weight:
            losses['loss_physical'] = self.physical_weight * F.l1_loss(compose(gt, **layers), target['lq'])
        if layers and self.layer_weight and 'transmission' in target:
            known = dict(opacity='mask', **{name: name for name in layers})
            losses['loss_layers'] = self.layer_weight * sum(
                F.smooth_l1_loss(prediction[name], target[truth], beta=0.1) for name, truth in known.items())
        if self.mask_weight and 'snow_map' in prediction and 'mask' in target:
            losses['loss_mask'] = self.mask_weight * F.mse_loss(prediction['snow_map'].float(), target['mask'])
        if self.flow_weight and gt.shape[1] > 1:
            losses['loss_flow'] = self.flow_weight * self._photometric(prediction['flows'], gt)
        if self.perceptual is not None:
            losses['loss_perceptual'] = self.perceptual_weight * self.perceptual(
                output.flatten(0, 1), gt.flatten(0, 1))
        return losses

    def _photometric(self, flows, gt):
        """How well flows carry each clean frame's neighbours onto it; what they carry in from outside is no fault."""
        frames = F.avg_pool2d(gt.flatten(0, 1), 4).unflatten(0, gt.shape[:2])
        earlier, later = frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)
        warped = flow_warp(torch.cat((later, earlier)), flows.flatten(0, 2).float(), padding_mode='border')
        return charbonnier(warped, torch.cat((earlier, later)), self.eps)
