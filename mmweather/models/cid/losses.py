"""The training objectives of CID.

The authors' weights and schedule are not public. The supervised terms are those of their group's published training of
a sibling network (CGID, TCSVT 2024); the priors on unlabelled photographs are ours.
"""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.errors import UserError
from mmweather.registry import MODELS

from ..checkpoint import read_state_dict

#: Side of SSIM's window, and weights of the scales of MS-SSIM (Wang et al., Asilomar 2003).
_WINDOW = 11
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


@MODELS.register_module()
class CIDLoss(nn.Module):
    """Weighted error per sample, plain error, MS-SSIM, and a contrastive term where VGG-19 weights are at hand.

    ``Σ_i w_i mean|Ĵ_i - G_i| / n``, ``mean|Ĵ - G|``, ``1 - (MS-SSIM(Ĵ, G) + 1) / 2``, and the contrast of
    :class:`ContrastiveLoss`, each times its weight; a weight of 0 leaves the term out.

    Args:
        sample_weight (float): Of the error that is weighted by sample. Defaults to 1.0.
        pixel_weight (float): Of the plain error. Defaults to 1.0.
        error (str): The error of a sample: ``'l1'``, as published, or ``'psnr'``, ours for small networks,
            ``ln(MSE + 1e-4) / 20``, which is its PSNR negated and scaled: dark domains, whose errors are large, do not
            drown the light haze, whose errors are small. Defaults to ``'l1'``.
        ssim_weight (float): Of MS-SSIM. Defaults to 0.5.
        contrast_weight (float): Of the contrastive term. Defaults to 0.04.
        vgg_checkpoint (str, optional): ImageNet weights of VGG-19, as torchvision's ``vgg19-dcbb9e9d.pth``; nothing is
            ever downloaded. Defaults to None: the contrastive term is left out.
    """

    def __init__(self, sample_weight=1.0, pixel_weight=1.0, ssim_weight=0.5, contrast_weight=0.04,
                 vgg_checkpoint=None, error='l1'):
        super().__init__()
        if error not in ('l1', 'psnr'):
            raise ValueError(f"error: expected 'l1' or 'psnr', got {error!r}")
        self.error = error
        self.sample_weight = sample_weight
        self.pixel_weight = pixel_weight
        self.ssim_weight = ssim_weight
        self.contrast_weight = contrast_weight
        self.contrast = ContrastiveLoss(vgg_checkpoint) if contrast_weight and vgg_checkpoint else None

    def forward(self, output, gt, hazy, weights=None):
        """Compares frames with their ground truth.

        Args:
            output (Tensor): Restored frames ``(N, 3, H, W)``.
            gt (Tensor): Clear frames of the same shape, in [0, 1].
            hazy (Tensor): The frames as they came, for the contrastive term.
            weights (Tensor, optional): One per sample ``(N,)`` with a mean of 1. Defaults to None: all 1.

        Returns:
            dict[str, Tensor]: The weighted terms.
        """
        output = output.float()
        difference = output - gt
        if self.error == 'psnr':
            each = (difference.square().mean((1, 2, 3)) + 1e-4).log() / 20
        else:
            each = difference.abs().mean((1, 2, 3))
        losses = {}
        if self.sample_weight:
            losses['loss_weighted'] = self.sample_weight * (each if weights is None else weights * each).mean()
        if self.pixel_weight:
            losses[f'loss_{self.error}'] = self.pixel_weight * each.mean()
        if self.ssim_weight:
            losses['loss_ssim'] = self.ssim_weight * (1 - (ms_ssim(output, gt) + 1) / 2)
        if self.contrast is not None:
            losses['loss_contrast'] = self.contrast_weight * self.contrast(output, gt, hazy)
        return losses


class ContrastiveLoss(nn.Module):
    """Near to the clear image and far from the hazy one in the features of VGG-19 (AECR-Net, CVPR 2021).

    ``Σ_l w_l |φ_l(Ĵ) - φ_l(G)| / (|φ_l(Ĵ) - φ_l(I)| + 1e-6)`` over the first activation of each of VGG's five stages,
    with w = 1/32, 1/16, 1/8, 1/4, 1.

    Args:
        checkpoint (str): Weights of VGG-19 in torchvision's layout; not unpickled.

    Raises:
        UserError: If they cannot be read or do not fit.
    """

    _WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
    #: Channels of the convolutions of each stage, cut after the first one of the last.
    _STAGES = ((64, 64), (128, 128), (256, ) * 4, (512, ) * 4, (512, ))

    def __init__(self, checkpoint):
        super().__init__()
        features, channels = [], 3
        self._taps = []
        for stage in self._STAGES:
            for index, width in enumerate(stage):
                features += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
                if not index:
                    self._taps.append(len(features) - 1)
            features.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*features[:-1])
        state = read_state_dict(checkpoint)
        own = self.state_dict()
        wrong = [key for key in own if key not in state or state[key].shape != own[key].shape]
        if wrong:
            raise UserError(f'{checkpoint}: does not fit VGG-19 (for example {wrong[0]}); give torchvision\'s vgg19 or '
                            'leave vgg_checkpoint out')
        self.load_state_dict({key: state[key] for key in own})
        self.requires_grad_(False)

    def forward(self, output, gt, hazy):
        """Compares frames ``(N, 3, H, W)``; returns a scalar."""
        loss = 0
        with torch.no_grad():
            near, far = self._activations(gt), self._activations(hazy)
        for weight, activation, wanted, unwanted in zip(self._WEIGHTS, self._activations(output), near, far):
            loss = loss + weight * F.l1_loss(activation, wanted) / (F.l1_loss(activation, unwanted) + 1e-6)
        return loss

    def _activations(self, x):
        activations = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                activations.append(x)
        return activations


def ms_ssim(image, reference):
    """Multi-scale SSIM (Wang et al., Asilomar 2003), the mean over images and channels.

    Windows are Gaussian, 11 pixels wide with a standard deviation of 1.5, without padding. There are as many of the
    five scales as windows fit into the image; their weights then add up to one.

    Args:
        image (Tensor): ``(N, C, H, W)`` with values around [0, 1]; H and W at least 11.
        reference (Tensor): The same shape.

    Returns:
        Tensor: A scalar, at most 1.
    """
    side = min(image.shape[-2:])
    if side < _WINDOW:
        raise ValueError(f'MS-SSIM needs images of at least {_WINDOW} pixels, got {tuple(image.shape[-2:])}')
    count = sum(side >> scale >= _WINDOW for scale in range(len(_SCALES)))
    # Autocast would take the products to half precision, and variances are small differences of large numbers.
    with torch.autocast(image.device.type, enabled=False):
        image, reference = image.float(), reference.float()
        weights = image.new_tensor(_SCALES[:count])
        terms = []
        for scale in range(count):
            structure, luminance = _ssim_maps(image, reference)
            term = structure * luminance if scale == count - 1 else structure
            # a negative correlation has no fractional power
            terms.append(term.mean((1, 2, 3)).clamp(min=1e-4))
            image, reference = F.avg_pool2d(image, 2), F.avg_pool2d(reference, 2)
        return (torch.stack(terms, dim=1)**(weights / weights.sum())).prod(dim=1).mean()


def _ssim_maps(image, reference):
    means = _blur(torch.cat([image, reference, image * image, reference * reference, image * reference]))
    first, second, first_square, second_square, product = means.chunk(5)
    mean_product, mean_squares = first * second, first * first + second * second
    structure = (2 * (product - mean_product) + 0.03**2) / (first_square + second_square - mean_squares + 0.03**2)
    return structure, (2 * mean_product + 0.01**2) / (mean_squares + 0.01**2)


def _blur(x):
    # as two matrix products, in a fraction of the time of a convolution with one channel
    rows, columns = (_blur_matrix(length, x) for length in x.shape[-2:])
    return rows.T @ x @ columns


def _blur_matrix(length, like):
    """The Gaussian blur along one side without padding, ``(length, length - 10)``."""
    distance = torch.arange(length, device=like.device)[:, None] - torch.arange(
        length - _WINDOW + 1, device=like.device) - _WINDOW // 2
    profile = torch.exp(-distance.to(like.dtype).square() / (2 * 1.5**2)) * (distance.abs() <= _WINDOW // 2)
    return profile / profile.sum(0)


def dark_channel_prior(images, patch=15):
    """The mean dark channel: the least of all channels in a square around every pixel (He et al., CVPR 2009).

    In clear images of the open air it is near zero, and haze raises it.

    Args:
        images (Tensor): ``(N, 3, H, W)`` around [0, 1].
        patch (int): Side of the square, odd. Defaults to 15.

    Returns:
        Tensor: A scalar; what is below zero counts as that far away from it.
    """
    darkest = -F.max_pool2d(-images.amin(1, keepdim=True), patch, stride=1, padding=patch // 2)
    return darkest.abs().mean()


def total_variation(images):
    """The mean absolute difference of neighbouring pixels, down and across.

    Args:
        images (Tensor): ``(N, C, H, W)``.

    Returns:
        Tensor: A scalar.
    """
    down, across = images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]
    return down.abs().mean() + across.abs().mean()
