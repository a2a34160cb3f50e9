"""How snow and haze make a frame, and how it is undone, for pixels and for features.

The model ``I = J T + A (1 - T) + S`` (clean scene J, transmission T, airlight A, snow layer S) and its feature-level
inverse are quoted by SemiVDN (arXiv 2410.07901) as what the group's methods build on. The heads are ours.
"""
import torch
import torch.nn.functional as F
from torch import nn


def compose(clean, snow, transmission, airlight):
    """Puts snow and haze on a clean frame, ``J T + A (1 - T) + S``.

    Args:
        clean (Tensor): J, ``(..., C, H, W)``.
        snow (Tensor): S, likewise.
        transmission (Tensor): T in [0, 1], ``(..., 1 or C, H, W)``.
        airlight (Tensor): A, ``(..., C, 1, 1)`` or of full size.

    Returns:
        Tensor: I, ``(..., C, H, W)``.
    """
    return clean * transmission + airlight * (1 - transmission) + snow


def invert(observed, snow, transmission, airlight, beta=0.0, floor=0.0):
    """Takes snow and haze off again, ``(I - S - (1 - T) A) / (T + beta)``.

    Args:
        observed (Tensor): I, ``(..., C, H, W)``.
        snow (Tensor): S, likewise.
        transmission (Tensor): T in [0, 1], ``(..., 1 or C, H, W)``.
        airlight (Tensor): A, ``(..., C, 1, 1)`` or of full size.
        beta (float): Keeps the division away from zero, at the price of a bias. Defaults to 0.0.
        floor (float): Keeps it away by taking T for at least this; exact wherever T is larger. Defaults to 0.0.

    Returns:
        Tensor: J, ``(..., C, H, W)``.
    """
    return (observed - snow - (1 - transmission) * airlight) / (transmission.clamp_min(floor) + beta)


class PhysicalHeads(nn.Module):
    """Reads snow layer, transmission and airlight off a frame's features, and takes them off the features.

    Three light heads, each of which serves twice: its features enter the feature-level inverse, and a convolution with
    a pixel shuffle shows them as a layer of the frame, where they can be checked against the frame itself.

    Args:
        channels (int): Channels of the features at a quarter of the resolution.
        beta (float): Of the feature-level inverse, where T is a sigmoid and may come close to zero. Defaults to 0.1.
    """

    def __init__(self, channels, beta=0.1):
        super().__init__()
        self.beta = beta
        self.read_snow = _head(channels)
        self.read_transmission = _head(channels)
        self.read_airlight = nn.Sequential(nn.Linear(channels, channels), nn.LeakyReLU(0.1, inplace=True))
        self.snow_features = nn.Conv2d(channels, channels, 1)
        self.transmission_features = nn.Conv2d(channels, channels, 1)
        self.airlight_features = nn.Linear(channels, channels)
        self.to_snow = nn.Conv2d(channels, 3 * 16, 3, padding=1)
        self.to_transmission = nn.Conv2d(channels, 16, 3, padding=1)
        self.to_airlight = nn.Linear(channels, 3)

    def init_weights(self):
        """Begins with clear air: no snow, full transmission, features that pass as they are (but for beta)."""
        for layer in (self.snow_features, self.airlight_features, self.to_snow, self.to_transmission,
                      self.to_airlight, self.transmission_features):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.to_snow.bias, -4.0)
        nn.init.constant_(self.to_transmission.bias, -4.0)
        nn.init.constant_(self.transmission_features.bias, 3.0)
        nn.init.constant_(self.to_airlight.bias, 1.0)

    def forward(self, features):
        """Takes features apart.

        Args:
            features (Tensor): ``(N, C, H/4, W/4)`` of snowy frames.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Features without snow and haze ``(N, C, H/4, W/4)``, and the layers:
            ``snow`` ``(N, 3, H, W)``, not negative; ``transmission`` ``(N, 1, H, W)`` in (0, 1); ``airlight``
            ``(N, 3, 1, 1)`` in (0, 1).
        """
        snow, transmission = self.read_snow(features), self.read_transmission(features)
        airlight = self.read_airlight(features.mean((-2, -1)))
        restored = invert(features, self.snow_features(snow), self.transmission_features(transmission).sigmoid(),
                          self.airlight_features(airlight)[..., None, None], self.beta)
        layers = dict(
            snow=F.softplus(_to_pixels(self.to_snow(snow))),
            # Koschmieder's law with a thickness that cannot be negative
            transmission=torch.exp(-F.softplus(_to_pixels(self.to_transmission(transmission)))),
            airlight=self.to_airlight(airlight).float().sigmoid()[..., None, None])
        return restored, layers


def _head(channels):
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))


def _to_pixels(x):
    """Pixel shuffle by 4, in float32: a transmission near one has no digits to spare in half precision."""
    return F.pixel_shuffle(x, 4).float()
