"""A tiny network that names what is wrong with a picture.

Ours; nothing of it is published. Weather changes the statistics of natural images in known ways: haze lifts the dark
channel and takes contrast, flakes and streaks make band-passed light skewed and heavy-tailed, streaks along one
direction, blur takes the fine scales, drops take them in places and have round borders. So the convolutions are fixed
(band-pass filters in four directions at three scales, on light and on contrast-normalised light, and rings), what they
see is summed up by moments and quantiles over the picture, whatever its size, and only the two layers that judge by
these are learned.
"""
import math
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ['WeatherClassifier', 'load_classifier']

#: The weights that ship, float16, with their card beside them.
WEIGHTS = Path(__file__).with_name('weather_classifier.safetensors')

# quantiles of brightness, darkest channel and saturation, and of what is compared between places
_QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_FEW_QUANTILES = (0.1, 0.5, 0.9)
_SCALES = 3
# side of the blocks whose sharpness is compared, in pixels of their scale
_BLOCK = 16
# radii of the circles that are looked for, in pixels of their scale, and in how many sectors each must show
_RADII = (2.5, 3.5, 5.5)
_SECTORS = 8
_TOP_QUANTILES = (0.5, 0.9, 0.99, 0.999)


class WeatherClassifier(nn.Module):
    """Logits of what degrades an image.

    Args:
        hidden (int): Width of the hidden layer. Defaults to 64.

    Attributes:
        classes (tuple[str]): Names of the logits, in order.
        min_size (int): Least height and width of an image.
        mean (Tensor): Mean of every statistic in the training data.
        scale (Tensor): The inverse of its standard deviation there.
    """

    classes = ('clean', 'rain', 'drops', 'snow', 'haze', 'blur')
    min_size = 80
    #: Number of statistics.
    statistics = (3 * (len(_QUANTILES) + 2) + len(_FEW_QUANTILES)
                  + _SCALES * (3 + 8 * 4 + 1 + len(_FEW_QUANTILES))
                  + (_SCALES - 1) * len(_RADII) * len(_TOP_QUANTILES))

    def __init__(self, hidden=64):
        super().__init__()
        self.register_buffer('mean', torch.zeros(self.statistics))
        self.register_buffer('scale', torch.ones(self.statistics))
        self.head = nn.Sequential(nn.Linear(self.statistics, hidden), nn.ReLU(), nn.Dropout(0.3),
                                  nn.Linear(hidden, len(self.classes)))

    def forward(self, images):
        """Judge images.

        Args:
            images (Tensor): RGB ``(N, 3, H, W)`` in [0, 1], at least ``min_size`` pixels high and wide.

        Returns:
            Tensor: Logits ``(N, 6)`` in the order of ``classes``.
        """
        return self.judge(self.describe(images))

    def judge(self, described):
        """Logits from statistics.

        Args:
            described (Tensor): ``(N, statistics)`` as :meth:`describe` returns them.

        Returns:
            Tensor: Logits ``(N, 6)``.
        """
        return self.head((described - self.mean) * self.scale)

    def describe(self, images):
        """The statistics of images.

        Args:
            images (Tensor): RGB ``(N, 3, H, W)`` in [0, 1].

        Returns:
            Tensor: ``(N, statistics)``.
        """
        darkest, brightest = images.amin(dim=1, keepdim=True), images.amax(dim=1, keepdim=True)
        light = (images * images.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(dim=1, keepdim=True)
        saturation = (brightest - darkest) / (brightest + 0.05)
        found = []
        for channel in (light, darkest, saturation):
            values = channel[..., ::4, ::4].flatten(1)
            found += [_quantiles(values, _QUANTILES), values.mean(dim=1, keepdim=True),
                      values.std(dim=1, keepdim=True)]
        dark_channel = -F.max_pool2d(-darkest, 15, stride=8, padding=7)
        found.append(_quantiles(dark_channel.flatten(1), _FEW_QUANTILES))
        for scale in range(_SCALES):
            octave = F.avg_pool2d(light, 2**scale) if scale else light
            found += self._describe_scale(octave)
            # in full resolution they would take most of the time and tell little more
            if scale:
                found += [_quantiles(_roundness(octave, radius).flatten(1), _TOP_QUANTILES) for radius in _RADII]
        return torch.cat(found, dim=1)

    @staticmethod
    def _describe_scale(light):
        """What one octave of the light holds."""
        mean = _blur(light, 2.5, 2.5)
        spread = (_blur(light * light, 2.5, 2.5) - mean * mean).clamp(min=0).sqrt()
        detail = light - mean
        right, down = light[..., :-1, 1:] - light[..., :-1, :-1], light[..., 1:, :-1] - light[..., :-1, :-1]
        responses = (detail / (spread + 0.02), detail, right, down, (right + down) * 0.7, (right - down) * 0.7,
                     _blur(detail, 0.6, 3.0), _blur(detail, 3.0, 0.6))
        sharpness = (F.avg_pool2d(detail.abs(), _BLOCK).flatten(1) + 1e-3).log()
        values = spread[..., ::4, ::4].flatten(1)
        extent = torch.cat([values.mean(dim=1, keepdim=True), _quantiles(values, (0.1, 0.9))], dim=1)
        return [(extent + 1e-4).log(), *map(_moments, responses), sharpness.std(dim=1, keepdim=True, unbiased=False),
                _quantiles(sharpness, _FEW_QUANTILES)]


def _roundness(light, radius):
    """How much every place is the centre of a circle, as drops on a lens are: ``(N, 1, H, W)`` in log units.

    Along a circle the gradient points to the centre or away from it. The share of the gradient's energy that does is
    taken in each sector of a ring, and the geometric mean over the sectors: what is straight fails in most of them.
    """
    right, down = light[..., 1:-1, 2:] - light[..., 1:-1, :-2], light[..., 2:, 1:-1] - light[..., :-2, 1:-1]
    squares = torch.cat([right * right, right * down, down * down], dim=1)
    reach = int(radius + 2)
    offsets = torch.arange(-reach, reach + 1, dtype=light.dtype, device=light.device)
    y, x = torch.meshgrid(offsets, offsets, indexing='ij')
    distance = (x * x + y * y).sqrt().clamp(min=0.5)
    ring = torch.exp(-(distance - radius)**2 / 2)
    angle = torch.atan2(y, x)
    centres = torch.arange(_SECTORS, dtype=light.dtype, device=light.device) * (2 * math.pi / _SECTORS)
    # cosines to a power: smooth sectors that overlap a little
    sectors = (torch.cos((angle - centres.view(-1, 1, 1)) / 2)**2)**12 * ring
    across, both, along = (x / distance)**2, 2 * x * y / distance**2, (y / distance)**2
    radial = torch.stack([sectors * across, sectors * both, sectors * along], dim=1)
    whole = torch.stack([sectors, torch.zeros_like(sectors), sectors], dim=1)
    energy = F.conv2d(squares, radial).clamp(min=0)
    total = F.conv2d(squares, whole)
    # grains in smooth places have no say
    floor = total.mean(dim=1, keepdim=True) * 0.2 + 1e-4
    return (energy / (total + floor) + 1e-3).log().mean(dim=1, keepdim=True)


def _moments(response):
    """Logarithms of mean magnitude, standard deviation and kurtosis, and the bounded skewness: ``(N, 4)``."""
    values = response.flatten(1)
    values = values - values.mean(dim=1, keepdim=True)
    deviation = values.std(dim=1, keepdim=True) + 1e-5
    unit = values / deviation
    cubes = unit * unit * unit
    return torch.cat([(values.abs().mean(dim=1, keepdim=True) + 1e-5).log(), deviation.log(),
                      torch.tanh(cubes.mean(dim=1, keepdim=True) / 3),
                      ((cubes * unit).mean(dim=1, keepdim=True) + 1e-5).log()], dim=1)


def _quantiles(values, shares):
    """Quantiles of the rows of ``values``: ``(N, len(shares))``."""
    ordered = values.sort(dim=1).values
    last = ordered.shape[1] - 1
    return torch.stack([ordered[:, round(share * last)] for share in shares], dim=1)


def _blur(image, sigma_x, sigma_y):
    """Gaussian blur of ``(N, 1, H, W)``, the border mirrored."""
    for sigma, shape in ((sigma_x, (1, 1, 1, -1)), (sigma_y, (1, 1, -1, 1))):
        radius = round(2.5 * sigma)
        distance = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-distance**2 / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view(shape)
        pad = (radius, radius, 0, 0) if shape[-1] == -1 else (0, 0, radius, radius)
        image = F.conv2d(F.pad(image, pad, mode='reflect'), kernel)
    return image


def load_classifier():
    """The network with the weights that ship.

    Returns:
        WeatherClassifier: In evaluation mode, float32, on the CPU.
    """
    from safetensors.torch import load_file
    network = WeatherClassifier()
    network.load_state_dict({name: value.float() for name, value in load_file(WEIGHTS).items()})
    return network.eval()
