"""ViMP-Net: "Mask-Guided Progressive Network for Joint Raindrop and Rain Streak Removal in Videos" (ACM MM 2023).

Two stages. The first propagates features through the clip, aligned under the guidance of a predicted map of the
streaks' intensity, and takes the streaks away. The second, a dual transformer over soft patches of the whole clip,
fills what raindrops hide, guided by a predicted mask of the drops. Architecture and quirks follow the authors'
published code (Apache-2.0) as it behaves; every line here is our own.
"""
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from ..layers import (
    BidirectionalPropagation,
    ClipReconstruction,
    ResidualBlocksWithInputConv,
    SPyNet,
    kaiming_init,
    neighbour_flows,
)
from ..layers.conv3d import ClipConv3d
from ..layers.reconstruction import frame_conv
from ..temporal import ClipNetwork, ClipProtocol
from .checkpoint import OFFICIAL_LAYOUT
from .transformer import DualRaindropTransformer


@MODELS.register_module()
class ViMPNet(ClipNetwork):
    """Joint removal of rain streaks and raindrops from a clip.

    The defaults are the published network: 36,932,204 parameters.

    Args:
        channels (int): Channels of the first stage at a quarter of the resolution; a multiple of 4. Defaults to 64.
        num_extract_blocks (int): Residual blocks of the feature extraction. Defaults to 5.
        num_propagation_blocks (int): Residual blocks per propagation step. Defaults to 9.
        num_reconstruction_blocks (int): 3-D residual blocks of the reconstruction. Defaults to 5.
        deform_groups (int): Groups of the deformable alignment. Defaults to 16.
        streak_channels (int): Width of the streak-intensity head. Defaults to 16.
        drop_channels (int): Width of the raindrop-mask head. Defaults to 8.
        spynet (dict, optional): Arguments of :class:`SPyNet`.
        transformer (dict, optional): Arguments of :class:`DualRaindropTransformer`.
        window (int): Frames per forward pass when a video is restored. Defaults to 5.
        window_overlap (int): Frames that neighbouring windows share and cross-fade. One makes 1.25 passes over the
            frames and stays within 0.1 dB of the published windows. Defaults to 1.
        min_size (int): Smallest side the network sees; smaller frames are padded. Defaults to 256.
        tile (int, optional): Side of the tiles in which larger frames are restored, None for whole frames.
            Defaults to 384.
        tile_overlap (int): Pixels that neighbouring tiles share. Defaults to 32.
        tile_batch (int): Tiles per forward pass. Defaults to 1.
        bfloat16_on_cpu (bool): See :class:`ClipNetwork`. Defaults to False.
    """

    size_divisor = 4
    channels_last = True
    official_layouts = (OFFICIAL_LAYOUT, )
    #: How the published numbers were made: windows of 5 at stride 1, tiles of 256 with 32 shared pixels of which
    #: the outer 16 of an interior border count nothing.
    protocols = dict(published=ClipProtocol(window=5, window_overlap=4, tile=256, tile_overlap=32, tile_border=16,
                                            blend='mean'))

    def __init__(self, channels=64, num_extract_blocks=5, num_propagation_blocks=9, num_reconstruction_blocks=5,
                 deform_groups=16, streak_channels=16, drop_channels=8, spynet=None, transformer=None, window=5,
                 window_overlap=1, min_size=256, tile=384, tile_overlap=32, tile_batch=1, bfloat16_on_cpu=False):
        super().__init__()
        self.window = window
        self.window_overlap = window_overlap
        self.min_size = min_size
        self.tile = tile
        self.tile_overlap = tile_overlap
        self.tile_batch = tile_batch
        self.bfloat16_on_cpu = bfloat16_on_cpu
        self.spynet = SPyNet(**(spynet or {}))
        self.extract = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.LeakyReLU(0.1, inplace=True),
            ResidualBlocksWithInputConv(channels, channels, num_extract_blocks))
        self.streak_head = _map_head(channels, streak_channels)
        self.propagation = BidirectionalPropagation(channels, num_propagation_blocks, deform_groups,
                                                    guidance_channels=1)
        self.reconstruction = ClipReconstruction(3 * channels, channels, num_reconstruction_blocks)
        full_channels = self.reconstruction.out_channels
        self.to_stage1 = frame_conv(full_channels, 3)
        self.drop_head = _map_head(full_channels, drop_channels)
        self.transformer = DualRaindropTransformer(**(transformer or {}))
        self.init_weights()

    def init_weights(self):
        """Initialises the first stage; how the authors did is not known, so this is ours. The second does it itself.

        The flow network keeps PyTorch's initialisation: it wants pretrained weights, or small first steps.
        """
        for part in (self.extract, self.streak_head, self.propagation.refine, self.reconstruction, self.drop_head):
            kaiming_init(part)
        # Begin with a network that sees no streaks and changes nothing, and learn from there.
        for last in (self.streak_head[-1], self.to_stage1):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.drop_head[-1].weight.data.mul_(0.1)
        # Drops cover a few per cent of a frame.
        nn.init.constant_(self.drop_head[-1].bias, -3.0)

    def forward(self, clip):
        """Restores a clip.

        Args:
            clip (Tensor): Rainy frames ``(N, T, 3, H, W)``, RGB in [0, 1], any T >= 1; H and W multiples of 4.

        Returns:
            dict[str, Tensor]: ``output``, the restored clip ``(N, T, 3, H, W)``; ``stage1``, the clip without
            streaks but with its raindrops; ``drop_mask``, the raindrops' probability ``(N, T, 1, H, W)`` in
            [0, 1]; ``streak``, the streaks' intensity ``(N, T, 1, H, W)``, not bounded.

        Raises:
            ValueError: If ``clip`` is not five-dimensional or its sides are no multiples of 4.
        """
        self._check(clip)
        n, t, _, height, width = clip.shape
        spatial = self.extract(clip.flatten(0, 1)).unflatten(0, (n, t))
        streak = self.streak_head(spatial.transpose(1, 2))
        propagated = self.propagation(
            list(spatial.unbind(1)), *neighbour_flows(self.spynet, self._quarter(clip)), streak.transpose(1, 2))
        features = self.reconstruction([list(spatial.unbind(1)), *propagated])

        stage1 = clip + self.to_stage1(features).transpose(1, 2)
        drop_mask = self.drop_head(features).sigmoid().transpose(1, 2)
        streak = F.interpolate(streak.transpose(1, 2).flatten(0, 1), size=(height, width), mode='bilinear',
                               align_corners=True).unflatten(0, (n, t))
        output = stage1 + self.transformer(stage1, drop_mask)
        return dict(output=output, stage1=stage1, drop_mask=drop_mask, streak=streak)

    @staticmethod
    def _quarter(clip):
        """The clip at a quarter of the resolution, where flow is estimated."""
        small = F.interpolate(clip.flatten(0, 1), scale_factor=0.25, mode='bicubic', align_corners=False)
        return small.unflatten(0, clip.shape[:2])

    @staticmethod
    def _check(clip):
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(f'clip: expected shape (N, T, 3, H, W), got {tuple(clip.shape)}')
        if clip.shape[-2] % 4 or clip.shape[-1] % 4:
            raise ValueError(f'clip: expected height and width to be multiples of 4, got {tuple(clip.shape[-2:])}; '
                             'mmweather.restore_clip pads and crops')


def _map_head(in_channels, channels):
    """Three 3-D convolutions that read one map off a clip's features ``(N, C, T, H, W)``."""
    return nn.Sequential(
        ClipConv3d(in_channels, channels, 3, padding=1), nn.LeakyReLU(0.2, inplace=True),
        ClipConv3d(channels, channels, 1), nn.LeakyReLU(0.2, inplace=True),
        ClipConv3d(channels, 1, 3, padding=1))
