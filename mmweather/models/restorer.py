"""What every method shares between its network and MMEngine's Runner."""
import torch
from mmengine.model import BaseModel

from mmweather.errors import UserError
from mmweather.registry import MODELS
from mmweather.structures import ClipSample

from .checkpoint import to_own_layout, unwrap_state_dict
from .temporal import ClipProtocol, restore_frames


@MODELS.register_module()
class BaseRestorer(BaseModel):
    """A network with its loss, in MMEngine's three modes.

    The network's attribute is called ``generator``, as everywhere in MMagic. Published checkpoints load through
    ``load_from`` like our own: their keys are renamed on the way in.

    Args:
        generator (dict): Config of the network.
        loss (dict, optional): Config of the loss, called with (prediction, targets) and returning a dict of terms.
            Not needed for testing. Defaults to None.
        test_protocol (str | dict, optional): How videos are cut into windows and tiles when testing: a name of the
            network's ``protocols``, or the fields of a :class:`ClipProtocol`. None for the network's everyday
            protocol. Defaults to None.
        data_preprocessor (dict, optional): Defaults to :class:`ClipDataPreprocessor`.
        init_cfg (dict, optional): As in MMEngine.
    """

    def __init__(self, generator, loss=None, test_protocol=None, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor or dict(type='mmweather.ClipDataPreprocessor'), init_cfg)
        self.generator = MODELS.build(generator)
        self.loss = MODELS.build(loss) if loss else None
        self.test_protocol = test_protocol
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

    def _losses(self, inputs, targets):
        if self.loss is None:
            raise UserError("model.loss is not set; name one in the config to train, for example "
                            "loss=dict(type='ViMPLoss')")
        return self.loss(self.generator(inputs), targets)

    def _predict(self, clips, samples):
        samples = samples or [ClipSample() for _ in clips]
        # a classical method has no parameters and stays where the frames are
        device = next((parameter.device for parameter in self.generator.parameters()), None)
        for clip, sample in zip(clips, samples):
            restored = restore_frames(self.generator, iter(clip), protocol=self._protocol(), device=device)
            sample.output = torch.stack(list(restored))
            _crop_like(sample.output, sample)
        return samples

    def _protocol(self):
        return ClipProtocol(**self.test_protocol) if isinstance(self.test_protocol, dict) else self.test_protocol

    def _accept_published(self, state_dict, prefix, *_):
        """Renames a published checkpoint's keys in place, before PyTorch compares them with ours."""
        renamed, layout = to_own_layout(self.generator, unwrap_state_dict(dict(state_dict)))
        if layout != 'mmweather':
            state_dict.clear()
            state_dict.update({f'{prefix}generator.{key}': value for key, value in renamed.items()})


def _crop_like(output, sample):
    """Crops a sample's other clips where a protocol that crops has made the output smaller."""
    height, width = output.shape[-2:]
    for name, clip in sample.items():
        if torch.is_tensor(clip) and clip.ndim >= 4 and clip.shape[-2:] != output.shape[-2:]:
            sample.set_field(clip[..., :height, :width], name)
