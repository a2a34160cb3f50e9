"""Training of a flow network by itself, before a restoration network builds on it."""
import torch.nn.functional as F

from mmweather.registry import MODELS

from .layers import neighbour_flows
from .restorer import BaseRestorer


@MODELS.register_module()
class FlowTrainer(BaseRestorer):
    """Teaches a flow network how clean frames move, from the degraded ones.

    Restoration networks start from a flow network that already knows motion; one that does not, sends their warps
    astray for good. The input is degraded as it will be in use, the loss looks at the clean frames. Ours; where the
    published methods name pretrained flow, it was trained on other data.

    Args:
        generator (dict): Config of the flow network, called with (reference, support) as :class:`SPyNet`.
        loss (dict): Config of the loss, called with (flow, reference, support). Defaults to
            :class:`PhotometricLoss`.
        scale (float): The frames are shrunk by this first, as the restoration network will shrink them. Defaults to
            0.25, as in ViMP-Net.
        **kwargs: See :class:`BaseRestorer`.
    """

    def __init__(self, generator, loss=None, scale=0.25, **kwargs):
        super().__init__(generator, loss or dict(type='PhotometricLoss'), **kwargs)
        self.scale = scale

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Runs 'tensor', which gives the flows to the next and to the previous frames, or 'loss'.

        Args:
            inputs (Tensor): Degraded clips ``(N, T, 3, H, W)`` in [0, 1].
            data_samples (dict, optional): Targets with ``gt`` of the same shape. Defaults to None.
            mode (str): 'tensor' or 'loss'. Defaults to 'tensor'.

        Returns:
            tuple[Tensor, Tensor] | dict[str, Tensor]: Flows ``(N, T-1, 2, h, w)`` in shrunken pixels, or the loss.

        Raises:
            ValueError: For another mode; a flow network restores nothing.
        """
        if mode == 'tensor':
            return neighbour_flows(self.generator, self._shrink(inputs))
        if mode != 'loss':
            raise ValueError(f"mode: expected 'tensor' or 'loss', got {mode!r}; flow has no clip to predict")
        clean = self._shrink(data_samples['gt'])
        to_next, to_previous = (flows.flatten(0, 1) for flows in self(inputs))
        earlier, later = clean[:, :-1].flatten(0, 1), clean[:, 1:].flatten(0, 1)
        there, back = self.loss(to_next, earlier, later), self.loss(to_previous, later, earlier)
        return {name: 0.5 * (term + back[name]) for name, term in there.items()}

    def _shrink(self, clip):
        small = F.interpolate(clip.flatten(0, 1), scale_factor=self.scale, mode='bicubic', align_corners=False)
        return small.unflatten(0, clip.shape[:2])
