"""The data element that travels with a clip: from the dataset through the network to the metric."""
from typing import Any

from mmengine.structures import BaseDataElement

__all__ = ['ClipSample']


class ClipSample(BaseDataElement):
    """What belongs to one clip besides the frames that the network reads.

    Every field is optional and of the shape ``(T, C, H, W)``, or ``(T, 2, C, H, W)`` for stereo with view 0 left.
    Fields from disk are uint8 in [0, 255] and scaled by the data preprocessor, on the device; ``output`` is floating
    point in [0, 1].

    - ``gt`` (C = 3): the clean frames, RGB.
    - ``drop`` (C = 3): the frames with raindrops but without rain streaks, RGB: the target of ViMP-Net's first stage.
    - ``mask`` (C = 1): the raindrop mask.
    - ``streak`` (C = 1): the rain streak intensity.
    - ``output`` (C = 3): the restored frames, RGB.

    Metainfo: ``key`` (str, unique in the dataset), ``video`` (str), ``names`` (list[str], one file name per frame, so
    that results can be written under the same names) and ``ori_shape`` (tuple[int, int], height and width on disk).
    Samples of haze also say their ``domain`` (int, index in :data:`mmweather.synthesis.DOMAINS`, -1 for none) and
    whether they are ``labelled`` (bool), that is, whether ``gt`` is a clear version.

    A method may add fields of its own; only the ones above are checked.

    Examples:
        >>> sample = ClipSample(gt=torch.zeros(5, 3, 8, 8, dtype=torch.uint8), metainfo=dict(video='0001'))
        >>> sample.gt.shape, sample.video
        (torch.Size([5, 3, 8, 8]), '0001')
    """

    CHANNELS = dict(gt=3, drop=3, mask=1, streak=1, output=3)

    def set_field(self, value: Any, name: str, dtype: type | None = None, field_type: str = 'data') -> None:
        """Set a field; every assignment ends here.

        Raises:
            TypeError: If one of the named fields is no tensor.
            ValueError: If its shape is not ``(T, C, H, W)`` or ``(T, 2, C, H, W)`` with the channels of that field.
        """
        channels = self.CHANNELS.get(name) if field_type == 'data' else None
        # numpy() and to_tensor() of the parent convert in place, so arrays are as welcome as tensors
        if channels is not None:
            if not hasattr(value, 'ndim') or not hasattr(value, 'shape'):
                raise TypeError(f'ClipSample.{name} must be a tensor, got {type(value).__name__}')
            stereo = value.ndim == 5 and value.shape[1] == 2
            if not (value.ndim == 4 or stereo) or value.shape[-3] != channels:
                raise ValueError(f'ClipSample.{name} must have the shape (T, {channels}, H, W) or '
                                 f'(T, 2, {channels}, H, W), got {tuple(value.shape)}')
        super().set_field(value, name, dtype=dtype, field_type=field_type)
