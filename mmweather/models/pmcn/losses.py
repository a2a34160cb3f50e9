"""What PMCN is trained by here. The authors published no training code: all of this is ours."""
import torch
from torch import nn
from torch.nn import functional as F

from mmweather.registry import MODELS

from ..losses import PerceptualLoss, charbonnier, ssim

#: A pixel counts as seen by the other view if the attention that falls on it adds up to this much, as in PASSRnet.
_SEEN = 0.1

#: A mean squared error of 40 dB: below it nobody sees a difference.
_HARDLY_WRONG = 1e-4

#: Transmission below which 8 bits tell next to nothing of what is behind the haze.
_ARRIVES = 0.05


@MODELS.register_module()
class PMCNLoss(nn.Module):
    """Charbonnier, ``1 - SSIM``, and optional terms, each a mean over both views of a frame.

    - ``loss_pixel``: the Charbonnier distance.
    - ``loss_psnr``: minus the PSNR of each frame, in dB, up to 40 dB: a frame in light haze, where little is wrong,
      then counts as much as one in dense haze (as of HINet, CVPRW 2021).
    - ``loss_ssim``: ``1 - SSIM`` with the window and the zero padding of the protocol ``sfvc``.
    - ``loss_perceptual``: :class:`PerceptualLoss`, in the form that the authors' metrics file holds.
    - ``loss_parallax``: the attention maps have to bring each *clean* view onto the other one, where that one sees it
      (PASSRnet's photometric loss, CVPR 2019). Haze hides what is to be matched; the clean frames of the training
      say where it is.
    - ``loss_disparity``: the cross entropy of the attention maps with the true disparity, where that is known.
    - ``loss_transmission`` and ``loss_airlight``: how far what the head 'scattering' predicts is from what the haze was
      made with, where that is known. Where less than 5 % of the light arrive, nothing tells how much less.

    Args:
        pixel_weight (float): Defaults to 1.0.
        psnr_weight (float): Defaults to 0.0.
        ssim_weight (float): Defaults to 0.1.
        parallax_weight (float): Defaults to 0.0.
        disparity_weight (float): Defaults to 0.0.
        transmission_weight (float): Defaults to 0.0.
        airlight_weight (float): Defaults to 0.0.
        perceptual_weight (float): Defaults to 0.01; of no meaning without ``perceptual_weights``.
        perceptual_weights (str, optional): File of VGG-19's weights as torchvision distributes them
            (``vgg19-dcbb9e9d.pth``). Defaults to None: no perceptual term.
        eps (float): Of the Charbonnier distance. Defaults to 1e-6.
    """

    def __init__(self, pixel_weight=1.0, psnr_weight=0.0, ssim_weight=0.1, parallax_weight=0.0,
                 disparity_weight=0.0, transmission_weight=0.0, airlight_weight=0.0, perceptual_weight=0.01,
                 perceptual_weights=None, eps=1e-6):
        super().__init__()
        self.pixel_weight = pixel_weight
        self.psnr_weight = psnr_weight
        self.ssim_weight = ssim_weight
        self.parallax_weight = parallax_weight
        self.disparity_weight = disparity_weight
        self.transmission_weight = transmission_weight
        self.airlight_weight = airlight_weight
        self.perceptual_weight = perceptual_weight
        self.perceptual = PerceptualLoss(perceptual_weights) if perceptual_weights else None
        self.eps = eps

    def forward(self, prediction, target):
        """Computes the loss of one frame.

        Args:
            prediction (dict): As :meth:`PMCN.step` returns it.
            target (dict[str, Tensor]): ``gt`` ``(N, 2, 3, H, W)`` in [0, 1]; for the terms that need them also
                ``transmission`` ``(N, 2, 1, H, W)``, ``airlight`` ``(N, 2, 3, 1, 1)``, and ``disparity``
                ``(N, 2, 1, H, W)`` in pixels.

        Returns:
            dict[str, Tensor]: The weighted terms whose weight is not 0.
        """
        output, gt = prediction['output'].float().flatten(0, 1), target['gt'].flatten(0, 1)
        losses = dict(loss_pixel=self.pixel_weight * charbonnier(output, gt, self.eps))
        if self.psnr_weight:
            error = (output - gt).square().mean((1, 2, 3))
            losses['loss_psnr'] = self.psnr_weight * 10 * (error + _HARDLY_WRONG).log10().mean()
        if self.ssim_weight:
            losses['loss_ssim'] = self.ssim_weight * (1 - ssim(output, gt))
        if self.parallax_weight:
            losses['loss_parallax'] = self.parallax_weight * parallax_loss(prediction['attention'], target['gt'])
        if self.disparity_weight:
            losses['loss_disparity'] = self.disparity_weight * disparity_loss(prediction['attention'],
                                                                              target['disparity'])
        if self.transmission_weight:
            truth = target['transmission']
            told = truth > _ARRIVES
            difference = (prediction['transmission'] - truth).abs() * told
            losses['loss_transmission'] = self.transmission_weight * difference.sum() / told.sum().clamp(min=1)
        if self.airlight_weight:
            difference = (prediction['airlight'] - target['airlight']).abs()
            losses['loss_airlight'] = self.airlight_weight * difference.mean()
        if self.perceptual is not None and self.perceptual_weight:
            losses['loss_perceptual'] = self.perceptual_weight * self.perceptual(output, gt)
        return losses


def parallax_loss(attention, views):
    """How far each view is from what the attention maps make of the other one.

    Args:
        attention (list[tuple[Tensor, Tensor]]): Maps ``(M_{r→l}, M_{l→r})``, each ``(N, H', windows, W', W')``.
        views (Tensor): Clean views ``(N, 2, 3, H, W)`` in [0, 1].

    Returns:
        Tensor: Mean absolute difference over all maps and all pixels that the other view sees.
    """
    terms = []
    for to_left, to_right in attention:
        _, height, windows, width, _ = to_left.shape
        left, right = (
            F.interpolate(view, (height, windows * width), mode='area').permute(0, 2, 3, 1).unflatten(2, (windows, -1))
            for view in views.unbind(1))
        for onto_this, onto_other, this, other in ((to_left, to_right, left, right), (to_right, to_left, right, left)):
            seen = onto_other.detach().float().sum(-2) > _SEEN
            difference = (onto_this.float() @ other - this).abs().mean(-1)
            terms.append((difference * seen).sum() / seen.sum().clamp(min=1))
    return torch.stack(terms).mean()


def disparity_loss(attention, disparity):
    """Cross entropy of the attention maps with where the true disparity says that they should look.

    A place between two columns is shared by both in proportion.

    Args:
        attention (list[tuple[Tensor, Tensor]]): Maps ``(M_{r→l}, M_{l→r})``, each ``(N, H', windows, W', W')``.
        disparity (Tensor): Of both views ``(N, 2, 1, H, W)`` in pixels; what is at column x on the left is at
            ``x - disparity`` on the right.

    Returns:
        Tensor: Mean over all maps and all cells whose partner is in the same window.
    """
    terms = []
    for maps in attention:
        _, height, windows, width, _ = maps[0].shape
        columns = torch.arange(width, device=disparity.device)
        for view, sign, scores in ((0, -1, maps[0]), (1, 1, maps[1])):
            cells = F.interpolate(disparity[:, view], (height, windows * width), mode='area')[:, 0]
            cells = cells * (windows * width / disparity.shape[-1])
            place = columns + sign * cells.unflatten(-1, (windows, width))
            inside = (place >= 0) & (place <= width - 1)
            lower = place.floor().clamp(0, width - 2)
            share = (place - lower).clamp(0, 1)
            log = scores.float().clamp(min=1e-6).log()
            index = lower.long()[..., None]
            entropy = -((1 - share) * log.gather(-1, index)[..., 0] + share * log.gather(-1, index + 1)[..., 0])
            terms.append((entropy * inside).sum() / inside.sum().clamp(min=1))
    return torch.stack(terms).mean()
