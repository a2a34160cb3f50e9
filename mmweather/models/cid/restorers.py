"""The three phases of training: semi-supervised, supervised with learned sample weights, and adaptation.

In the order of the later one of the two published descriptions (RSR): the encoder is pre-trained on labelled synthetic
and unlabelled real images and is frozen from then on; the network is trained under supervision; it is adapted to
unlabelled photographs of the target.
"""
import copy

import torch
from torch import nn

from mmweather.registry import MODELS

from ..data_preprocessor import ClipDataPreprocessor
from ..restorer import BaseRestorer
from .alignment import CovarianceAlignment
from .losses import dark_channel_prior, total_variation
from .weighting import SampleWeighting


@MODELS.register_module()
class DomainDataPreprocessor(ClipDataPreprocessor):
    """Adds what the samples say of themselves to the targets: ``labelled`` (N,), boolean, and ``domain`` (N,)."""

    def forward(self, data, training=False):
        """Prepares one batch; see :class:`ClipDataPreprocessor`."""
        prepared = super().forward(data, training)
        if training:
            samples = data['data_samples']
            prepared['data_samples'].update(
                labelled=torch.tensor([bool(sample.get('labelled', True)) for sample in samples], device=self.device),
                domain=torch.tensor([int(sample.get('domain', -1)) for sample in samples], device=self.device))
        return prepared


class DomainRestorer(BaseRestorer):
    """What the phases share: labelled and unlabelled samples come in one batch, and are told apart.

    Args:
        dark_channel_weight (float): Weight of the dark channel of restored unlabelled images. Defaults to 0.0.
        variation_weight (float): Weight of their total variation. Defaults to 0.0.
        **kwargs: See :class:`BaseRestorer`; ``loss`` is a :class:`CIDLoss`.
    """

    def __init__(self, *args, dark_channel_weight=0.0, variation_weight=0.0, data_preprocessor=None, **kwargs):
        super().__init__(*args, data_preprocessor=data_preprocessor or dict(type='mmweather.DomainDataPreprocessor'),
                         **kwargs)
        self.dark_channel_weight = dark_channel_weight
        self.variation_weight = variation_weight

    def _losses(self, inputs, targets):
        labelled = targets['labelled']
        inputs = self.prepare_inputs(inputs, labelled)
        prediction = self.generator(inputs)
        output, feature = prediction['output'].squeeze(1), prediction['feature']
        if labelled.any():
            losses = self.loss(output[labelled], targets['gt'][labelled].squeeze(1), inputs[labelled].squeeze(1),
                               self.sample_weights(feature[labelled]))
        else:
            # Every rank needs gradients for every parameter.
            losses = {f'loss_{self.loss.error}': 0 * output.sum()}
        losses.update(self.unlabelled_losses(inputs, output, feature, labelled))
        return losses

    def prepare_inputs(self, inputs, labelled):  # noqa: ARG002
        """What is done to the clips ``(N, 1, 3, H, W)`` before they are restored; here nothing."""
        return inputs

    def sample_weights(self, features):  # noqa: ARG002
        """Weights of the labelled samples ``(n,)``, from their features ``(n, d)``; here None, all alike."""
        return None

    def unlabelled_losses(self, inputs, output, feature, labelled):  # noqa: ARG002
        """The terms that need no ground truth.

        Args:
            inputs (Tensor): All clips of the batch ``(N, 1, 3, H, W)``.
            output (Tensor): As restored ``(N, 3, H, W)``.
            feature (Tensor): Features of the bottleneck ``(N, d)``.
            labelled (Tensor): Which have a ground truth ``(N,)``.

        Returns:
            dict[str, Tensor]: The weighted terms; here the priors.
        """
        restored = output[~labelled].float()
        if not len(restored):
            return {}
        losses = {}
        if self.dark_channel_weight:
            losses['loss_dark_channel'] = self.dark_channel_weight * dark_channel_prior(restored)
        if self.variation_weight:
            losses['loss_variation'] = self.variation_weight * total_variation(restored)
        return losses


@MODELS.register_module()
class SemiSupervisedRestorer(DomainRestorer):
    """First phase: labelled images are restored towards their ground truth, unlabelled ones towards a teacher's result.

    The teacher is an exponential mean of the network over time (Tarvainen and Valpola, NeurIPS 2017). It sees the image
    as it is; the network sees it mirrored, noisier and in another tint, and should restore the same.

    Args:
        consistency_weight (float): Weight of the L1 between both results. Defaults to 0.5.
        ramp_up (int): Iterations over which that weight grows from zero. Defaults to 1000.
        momentum (float): What the teacher keeps per iteration, less in the beginning. Defaults to 0.999.
        noise (float): Largest standard deviation of the network's noise, in [0, 1]. Defaults to 0.05.
        tint (float): By how much a channel of it may be brighter or darker. Defaults to 0.1.
        **kwargs: See :class:`DomainRestorer`.
    """

    def __init__(self, *args, consistency_weight=0.5, ramp_up=1000, momentum=0.999, noise=0.05, tint=0.1, **kwargs):
        super().__init__(*args, **kwargs)
        self.consistency_weight = consistency_weight
        self.ramp_up = ramp_up
        self.momentum = momentum
        self.noise = noise
        self.tint = tint
        self.teacher = copy.deepcopy(self.generator).requires_grad_(False)
        self.register_buffer('iterations', torch.zeros((), dtype=torch.long))

    def prepare_inputs(self, inputs, labelled):
        """Lets the teacher follow and look, and alters what the network sees of the unlabelled images."""
        self._follow()
        self._taught = None
        if self.consistency_weight and not labelled.all():
            unlabelled = inputs[~labelled]
            with torch.no_grad():
                self._taught = self.teacher.eval()(unlabelled)['output'].squeeze(1).flip(-1)
            inputs = inputs.clone()
            inputs[~labelled] = self._altered(unlabelled)
        return inputs

    def unlabelled_losses(self, inputs, output, feature, labelled):
        """Adds the distance to what the teacher restored; see :meth:`DomainRestorer.unlabelled_losses`."""
        losses = super().unlabelled_losses(inputs, output, feature, labelled)
        if self._taught is not None:
            weight = self.consistency_weight * min(1.0, int(self.iterations) / max(1, self.ramp_up))
            losses['loss_consistency'] = weight * (output[~labelled] - self._taught).float().abs().mean()
        return losses

    def _altered(self, images):
        shape = (len(images), 1, 1, 1, 1)
        tint = 1 + self.tint * (2 * torch.rand(len(images), 1, 3, 1, 1, device=images.device) - 1)
        deviation = self.noise * torch.rand(shape, device=images.device)
        return (images.flip(-1) * tint + deviation * torch.randn_like(images)).clamp(0, 1)

    @torch.no_grad()
    def _follow(self):
        done = int(self.iterations)
        keep = min(self.momentum, done / (done + 10))
        for mine, theirs in zip(self.teacher.state_dict().values(), self.generator.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(theirs, 1 - keep)
            else:
                mine.copy_(theirs)
        self.iterations += 1


@MODELS.register_module()
class WeightedRestorer(DomainRestorer):
    """Second phase: supervised, every sample weighted so that the bottleneck's features decorrelate.

    Args:
        weighting (dict, optional): Arguments of :class:`SampleWeighting` but ``channels``. Defaults to None: all
            samples weigh alike.
        **kwargs: See :class:`DomainRestorer`.
    """

    def __init__(self, *args, weighting=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.weighting = None if weighting is None else SampleWeighting(self.generator.feature_channels, **weighting)

    def sample_weights(self, features):
        """Weighs the labelled samples; see :class:`SampleWeighting`."""
        return None if self.weighting is None else self.weighting(features)


@MODELS.register_module()
class AdaptationRestorer(DomainRestorer):
    """Third phase: the features of unlabelled target images get the covariance of the labelled source's.

    Supervision by the source goes on beside it, or the network would forget. One means is ours, since the covariance
    of features does not say which of them is the light: labelled images are shown in the tint of a target image of the
    same batch, and their ground truth stays.

    Args:
        alignment (dict, optional): Arguments of :class:`CovarianceAlignment`. Defaults to None: no alignment.
        tint_share (float): Share of the labelled images that are tinted. Defaults to 0.0.
        **kwargs: See :class:`DomainRestorer`.
    """

    def __init__(self, *args, alignment=None, tint_share=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.alignment = nn.Identity() if alignment is None else CovarianceAlignment(**alignment)
        self.aligns = alignment is not None
        self.tint_share = tint_share

    def prepare_inputs(self, inputs, labelled):
        """Shows some labelled images in the tint of target images."""
        if not self.tint_share or labelled.all() or not labelled.any():
            return inputs
        source, target = inputs[labelled], inputs[~labelled]
        drawn = torch.randint(len(target), (len(source), ), device=inputs.device)
        tinted = in_the_tint_of(source.squeeze(1), target[drawn].squeeze(1)).unsqueeze(1)
        chosen = torch.rand(len(source), 1, 1, 1, 1, device=inputs.device) < self.tint_share
        inputs = inputs.clone()
        inputs[labelled] = torch.where(chosen, tinted, source)
        return inputs

    def unlabelled_losses(self, inputs, output, feature, labelled):
        """Adds the alignment; see :meth:`DomainRestorer.unlabelled_losses`."""
        losses = super().unlabelled_losses(inputs, output, feature, labelled)
        if self.aligns:
            # On every rank and for every batch, since the statistics are those of all ranks.
            losses['loss_alignment'] = self.alignment(feature[labelled], feature[~labelled])
        return losses


def in_the_tint_of(images, others):
    """Images in the tint of others: a gain per channel gives their highlights the others' proportions.

    Of every channel the 95th percentile is compared, since haze lies over what is bright, and means would take red clay
    for red light. The largest gain is one: a tint takes light away.

    Args:
        images (Tensor): ``(N, 3, H, W)`` in [0, 1].
        others (Tensor): ``(N, 3, H', W')`` in [0, 1].

    Returns:
        Tensor: ``(N, 3, H, W)`` in [0, 1].
    """
    own, wanted = (batch[..., ::2, ::2].flatten(2).float().quantile(0.95, dim=2).clamp(min=0.02)
                   for batch in (images, others))
    gains = wanted / own
    gains = gains / gains.amax(1, keepdim=True)
    return images * gains[..., None, None].to(images.dtype)
