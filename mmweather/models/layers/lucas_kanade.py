"""Optical flow by Lucas and Kanade's iterative registration (IJCAI 1981), coarse to fine, without anything to learn."""
import torch
import torch.nn.functional as F
from torch import nn

from mmweather.registry import MODELS

from .warp import flow_warp
from .window import window_mean


@MODELS.register_module()
class LucasKanade(nn.Module):
    """A flow network that is computed and not learned, for networks whose training is too short to learn motion.

    On every level of a pyramid, from coarse to fine, the support is warped by the flow so far, and each pixel takes the
    small step that best explains in the least squares what difference is left around it (Bouguet, 2000). Pixels that
    differ much count little (Geman and McClure's weights), since something may be falling in front of them there.
    Called as :class:`SPyNet`.

    Args:
        num_levels (int): Levels of the pyramid; the largest motion that is found is about a pixel of the coarsest for
            every iteration. Defaults to 5.
        iterations (int): Steps per level. Defaults to 3.
        radius (int): Pixels are registered with a neighbourhood of about twice this radius, by a box filter of this
            radius applied twice. Defaults to 3.
        scale (float): The difference of intensities, in [0, 1], at which the weight has fallen to one half.
            Defaults to 0.1.
        eps (float): Added to the squared gradients, so that nothing moves where nothing can be seen. Defaults to 1e-4.
    """

    def __init__(self, num_levels=5, iterations=3, radius=3, scale=0.1, eps=1e-4):
        super().__init__()
        self.num_levels, self.iterations, self.radius = num_levels, iterations, radius
        self.scale, self.eps = scale, eps

    @torch.no_grad()
    def forward(self, reference, support):
        """Estimates the flow with which ``support`` must be warped to look like ``reference``.

        Args:
            reference (Tensor): Frames ``(N, 3, H, W)``, RGB in [0, 1].
            support (Tensor): Frames of the same shape.

        Returns:
            Tensor: Flow ``(N, 2, H, W)`` in pixels, x before y; it has no gradient.
        """
        pyramid = [(reference, support)]
        while len(pyramid) < self.num_levels and min(pyramid[-1][0].shape[-2:]) >= 8:
            pyramid.append(tuple(F.avg_pool2d(frame, 2, ceil_mode=True) for frame in pyramid[-1]))
        flow = None
        for fixed, moving in reversed(pyramid):
            height, width = fixed.shape[-2:]
            if flow is None:
                flow = fixed.new_zeros(len(fixed), 2, height, width)
            else:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode='bilinear', align_corners=False)
                flow = flow[..., :height, :width]
            gradients = _gradients(fixed)
            for _ in range(self.iterations):
                flow = flow + self._step(fixed, flow_warp(moving, flow, padding_mode='border'), gradients)
            flow = _smooth(flow, 1)
        return flow

    def _step(self, fixed, warped, gradients):
        """The displacement ``(N, 2, H, W)`` that takes the difference away to first order, at most a pixel long."""
        gx, gy = ((one + other) / 2 for one, other in zip(gradients, _gradients(warped)))
        difference = warped - fixed
        weight = 1 / (1 + (difference / self.scale).square().sum(1, keepdim=True))
        sums = _smooth(torch.cat([(weight * product).sum(1, keepdim=True) for product in (
            gx * gx, gx * gy, gy * gy, gx * difference, gy * difference)], dim=1), self.radius)
        xx, xy, yy, xd, yd = sums.unbind(1)
        xx, yy = xx + self.eps, yy + self.eps
        step = torch.stack((xy * yd - yy * xd, xy * xd - xx * yd), dim=1) / (xx * yy - xy * xy)[:, None]
        return step.clamp(-1, 1)


def _gradients(x):
    """Central differences along x and along y."""
    padded = F.pad(x, (1, 1, 1, 1), mode='replicate')
    return ((padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2,
            (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2)


def _smooth(x, radius):
    """A box filter applied twice."""
    return window_mean(window_mean(x, radius), radius)
