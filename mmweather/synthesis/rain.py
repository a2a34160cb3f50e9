"""Rain streaks in depth layers.

A drop that falls during the exposure leaves a streak of length ``f / z * |v| * exposure`` pixels: near drops are long,
wide and out of focus, far ones fine and dense (Garg and Nayar, "Vision and Rain", IJCV 2007). Between two frames a drop
falls farther than the length of its streak and most leave the frame or its depth of field, so every frame has new
streaks; what persists is their direction, their density and how bright they are.

Streaks are composited as a thin veil of the ambient light, ``I = J (1 - a) + a L``: a drop gathers light from a field
of view of some 165 degrees, so that it shows the brightness of its surroundings, mostly the sky.
"""
import cv2
import numpy as np

from .randomness import generator, smooth_signal

__all__ = ['Rain', 'ambient_light', 'composite_streaks', 'default_focal']

# metres; each layer's streaks hide behind whatever in the scene is nearer
NEAREST_LAYER, FARTHEST_LAYER = 1.4, 12.0
# opacity of a streak at strength 1 and streaks per unit of solid angle, both calibrated on real video:
# with the lens drops, about 22 dB between rainy and clean
STREAK_OPACITY = 0.8
STREAK_DENSITY = 1900.0


def default_focal(size):
    """Focal length in pixels of a frame about which nothing is known: 0.9 of its longer side, some 58 degrees.

    Frames under 432 pixels count as crops of such a frame, so that weather on a training patch has the scale it has on
    a video.
    """
    return 0.9 * max(*size, 432)


def ambient_light(frame):
    """The light that a falling drop shows: the brighter part of the frame, lifted.

    Args:
        frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        numpy.ndarray: float32 ``(3,)`` in [0, 255].
    """
    small = cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    luminance = small @ np.float32([0.299, 0.587, 0.114])
    bright = small[np.argsort(luminance, kind='stable')[-64:]].mean(axis=0)
    # water hardly tints light, and the sky above the frame is brighter than what is in it
    light = 0.5 * bright + 0.5 * bright.mean()
    return np.clip(light * 1.15 + 25, 90, 250).astype(np.float32)


class Rain:
    """Falling rain as a pure function of (seed, frame index).

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): Scales the number of streaks and, more gently, their opacity. Defaults to 1.0.
        fps (float): Frames per second; gusts live in seconds. Defaults to 25.
        wind (float, optional): Horizontal wind in m/s, positive to the right. Defaults to None (drawn from the seed).
        speed (float): Fall speed in m/s. Defaults to 8.0.
        exposure (float): Seconds that the shutter is open. Defaults to 0.025.
        forward (float): Speed of the camera along its axis in m/s; streaks then lean away from the centre. Defaults
            to 0.0.
        layers (int): Number of depth layers. Defaults to 5.
        focal (float, optional): Focal length in pixels, the scale of everything. Defaults to None
            (:func:`default_focal`).
        defocus (float): Scales the blur of near layers. Defaults to 1.0.
        opacity (float): Opacity of a streak at strength 1, in [0, 1]. Defaults to ``STREAK_OPACITY``.
        density (float): Streaks per unit of solid angle at strength 1. Defaults to ``STREAK_DENSITY``.
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, wind=None, speed=8.0, exposure=0.025, forward=0.0, layers=5,
                 focal=None, defocus=1.0, opacity=STREAK_OPACITY, density=STREAK_DENSITY):
        self.size = (int(size[0]), int(size[1]))
        self.seed = seed
        self.strength = float(strength)
        self.fps = float(fps)
        self.wind = float(generator(seed, 'rain', 'wind').uniform(-3.0, 3.0)) if wind is None else float(wind)
        self.speed = float(speed)
        self.exposure = float(exposure)
        self.forward = float(forward)
        self.focal = default_focal(self.size) if focal is None else float(focal)
        self.defocus = float(defocus)
        self.opacity = float(opacity)
        self.density = float(density)
        self.depths = np.geomspace(NEAREST_LAYER, FARTHEST_LAYER, layers)

    def render(self, t, depth=None):
        """The opacity of the streaks in one frame.

        Args:
            t (int): Frame index.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``; streaks behind a surface are hidden.
                Defaults to None (everything is farther away than the rain).

        Returns:
            numpy.ndarray: float32 ``(H, W)`` in [0, 1].
        """
        total = np.zeros(self.size, np.float32)
        if self.strength <= 0:
            return total
        gust = smooth_signal(self.seed, t / self.fps, 0.8, 'rain', 'gust')
        lean = smooth_signal(self.seed, t / self.fps, 1.3, 'rain', 'lean')
        share = self.depths**1.4
        share = share / share.sum()
        for index, layer_depth in enumerate(self.depths):
            layer = self._layer(t, index, layer_depth, share[index] * (1 + 0.25 * gust), self.wind + 0.6 * lean)
            if layer is None:
                continue
            if depth is not None:
                # a soft edge of a tenth of the layer's depth, since a layer stands for a slab of rain
                layer *= np.clip((depth - layer_depth) / (0.1 * layer_depth) + 0.5, 0, 1).astype(np.float32)
            total += layer
        # overlapping veils absorb like any medium
        np.negative(total, out=total)
        np.exp(total, out=total)
        return np.subtract(1, total, out=total)

    def _layer(self, t, index, layer_depth, share, wind):
        """Optical thickness of one depth layer, float32 ``(H, W)``, or None where it has no streak."""
        height, width = self.size
        rng = generator(self.seed, 'rain', index, t)
        scale = self.focal / layer_depth
        longest = int(np.ceil(1.5 * scale * (self.speed + 0.5 * abs(self.forward)) * self.exposure)) + 2
        # streaks start above and beside the frame as well
        margin = int(abs(wind) / self.speed * longest) + 4
        area = (height + longest) * (width + 2 * margin) / self.focal**2
        count = rng.poisson(self.density * self.strength**0.7 * share * area)
        if count == 0:
            return None
        top = rng.uniform(-longest, height, count)
        left = rng.uniform(-margin, width + margin, count)
        fall = self.speed * rng.normal(1.0, 0.12, count).clip(0.6, 1.4)
        drift = wind * rng.normal(1.0, 0.15, count) + rng.normal(0.0, 0.25, count)
        # a camera that moves forward makes everything flow away from the frame's centre
        fall_seen = fall + self.forward * (top - height / 2) / self.focal
        drift_seen = drift + self.forward * (left - width / 2) / self.focal
        length = np.clip(scale * np.abs(fall_seen) * self.exposure, 2, 2 * longest)
        slope = np.clip(drift_seen / np.maximum(np.abs(fall_seen), 0.25 * self.speed), -1.5, 1.5)
        brightness = rng.gamma(4.0, 0.25, count).clip(0.2, 2.2)

        rows = np.maximum(length.astype(np.int64), 2)
        first = np.floor(top).astype(np.int64)
        owner = np.repeat(np.arange(count), rows)
        step = np.arange(owner.size) - np.repeat(np.cumsum(rows) - rows, rows)
        y = first[owner] + step
        x = left[owner] + slope[owner] * step
        phase = (step + 0.5) / rows[owner]
        # soft ends, a bright middle
        profile = brightness[owner] * (1 - (2 * phase - 1)**4)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width - 1)
        y, x, profile = y[inside], x[inside], profile[inside]
        x0 = x.astype(np.int64)
        fraction = x - x0
        cell = y * width + x0
        canvas = np.bincount(cell, profile * (1 - fraction), height * width)
        canvas += np.bincount(cell + 1, profile * fraction, height * width)
        canvas = canvas.astype(np.float32).reshape(height, width)

        # half width in pixels: the drop itself and the circle of confusion of a lens focused far away
        resolution = self.focal / 390
        sigma = resolution * (0.35 + 1.9 * self.defocus / layer_depth)
        peak = self.opacity * self.strength**0.3 * rng.normal(1.0, 0.08)
        # far streaks are thinner than a pixel and so cover it only in part
        peak *= 0.45 + 0.55 * min(1.0, 3.0 / layer_depth)
        peak *= 1.0 / (1.0 + 0.5 * max(0.0, 2.2 / layer_depth - 0.8))
        if sigma > 0.3:
            canvas = cv2.GaussianBlur(canvas, (0, 0), sigma)
            peak *= max(1.0, 2.2 * sigma)
        canvas *= np.float32(peak)
        return canvas

    def apply(self, frame, t, depth=None):
        """Rain on a frame.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``. Defaults to None.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: The rainy frame, uint8 ``(H, W, 3)``, and the opacity of the streaks,
            float32 ``(H, W)`` in [0, 1].
        """
        streak = self.render(t, depth)
        return composite_streaks(frame, streak, ambient_light(frame)), streak


def composite_streaks(frame, streak, light):
    """Streaks over a frame: ``J (1 - a) + a L``.

    Args:
        frame (numpy.ndarray): J, uint8 RGB ``(H, W, 3)``.
        streak (numpy.ndarray): a, float32 ``(H, W)`` in [0, 1].
        light (numpy.ndarray): L, ``(3,)`` in [0, 255]; see :func:`ambient_light`.

    Returns:
        numpy.ndarray: uint8 ``(H, W, 3)``.
    """
    rainy = np.empty_like(frame)
    for channel in range(3):
        plane = frame[..., channel].astype(np.float32)
        plane += streak * (light[channel] - plane)
        plane += 0.5
        rainy[..., channel] = plane
    return rainy
