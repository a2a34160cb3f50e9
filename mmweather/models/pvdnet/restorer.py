"""PVDNet and BIMNet in training (ACM TOG 2021)."""
import torch

from mmweather.errors import UserError
from mmweather.registry import MODELS

from ..checkpoint import load_weights
from ..recurrent_restorer import RecurrentRestorer
from ..restorer import BaseRestorer


@MODELS.register_module()
class PVDRestorer(RecurrentRestorer):
    """PVDNet as published: noise on the input, BIMNet fixed and loaded from its own training, or trained beside.

    The pixel volume has no gradient to the flow, so BIMNet learns nothing from the image loss: it is either fixed
    (:class:`FreezeHook` with ``motion=-1``) or has its own loss.

    Args:
        motion_checkpoint (str, optional): Weights of BIMNet, from a training of ours or the authors'. A checkpoint
            that is loaded or resumed later goes before them. Defaults to None.
        motion_loss (dict, optional): Config of :class:`BlurInvariantLoss`, to train BIMNet beside. Defaults to None.
        motion_share (float): Share of the frames on which BIMNet is trained beside. Defaults to 1.0.
        noise_prob (float): Probability of noise on a frame of the input. Defaults to 0.5.
        noise_sigma (float): Its standard deviation, for values in [0, 1]. Defaults to 5e-5, published as 1e-4 on the
            scale [-1, 1].
        **kwargs: See :class:`RecurrentRestorer`. ``context`` defaults to 1: the state of a clip's first target comes
            from the blurred frame before it.
    """

    def __init__(self, *args, motion_checkpoint=None, motion_loss=None, motion_share=1.0, noise_prob=0.5,
                 noise_sigma=5e-5, context=1, **kwargs):
        super().__init__(*args, context=context, **kwargs)
        self.motion_loss = MODELS.build(motion_loss) if motion_loss else None
        self.motion_share = motion_share
        self.noise_prob = noise_prob
        self.noise_sigma = noise_sigma
        if motion_checkpoint:
            load_weights(self.generator.motion, motion_checkpoint)

    def prepare_clip(self, inputs):
        """Adds noise to some frames."""
        noisy = torch.rand(*inputs.shape[:2], 1, 1, 1, device=inputs.device) < self.noise_prob
        return inputs + noisy * self.noise_sigma * torch.randn_like(inputs)

    def frame_losses(self, frames, targets, state):
        """One step and its losses; see :meth:`RecurrentRestorer.frame_losses`."""
        losses, new_state = super().frame_losses(frames, targets, state)
        if self.motion_loss is not None and torch.rand(()) < self.motion_share:
            previous = (state.previous + 1) / 2
            losses.update(self.motion_loss(self.generator.motion, (frames[:, 0], previous),
                                           (targets['gt'], targets['previous_gt'])))
        return losses, new_state

    def _targets(self, targets, index):
        selected = super()._targets(targets, index)
        selected['previous_gt'] = targets['gt'][:, max(0, self.context + index - 1)]
        return selected


@MODELS.register_module()
class MotionRestorer(BaseRestorer):
    """BIMNet alone, trained on all neighbouring frames of a clip.

    Args:
        generator (dict): Config of :class:`BIMNet`.
        loss (dict, optional): Config of :class:`BlurInvariantLoss`. Defaults to None.
        flow_loss (dict, optional): Config of :class:`EndPointLoss`, besides or instead of ``loss``; needs ``flow`` in
            the samples, as :class:`SyntheticBlur` makes it. Defaults to None.
        **kwargs: See :class:`BaseRestorer`.
    """

    def __init__(self, generator, loss=None, flow_loss=None, **kwargs):
        super().__init__(generator, loss, **kwargs)
        self.flow_loss = MODELS.build(flow_loss) if flow_loss else None

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Runs one of the modes of :class:`BaseRestorer`; 'tensor' is the flow ``(N, T - 1, 2, H, W)``."""
        if mode == 'tensor':
            flow = self.generator(inputs[:, 1:].flatten(0, 1), inputs[:, :-1].flatten(0, 1))
            return flow.unflatten(0, (len(inputs), -1))
        return super().forward(inputs, data_samples, mode)

    def _losses(self, inputs, targets):
        def pair(clip):
            return clip[:, 1:].flatten(0, 1), clip[:, :-1].flatten(0, 1)

        frames = pair(inputs), pair(targets['gt'])
        if self.loss is None and self.flow_loss is None:
            raise UserError("model.loss is not set; name one in the config to train, for example "
                            "loss=dict(type='BlurInvariantLoss')")
        losses = {} if self.loss is None else self.loss(self.generator, *frames)
        if self.flow_loss is not None:
            if 'flow' not in targets:
                raise UserError('model.flow_loss needs samples with flow; set with_flow=True of SyntheticBlur')
            losses.update(self.flow_loss(self.generator, *frames, targets['flow'][:, 1:].flatten(0, 1)))
        return losses

    def _predict(self, clips, samples):
        """Adds ``flow`` ``(T - 1, 2, H, W)``, from each frame to the one before it, in pixels, on the CPU."""
        device = next(self.generator.parameters()).device
        for clip, sample in zip(clips, samples):
            frames = clip.float() / 255 if clip.dtype == torch.uint8 else clip
            with torch.no_grad():
                sample.flow = torch.cat([
                    self.generator(current[None].to(device), previous[None].to(device)).cpu()
                    for current, previous in zip(frames[1:], frames)])
        return samples
