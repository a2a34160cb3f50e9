"""Second-order flow-guided deformable alignment (BasicVSR++, CVPR 2022)."""
import torch
from torch import nn

from mmweather.ops import modulated_deform_conv2d


class SecondOrderDeformableAlignment(nn.Module):
    """Aligns the features of the two previous steps to the current one.

    Flow says roughly where to look; a small network adds residual offsets and masks, from what the flow brought
    and from whatever guides it (ViMP-Net hands in a map of the streaks' intensity). One modulated deformable
    convolution then reads both previous features at once.

    Args:
        channels (int): Channels of a feature.
        deform_groups (int): Groups of offsets; the first half follows the first-order flow, the second half the
            second-order flow, hence even. Defaults to 16.
        guidance_channels (int): Channels of the additional guidance. Defaults to 0.
        max_residue (float): Largest residual offset in pixels. Defaults to 10.0.
    """

    def __init__(self, channels, deform_groups=16, guidance_channels=0, max_residue=10.0):
        super().__init__()
        if deform_groups % 2:
            raise ValueError(f'deform_groups: expected an even number, got {deform_groups}')
        self.deform_groups = deform_groups
        self.max_residue = max_residue
        self.weight = nn.Parameter(torch.empty(channels, 2 * channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.conv_offset = nn.Sequential(
            nn.Conv2d(3 * channels + 4 + guidance_channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(channels, 27 * deform_groups, 3, padding=1))
        self.init_weights()

    def init_weights(self):
        """Starts with zero residual offsets, so that training begins from alignment by flow alone."""
        bound = (self.weight.shape[1] * 9)**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset[-1].weight)
        nn.init.zeros_(self.conv_offset[-1].bias)

    def forward(self, previous, warped_first, current, warped_second, flow_first, flow_second, guidance=None):
        """Aligns ``previous`` to the current frame.

        Args:
            previous (Tensor): Features of the previous and the second previous step, ``(N, 2C, H, W)``.
            warped_first (Tensor): The former half warped by ``flow_first``, ``(N, C, H, W)``.
            current (Tensor): Features of the current frame, ``(N, C, H, W)``.
            warped_second (Tensor): The latter half warped by ``flow_second``, ``(N, C, H, W)``.
            flow_first (Tensor): Flow to the previous frame, ``(N, 2, H, W)`` in pixels, x before y.
            flow_second (Tensor): Flow to the second previous frame, likewise.
            guidance (Tensor, optional): ``(N, guidance_channels, H, W)``.

        Returns:
            Tensor: Aligned features ``(N, C, H, W)``.
        """
        clues = [warped_first, current, warped_second, flow_first, flow_second]
        if guidance is not None:
            clues.append(guidance)
        residue_first, residue_second, mask = self.conv_offset(torch.cat(clues, dim=1)).chunk(3, dim=1)
        # Deformable convolution counts rows before columns; flow has x first.
        repeats = (1, self.deform_groups // 2 * 9, 1, 1)
        offset = torch.cat((
            self.max_residue * residue_first.tanh() + flow_first.flip(1).repeat(repeats),
            self.max_residue * residue_second.tanh() + flow_second.flip(1).repeat(repeats)), dim=1)
        return modulated_deform_conv2d(
            previous, offset, mask.sigmoid(), self.weight, self.bias, padding=1, deform_groups=self.deform_groups)
