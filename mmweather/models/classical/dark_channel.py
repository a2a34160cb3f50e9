"""The dark channel prior: haze removed without having learned anything.

He, Sun and Tang, "Single Image Haze Removal Using Dark Channel Prior" (CVPR 2009, TPAMI 2011): outdoors, almost every
neighbourhood of a clear image holds a pixel that is dark in some colour channel, so what brightness there is in the
darkest is haze. Transmission is refined by the guided filter of He, Sun and Tang (TPAMI 2013), in its fast form of He
and Sun (arXiv 1505.00996, 2015).

What is ours: the airlight is the mean and not the brightest of the haziest pixels, and follows a video slowly, so that
nothing flickers; a stereo pair has one airlight.
"""
import torch
from torch.nn import functional as F

from mmweather.models.temporal import RecurrentNetwork
from mmweather.registry import MODELS

__all__ = ['DarkChannelPrior', 'dark_channel', 'guided_filter']


@MODELS.register_module()
class DarkChannelPrior(RecurrentNetwork):
    """Dehazes by the dark channel prior; a baseline without parameters.

    With the airlight A and the dark channel of the image in its light, ``t = 1 - omega dark(I / A)`` is the
    transmission and ``J = (I - A) / max(t, t0) + A`` the clear image.

    Args:
        patch (int): Side of the neighbourhoods in pixels, odd. Defaults to 15.
        omega (float): Share of the haze that is removed; a trace of it keeps distance visible. Defaults to 0.95.
        min_transmission (float): t0. Defaults to 0.1.
        haziest (float): Share of the pixels, those with the brightest dark channel, that tell the airlight. Defaults
            to 0.001.
        radius (int): Radius of the guided filter in pixels. Defaults to 60.
        eps (float): Variance, for values in [0, 1], below which the guide counts as flat. Defaults to 1e-3.
        subsample (int): Factor by which the guided filter's models are coarser than the image. Defaults to 4.
        inertia (float): Share that the airlight of a video keeps from one frame to the next, in [0, 1). Defaults to
            0.9.
    """

    needs_weights = False
    # another scene stands in another light
    scene_cuts = True

    def __init__(self, patch=15, omega=0.95, min_transmission=0.1, haziest=0.001, radius=60, eps=1e-3, subsample=4,
                 inertia=0.9):
        super().__init__()
        if patch % 2 == 0:
            raise ValueError(f'patch: a neighbourhood has a pixel in its middle and an odd side, not {patch}')
        if not 0 <= inertia < 1:
            raise ValueError(f'inertia: expected a share in [0, 1), got {inertia}')
        self.patch, self.omega, self.min_transmission, self.haziest = patch, omega, min_transmission, haziest
        self.radius, self.eps, self.subsample, self.inertia = radius, eps, subsample, inertia

    def init_state(self, frames):  # noqa: ARG002
        """No airlight is known before the first frame."""
        return None

    def step(self, frames, state):
        """Dehaze one frame; see :meth:`RecurrentNetwork.step`. The state is the airlight, ``(N, 3)``."""
        views = frames[:, 0]
        images = views.flatten(0, -4)
        airlight = self.airlight(images).unflatten(0, (len(views), -1)).mean(dim=1)
        if state is not None:
            airlight = torch.lerp(airlight, state, self.inertia)
        light = airlight.repeat_interleave(len(images) // len(views), dim=0)[..., None, None]
        transmission = self.transmission(images, light).clamp(self.min_transmission, 1)
        clear = (images - light) / transmission + light
        return clear.clamp(0, 1).unflatten(0, views.shape[:-3]), airlight

    def airlight(self, images):
        """The mean colour of the haziest pixels.

        Args:
            images (Tensor): RGB ``(N, 3, H, W)`` in [0, 1].

        Returns:
            Tensor: ``(N, 3)``.
        """
        dark = dark_channel(images, self.patch).flatten(1)
        count = max(1, round(self.haziest * dark.shape[1]))
        chosen = dark.topk(count, dim=1, sorted=False).indices
        return images.flatten(2).gather(2, chosen[:, None].expand(-1, 3, -1)).mean(dim=2)

    def transmission(self, images, airlight):
        """The share of the scene's light that arrives, as the prior has it.

        Args:
            images (Tensor): RGB ``(N, 3, H, W)`` in [0, 1].
            airlight (Tensor): RGB ``(N, 3, 1, 1)`` in [0, 1].

        Returns:
            Tensor: ``(N, 1, H, W)``; refining may take it out of [0, 1].
        """
        # in darkness any image is hazier than the air
        coarse = 1 - self.omega * dark_channel(images / airlight.clamp(min=0.02), self.patch)
        return guided_filter(images, coarse, self.radius, self.eps, self.subsample)


def dark_channel(images, patch=15):
    """The least of all channels in the neighbourhood of each pixel.

    Args:
        images (Tensor): ``(N, C, H, W)``.
        patch (int): Side of the neighbourhood in pixels, odd. Defaults to 15.

    Returns:
        Tensor: ``(N, 1, H, W)``.
    """
    least = images.amin(dim=1, keepdim=True)
    half = patch // 2
    for dim, padding in ((2, (0, 0, half, half)), (3, (half, half, 0, 0))):
        least = F.pad(least, padding, value=float('inf'))
        # windows are put together from two smaller ones: pooling would look at every pixel `patch` times
        width = 1
        while width < patch:
            step = min(width, patch - width)
            length = least.shape[dim] - step
            least = torch.minimum(least.narrow(dim, 0, length), least.narrow(dim, step, length))
            width += step
    return least


def guided_filter(guide, image, radius, eps, subsample=1):
    """Smooths an image and keeps the edges of another: a linear model of the guide's colours in every window.

    Args:
        guide (Tensor): RGB ``(N, 3, H, W)`` in [0, 1].
        image (Tensor): ``(N, 1, H, W)``.
        radius (int): The windows are ``2 radius + 1`` pixels wide, and cut off at the borders.
        eps (float): Variance below which the guide counts as flat.
        subsample (int): Factor by which the models are coarser than the image. Defaults to 1.

    Returns:
        Tensor: ``(N, 1, H, W)``.
    """
    size = guide.shape[-2:]
    coarse, target = guide, image
    if subsample > 1:
        small = [max(1, round(length / subsample)) for length in size]
        coarse, target = (F.interpolate(x, small, mode='area') for x in (guide, image))
    radius = max(1, round(radius / subsample))
    r, g, b = coarse.unbind(1)
    products = torch.stack([r * r, r * g, r * b, g * g, g * b, b * b], dim=1)
    means = _box(torch.cat([coarse, target, products, coarse * target], dim=1), radius)
    mean, mean_target, mean_products, mean_mixed = means.split([3, 1, 6, 3], dim=1)
    covariance = mean_mixed - mean * mean_target
    r, g, b = mean.unbind(1)
    rr, rg, rb, gg, gb, bb = (mean_products - torch.stack([r * r, r * g, r * b, g * g, g * b, b * b], dim=1)).unbind(1)
    rr, gg, bb = rr + eps, gg + eps, bb + eps
    # the inverse of the symmetric 3x3 matrix, by cofactors
    cofactors = (gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb, rr * bb - rb * rb, rb * rg - rr * gb,
                 rr * gg - rg * rg)
    determinant = rr * cofactors[0] + rg * cofactors[1] + rb * cofactors[2]
    rr, rg, rb, gg, gb, bb = (cofactor / determinant for cofactor in cofactors)
    r, g, b = covariance.unbind(1)
    slopes = torch.stack([rr * r + rg * g + rb * b, rg * r + gg * g + gb * b, rb * r + gb * g + bb * b], dim=1)
    offset = mean_target - (slopes * mean).sum(dim=1, keepdim=True)
    model = _box(torch.cat([slopes, offset], dim=1), radius)
    if subsample > 1:
        model = F.interpolate(model, size, mode='bilinear', align_corners=False)
    return (model[:, :3] * guide).sum(dim=1, keepdim=True) + model[:, 3:]


def _box(images, radius):
    """The mean over windows, which are cut off at the borders."""
    for dim in (2, 3):
        length = images.shape[dim]
        sums = F.pad(images.cumsum(dim), (0, 0, 1, 0) if dim == 2 else (1, 0))
        index = torch.arange(length, device=images.device)
        end, start = (index + radius + 1).clamp(max=length), (index - radius).clamp(min=0)
        count = (end - start).to(images.dtype).view(-1, 1) if dim == 2 else (end - start).to(images.dtype)
        images = (sums.index_select(dim, end) - sums.index_select(dim, start)) / count
    return images
