"""A tiny convolutional network that names what is wrong with a picture.

Ours; nothing of it is published. Streaks, flakes and blur show in a few pixels and haze in none, so the network sees
every pixel, folded by a pixel-unshuffle, and judges by the mean and the spread of its features over the picture: the
size of the picture does not matter.
"""
from pathlib import Path

import torch
from torch import nn

__all__ = ['WeatherClassifier', 'load_classifier']

#: The weights that ship, float16, with their card beside them.
WEIGHTS = Path(__file__).with_name('weather_classifier.safetensors')


class WeatherClassifier(nn.Module):
    """Logits of what degrades an image.

    Args:
        widths (Sequence[int]): Channels of the stages, each at half the resolution of the one before; the first is at
            a quarter of that of the image. Defaults to (32, 64, 96), 218,502 parameters.

    Attributes:
        classes (tuple[str]): Names of the logits, in order.
    """

    classes = ('clean', 'rain', 'drops', 'snow', 'haze', 'blur')
    #: Height and width of an image must be multiples of this.
    size_divisor = 16

    def __init__(self, widths=(32, 64, 96)):
        super().__init__()
        self.fold = nn.PixelUnshuffle(4)
        layers = [_convolution(48, widths[0]), _Residual(widths[0])]
        for before, after in zip(widths, widths[1:]):
            layers += [_convolution(before, after, stride=2), _Residual(after)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * widths[-1], len(self.classes))

    def forward(self, images):
        """Judge images.

        Args:
            images (Tensor): RGB ``(N, 3, H, W)`` in [0, 1], H and W multiples of 16 and at least 32.

        Returns:
            Tensor: Logits ``(N, 6)`` in the order of ``classes``.
        """
        features = self.features(self.fold(images - 0.5)).flatten(2)
        spread = (features.var(dim=2, unbiased=False) + 1e-6).sqrt()
        return self.head(torch.cat([features.mean(dim=2), spread], dim=1))


class _Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body = _convolution(channels, channels)

    def forward(self, x):
        return x + self.body(x)


def _convolution(before, after, stride=1):
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after),
                         nn.ReLU(inplace=True))


def load_classifier():
    """The network with the weights that ship.

    Returns:
        WeatherClassifier: In evaluation mode, float32, on the CPU.
    """
    from safetensors.torch import load_file
    network = WeatherClassifier()
    network.load_state_dict({name: value.float() if value.is_floating_point() else value
                             for name, value in load_file(WEIGHTS).items()})
    return network.eval()
