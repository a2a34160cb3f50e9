"""MMagic's networks, or anybody's, behind the contract of our clip networks, so that they train and test as ours do.

A config names the network by its registry, for example ``mmagic.Restormer``, and one of three wrappers says how it
looks at time: :class:`FrameBaseline` at each frame alone, :class:`ClipBaseline` at a whole clip,
:class:`CentreBaseline` at the neighbours of each frame.
"""
import torch
from torch import nn

from mmweather.models import ClipNetwork
from mmweather.registry import MODELS

__all__ = ['BaselineLoss', 'CentreBaseline', 'ClipBaseline', 'FrameBaseline']


class _Baseline(ClipNetwork):

    def __init__(self, network, window=1, window_overlap=0, size_divisor=1, min_size=1, tile=None, tile_overlap=32):
        super().__init__()
        self.network = MODELS.build(network)
        self.window = window
        self.window_overlap = window_overlap
        self.size_divisor = size_divisor
        self.min_size = min_size
        self.tile = tile
        self.tile_overlap = tile_overlap


@MODELS.register_module()
class FrameBaseline(_Baseline):
    """A network for images, applied to every frame alone.

    Args:
        network (dict): Config of a network from ``(N, 3, H, W)`` in [0, 1] to the same.
        size_divisor (int): What the network's sides must be multiples of; frames are padded. Defaults to 1.
        min_size (int): Smallest side that it takes; smaller frames are padded. Defaults to 1.
        tile (int, optional): Side of the tiles in which larger frames are restored. Defaults to None: whole frames.
        tile_overlap (int): Pixels that neighbouring tiles share and cross-fade. Defaults to 32.
    """

    def __init__(self, network, size_divisor=1, min_size=1, tile=None, tile_overlap=32):
        super().__init__(network, size_divisor=size_divisor, min_size=min_size, tile=tile, tile_overlap=tile_overlap)

    def forward(self, clip):
        """Restores the frames of a clip ``(N, T, 3, H, W)`` in [0, 1]."""
        return self.network(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])


@MODELS.register_module()
class ClipBaseline(_Baseline):
    """A network for clips that restores all their frames at the size they have.

    Args:
        network (dict): Config of a network from ``(N, T, 3, H, W)`` in [0, 1] to the same.
        window (int): Frames per forward pass when a video is restored. Defaults to 15.
        window_overlap (int): Frames that neighbouring windows share and cross-fade. Defaults to 2.
        size_divisor (int): As for :class:`FrameBaseline`. Defaults to 1.
        min_size (int): As for :class:`FrameBaseline`. Defaults to 1.
        tile (int, optional): As for :class:`FrameBaseline`. Defaults to None.
        tile_overlap (int): As for :class:`FrameBaseline`. Defaults to 32.
    """

    def __init__(self, network, window=15, window_overlap=2, **kwargs):
        super().__init__(network, window, window_overlap, **kwargs)

    def forward(self, clip):
        """Restores a clip ``(N, T, 3, H, W)`` in [0, 1]."""
        return self.network(clip)


@MODELS.register_module()
class CentreBaseline(_Baseline):
    """A network that restores the middle one of a few frames, such as EDVR; beyond a clip's ends its frames repeat.

    MMagic's EDVR was made for super-resolution: what comes out is four times the size of what goes in. As its authors
    do for inputs of full resolution, two strided convolutions come first, and the network predicts what is to be added
    to the frame. This wrapper owns that stem, and takes the upsampled input away that the network would add.

    Args:
        network (dict): Config of a network from ``(N, neighbours, stem_channels, H / 4, W / 4)`` to ``(N, 3, H, W)``
            with an ``img_upsample``.
        neighbours (int): Frames that it sees, odd. Defaults to 5.
        stem_channels (int): Channels of the stem, which are the network's ``in_channels``. Defaults to 64.
        window (int): Frames per forward pass when a video is restored. Defaults to 9.
        window_overlap (int): Frames that neighbouring windows share and cross-fade. Defaults to 4.
        size_divisor (int): As for :class:`FrameBaseline`. Defaults to 16.
        **kwargs: ``min_size``, ``tile`` and ``tile_overlap`` of :class:`FrameBaseline`.

    Raises:
        ValueError: If ``neighbours`` is even.
    """

    def __init__(self, network, neighbours=5, stem_channels=64, window=9, window_overlap=4, size_divisor=16, **kwargs):
        super().__init__(network, window, window_overlap, size_divisor=size_divisor, **kwargs)
        if neighbours % 2 == 0:
            raise ValueError(f'neighbours must be odd, got {neighbours}: the restored frame is the middle one')
        self.reach = neighbours // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(stem_channels, stem_channels, 3, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(stem_channels, stem_channels, 3, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True))
        self.network.img_upsample = _Nothing()

    def forward(self, clip):
        """Restores a clip ``(N, T, 3, H, W)`` in [0, 1], sides multiples of ``size_divisor``."""
        count = clip.shape[1]
        features = self.stem(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
        restored = []
        for centre in range(count):
            seen = [min(max(index, 0), count - 1) for index in range(centre - self.reach, centre + self.reach + 1)]
            restored.append(clip[:, centre] + self.network(features[:, seen]))
        return torch.stack(restored, dim=1)


class _Nothing(nn.Module):
    """Stands where a network would upsample its input to add it."""

    def forward(self, x):
        return x.new_zeros(())


@MODELS.register_module()
class BaselineLoss(nn.Module):
    """A pixel loss of MMagic's for our restorers.

    Args:
        pixel_loss (dict): Config of a loss of (prediction, target), images ``(N, 3, H, W)`` in [0, 1], for example
            ``dict(type='mmagic.CharbonnierLoss', reduction='mean')``.
    """

    def __init__(self, pixel_loss):
        super().__init__()
        self.pixel_loss = MODELS.build(pixel_loss)

    def forward(self, prediction, target):
        """Compares a clip with ``target['gt']``, both ``(N, T, 3, H, W)`` in [0, 1].

        Returns:
            dict[str, Tensor]: ``loss_pixel``.
        """
        return dict(loss_pixel=self.pixel_loss(prediction.flatten(0, 1), target['gt'].flatten(0, 1)))
