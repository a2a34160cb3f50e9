"""What every method shares between its network and MMEngine's Runner."""
import torch
from mmengine.model import BaseModel

from mmweather.errors import UserError
from mmweather.registry import MODELS

from .checkpoint import to_own_layout
from .temporal import restore_frames


@MODELS.register_module()
class BaseRestorer(BaseModel):
    """A network with its loss, in MMEngine's three modes.

    The network's attribute is called ``generator``, as everywhere in MMagic. Published checkpoints load through
    ``load_from`` like our own: their keys are renamed on the way in.

    Args:
        generator (dict): Config of the network.
        loss (dict, optional): Config of the loss, called with (prediction, targets) and returning a dict of terms.
            Not needed for testing. Defaults to None.
        freeze (dict, optional): ``{prefix: iterations}``: parameters of the generator whose names begin with
            prefix get no gradient for so many iterations. Defaults to None.
        test_protocol (str | dict, optional): How videos are cut into windows and tiles when testing: a name of the
            network's ``protocols``, or the fields of a :class:`ClipProtocol`. None for the network's everyday
            protocol. Defaults to None.
        data_preprocessor (dict, optional): Defaults to :class:`ClipDataPreprocessor`.
        init_cfg (dict, optional): As in MMEngine.
    """

    def __init__(self, generator, loss=None, freeze=None, test_protocol=None, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor or dict(type='mmweather.ClipDataPreprocessor'), init_cfg)
        self.generator = MODELS.build(generator)
        self.loss = MODELS.build(loss) if loss else None
        self.freeze = dict(freeze or {})
        self.test_protocol = test_protocol
        # Saved with the weights, so that a resumed run thaws when an uninterrupted one would.
        self.register_buffer('iterations', torch.zeros((), dtype=torch.long))
        self._register_load_state_dict_pre_hook(self._accept_published)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        """Runs one of MMEngine's modes.

        Args:
            inputs (Tensor | list[Tensor]): A batch ``(N, T, 3, H, W)`` in [0, 1]; when predicting, a list of whole
                clips ``(T, 3, H, W)``, uint8 or in [0, 1], of any length and size.
            data_samples (dict | list[ClipSample], optional): Targets when training, samples when predicting.
            mode (str): 'tensor' for the network's raw result, 'loss' for the weighted loss terms, 'predict' for
                samples with ``output``. Defaults to 'tensor'.

        Returns:
            dict | Tensor | list[ClipSample]: As the mode says.

        Raises:
            ValueError: For another mode.
        """
        if mode == 'tensor':
            return self.generator(inputs)
        if mode == 'loss':
            return self._losses(inputs, data_samples)
        if mode == 'predict':
            return self._predict(inputs, data_samples)
        raise ValueError(f"mode: expected 'tensor', 'loss' or 'predict', got {mode!r}")

    def train_step(self, data, optim_wrapper):
        """One optimiser step; parameters that are frozen for now get no gradient."""
        self._apply_freeze()
        log = super().train_step(data, optim_wrapper)
        self.iterations += 1
        return log

    def _losses(self, inputs, targets):
        if self.loss is None:
            raise UserError("model.loss is not set; name one in the config to train, for example "
                            "loss=dict(type='ViMPLoss')")
        return self.loss(self.generator(inputs), targets)

    def _predict(self, clips, samples):
        from mmweather.structures import ClipSample
        samples = samples or [ClipSample() for _ in clips]
        device = next(self.generator.parameters()).device
        for clip, sample in zip(clips, samples):
            restored = restore_frames(self.generator, iter(clip), protocol=self._protocol(), device=device)
            sample.output = torch.stack(list(restored))
        return samples

    def _protocol(self):
        from .temporal import ClipProtocol
        return ClipProtocol(**self.test_protocol) if isinstance(self.test_protocol, dict) else self.test_protocol

    def _apply_freeze(self):
        done = int(self.iterations)
        for name, parameter in self.generator.named_parameters():
            for prefix, until in self.freeze.items():
                if name.startswith(prefix):
                    parameter.requires_grad_(done >= until)

    def _accept_published(self, state_dict, prefix, *_):
        """Renames a published checkpoint's keys in place, before PyTorch compares them with ours."""
        own = {f'{prefix}{key}' for key in self.state_dict()}
        if own & state_dict.keys() - {f'{prefix}iterations'}:
            network = {key[len(prefix) + 10:]: value for key, value in state_dict.items()
                       if key.startswith(f'{prefix}generator.')}
        else:
            network = dict(state_dict)
        renamed, layout = to_own_layout(self.generator, network)
        if layout == 'mmweather':
            return
        state_dict.clear()
        state_dict.update({f'{prefix}generator.{key}': value for key, value in renamed.items()})
        state_dict[f'{prefix}iterations'] = self.iterations.clone()
