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
    a pixel shuffle shows them as a layer of the frame, where they can be checked against the frame itself. Transmission
    and airlight also hear of means over the frame, of its features and of those of its snow: how thick the air is, is
    hard to tell from a patch, but the more flakes fall, the thicker it is. Thicknesses of haze and of flakes add up to
    that of the transmission, and the snow layer is the flakes' opacity times their light. Flakes are smaller than a
    feature: what speaks for one at each pixel is weighed by the features and added before the activation.

    Args:
        channels (int): Channels of the features at a quarter of the resolution.
        num_evidence (int): Kinds of evidence. Defaults to 3.
        beta (float): Of the feature-level inverse, where T is a sigmoid and may come close to zero. Defaults to 0.1.
    """

    def __init__(self, channels, num_evidence=3, beta=0.1):
        super().__init__()
        self.beta = beta
        self.read_snow = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.1, inplace=True))
        self.read_transmission = nn.Conv2d(channels, channels, 3, padding=1)
        self.weather = nn.Linear(2 * channels, channels)
        self.read_airlight = nn.Sequential(nn.Linear(2 * channels, channels), nn.LeakyReLU(0.1, inplace=True))
        self.snow_features = nn.Conv2d(channels, channels, 1)
        self.transmission_features = nn.Conv2d(channels, channels, 1)
        self.airlight_features = nn.Linear(channels, channels)
        self.to_snow = nn.Conv2d(channels, 3 * 16, 3, padding=1)
        self.to_transmission = nn.Conv2d(channels, 16, 3, padding=1)
        self.to_airlight = nn.Linear(channels, 3)
        self.to_opacity = nn.Conv2d(channels, 16, 3, padding=1)
        self.weigh_for_opacity = nn.Conv2d(channels, num_evidence, 1)

    def init_weights(self):
        """Begins with clear air: no snow, full transmission, features that pass as they are (but for beta).

        Only where the first kind of evidence is strong, flakes are seen from the beginning.
        """
        for layer in (self.snow_features, self.airlight_features, self.to_snow, self.to_transmission,
                      self.to_airlight, self.transmission_features, self.to_opacity, self.weigh_for_opacity):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.to_snow.bias, -2.0)
        nn.init.constant_(self.to_opacity.bias, -5.0)
        nn.init.constant_(self.weigh_for_opacity.bias[:1], 15.0)
        nn.init.constant_(self.to_transmission.bias, -4.0)
        nn.init.constant_(self.transmission_features.bias, 3.0)
        nn.init.constant_(self.to_airlight.bias, 1.0)

    def statistics(self, features):
        """What :meth:`forward` takes the mean over the frame of, ``(N, 2C, H/4, W/4)``."""
        return torch.cat((features, self.read_snow(features)), dim=1)

    def forward(self, features, means=None, evidence=None):
        """Takes features apart.

        Args:
            features (Tensor): ``(N, C, H/4, W/4)`` of snowy frames.
            means (Tensor, optional): Means of :meth:`statistics` over the whole frames, ``(N, 2C)``, where ``features``
                are but of a tile. Defaults to None: over ``features``.
            evidence (Tensor, optional): What speaks for a flake at each pixel, ``(N, num_evidence, H, W)``, not
                negative. Defaults to None: nothing.

        Returns:
            tuple[Tensor, dict[str, Tensor]]: Features without snow and haze ``(N, C, H/4, W/4)``, and the layers:
            ``snow`` ``(N, 3, H, W)``, not negative; ``transmission`` ``(N, 1, H, W)`` in (0, 1); ``airlight``
            ``(N, 3, 1, 1)`` in (0, 1); and ``opacity`` of the flakes ``(N, 1, H, W)`` in (0, 1), which is part of the
            transmission.
        """
        snow = self.read_snow(features)
        if means is None:
            means = torch.cat((features.mean((-2, -1)), snow.mean((-2, -1))), dim=1)
        transmission = F.leaky_relu(
            self.read_transmission(features) + self.weather(means)[..., None, None], 0.1, inplace=True)
        airlight = self.read_airlight(means)
        restored = invert(features, self.snow_features(snow), self.transmission_features(transmission).sigmoid(),
                          self.airlight_features(airlight)[..., None, None], self.beta)
        flakes = self.to_opacity(snow)
        if evidence is not None:
            flakes = flakes + weigh(evidence, self.weigh_for_opacity(snow))
        # Koschmieder's law with thicknesses that cannot be negative
        flakes = F.softplus(_to_pixels(flakes))
        haze = F.softplus(_to_pixels(self.to_transmission(transmission)))
        opacity = -torch.expm1(-flakes)
        layers = dict(snow=opacity * F.softplus(_to_pixels(self.to_snow(snow))), transmission=torch.exp(-haze - flakes),
                      airlight=self.to_airlight(airlight).float().sigmoid()[..., None, None], opacity=opacity)
        return restored, layers


def weigh(evidence, weights):
    """Sums evidence at the pixels with weights of the features.

    Args:
        evidence (Tensor): ``(N, K, H, W)``.
        weights (Tensor): Of each kind of evidence for each of L layers, ``(N, L K, H/4, W/4)``.

    Returns:
        Tensor: ``(N, 16 L, H/4, W/4)``, to be shuffled to the pixels.
    """
    kinds = evidence.shape[1]
    evidence = F.pixel_unshuffle(evidence, 4).unflatten(1, (1, kinds, 16))
    return (weights.unflatten(1, (-1, kinds))[:, :, :, None] * evidence).sum(2).flatten(1, 2)


def _to_pixels(x):
    """Pixel shuffle by 4, in float32: a transmission near one has no digits to spare in half precision."""
    return F.pixel_shuffle(x, 4).float()
