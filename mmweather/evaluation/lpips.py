"""LPIPS with AlexNet, where its weights are at hand.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, version 0.1. The
weights are not part of this package and never downloaded; they are found

1. in the file that the environment variable ``MMWEATHER_LPIPS`` names: the state dict of ``lpips.LPIPS(net='alex')``;
2. or in two parts: torchvision's AlexNet in PyTorch's hub cache (``checkpoints/alexnet-owt-7be5be79.pth``) and the
   linear layers in the installed ``lpips`` package.

The network is written here so that neither torchvision nor ``lpips`` has to be importable.
"""
import importlib.util
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.errors import UserError

__all__ = ['LPIPS', 'find_lpips']

# where AlexNet's convolutions are in torchvision's ``features`` and in the slices of the ``lpips`` package
_LAYERS = (0, 3, 6, 8, 10)


class LPIPS(nn.Module):
    """Perceptual distance of two images: weighted differences of unit-normalised AlexNet features.

    Use :func:`find_lpips` to get one with weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList([
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        ])
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(1, conv.out_channels, 1, 1)) for conv in self.convs])
        # ImageNet's mean and standard deviation for images in [-1, 1]
        self.register_buffer('shift', torch.tensor([-.030, -.088, -.188])[:, None, None])
        self.register_buffer('scale', torch.tensor([.458, .448, .450])[:, None, None])

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Distance of two batches of images.

        Args:
            x (Tensor): ``(N, 3, H, W)`` in [-1, 1].
            y (Tensor): Likewise.

        Returns:
            Tensor: ``(N,)``, 0 for equal images.
        """
        distance = 0
        for weight, a, b in zip(self.weights, self._features(x), self._features(y), strict=True):
            distance = distance + (weight * (a - b)**2).sum(1).mean((1, 2))
        return distance

    @torch.no_grad()
    def distance(self, restored: np.ndarray, gt: np.ndarray) -> float:
        """Distance of two 8-bit images, scaled by ``x / 127.5 - 1``.

        Args:
            restored (np.ndarray): uint8 ``(H, W, 3)`` in the channel order of the protocol.
            gt (np.ndarray): Likewise.

        Returns:
            float: 0 for equal images.
        """
        images = torch.from_numpy(np.stack([restored, gt])).to(self.shift.device).permute(0, 3, 1, 2) / 127.5 - 1
        return self(images[:1], images[1:]).item()

    def _features(self, image: torch.Tensor):
        x = (image - self.shift) / self.scale
        for index, conv in enumerate(self.convs):
            if index in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(conv(x))
            # the epsilon is added to the norm, not under the root, as in the original
            yield x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def find_lpips() -> LPIPS | None:
    """Build LPIPS-Alex from weights on this machine.

    Returns:
        LPIPS, optional: In evaluation mode, on the CPU; None if there are no weights.

    Raises:
        UserError: If ``MMWEATHER_LPIPS`` names a file that is missing or holds something else.
    """
    path = os.environ.get('MMWEATHER_LPIPS')
    if path:
        return _build(_read(Path(path)), path)
    backbone = Path(torch.hub.get_dir()) / 'checkpoints' / 'alexnet-owt-7be5be79.pth'
    package = importlib.util.find_spec('lpips')
    if package is None or not backbone.is_file():
        return None
    linear = Path(package.origin).parent / 'weights' / 'v0.1' / 'alex.pth'
    if not linear.is_file():
        return None
    state = {key.replace('features', 'net'): value for key, value in _read(backbone).items()}
    return _build({**state, **_read(linear)}, backbone)


def _read(path: Path) -> dict:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    # a file that is missing, truncated, no checkpoint at all or one that would have to be unpickled: torch raises six
    # kinds of errors for it
    except Exception as error:
        raise UserError(f'{path} cannot be read as LPIPS weights ({error.__class__.__name__}): set MMWEATHER_LPIPS to '
                        f'a saved state dict of lpips.LPIPS(net="alex"), or unset it') from error


def _build(state: dict, source) -> LPIPS:
    network = LPIPS()
    own = {}
    for index, layer in enumerate(_LAYERS):
        for kind in ('weight', 'bias'):
            # torchvision: features.<layer>; lpips: net.slice<n>.<layer>
            value = state.get(f'net.{layer}.{kind}', state.get(f'net.slice{index + 1}.{layer}.{kind}'))
            own[f'convs.{index}.{kind}'] = value
        own[f'weights.{index}'] = state.get(f'lin{index}.model.1.weight')
    shapes = network.state_dict()
    wrong = [key for key, value in own.items() if value is None or value.shape != shapes[key].shape]
    if wrong:
        raise UserError(f'{source} does not hold LPIPS-Alex ({wrong[0]} is missing or of another shape): save the '
                        f'state dict of lpips.LPIPS(net="alex") there')
    network.load_state_dict(own, strict=False)
    return network.eval().requires_grad_(False)
