"""SVDNet between MMEngine's Runner and its loss."""
from mmweather.registry import MODELS

from ..restorer import BaseRestorer


@MODELS.register_module()
class SVDRestorer(BaseRestorer):
    """:class:`BaseRestorer` whose loss also sees the snowy frames, and follows the network's encoder.

    Args:
        **kwargs: See :class:`BaseRestorer`; ``generator`` has an encoder ``extract``, ``loss`` is a :class:`SVDLoss`.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._contrast = getattr(self.loss, 'contrast', None)
        if self._contrast is not None:
            self._contrast.follow(self.generator.extract)

    def _losses(self, inputs, targets):
        if self._contrast is not None:
            self._contrast.update(self.generator.extract)
        return super()._losses(inputs, dict(targets, lq=inputs))
