"""Falling snow: flakes in a volume of air in front of the camera, and the veil of those too far away to be seen singly.

Flakes are particles in a periodic box that holds everything the camera sees up to some metres. They fall, drift with
wind and gusts, swirl with their neighbours and flutter by themselves; where each one is, is a closed function of time,
so any frame can be rendered alone. A flake is projected with its size and its circle of confusion, smeared along its
way during the exposure, and hidden behind whatever in the scene is nearer. Beyond the box flakes melt into a veil whose
extinction follows from their number and cross-section (Koschmieder's law).

A flake of opacity ``a`` and colour ``F`` before a background ``B`` gives ``(1 - a) B + a F``, and a background seen
through a veil of transmission ``v`` is ``B = v J + (1 - v) A``. Both together are exactly the model that SVDNet and its
relatives take apart,

    ``I = J T + A (1 - T) + S``  with  ``T = v (1 - a)``  and  ``S = a (F - A)``,

where S is not negative because flakes here are at least as bright as the airlight.
"""
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .noise import fractal_noise
from .rain import ambient_light, default_focal
from .randomness import generator

__all__ = ['Flakes', 'Snow', 'SnowOn', 'SnowyClip', 'airlight_of', 'random_snow', 'snow_on']

# metres from the camera between which flakes are drawn one by one
NEAREST, FARTHEST = 0.25, 12.0
# flakes per cubic metre at strength 1; with the veil calibrated on real video: about 22 dB between snowy and clean
FLAKE_DENSITY = 54.0
# metres, median of a log-normal distribution: the large aggregates of a heavy fall near 0 degrees Celsius
DIAMETER = 0.009
# extinction per flake in units of its cross-section: the limit of large particles (van de Hulst)
VEIL_EFFICIENCY = 2.0
# metres; beyond, the veil does not thicken, so that the sky keeps some of its texture
VEIL_DEPTH = 60.0
# optical thickness of a flake; they are loose heaps of crystals
THICKNESS = 1.5
# pixels around the frame in which flakes are kept, for streaks and blur that reach in
PAD = 16
# radii in pixels at which splats are blurred; a splat takes the nearest
RADII = np.geomspace(0.5, 45, 14)


@dataclass
class Flakes:
    """All flakes of a volume at one moment, N of them.

    Axes are those of the camera: x to the right, y down, z away from it, in metres.

    Attributes:
        position (numpy.ndarray): float32 ``(N, 3)``, metres.
        velocity (numpy.ndarray): float32 ``(N, 3)``, metres per second.
        diameter (numpy.ndarray): float32 ``(N,)``, metres.
    """
    position: np.ndarray
    velocity: np.ndarray
    diameter: np.ndarray


@dataclass
class SnowyClip:
    """A snowed-on clip and its layers, all uint8; 255 stands for 1.

    ``lq = gt * transmission + airlight * (1 - transmission) + snow`` up to rounding and clipping.

    Attributes:
        lq (numpy.ndarray): Snowy frames ``(T, H, W, 3)``.
        gt (numpy.ndarray): Clean frames ``(T, H, W, 3)``.
        snow (numpy.ndarray): The snow layer S ``(T, H, W, 3)``.
        transmission (numpy.ndarray): How much of the scene is seen, through veil and flakes, ``(T, H, W, 1)``.
        airlight (numpy.ndarray): The veil's colour ``(T, 1, 1, 3)``.
        mask (numpy.ndarray): Opacity of the flakes ``(T, H, W, 1)``.
    """
    lq: np.ndarray
    gt: np.ndarray
    snow: np.ndarray
    transmission: np.ndarray
    airlight: np.ndarray
    mask: np.ndarray


class Snow:
    """Falling snow as a pure function of (seed, frame index).

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): Scales the number of flakes, and with it the veil. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        density (float): Flakes per cubic metre at strength 1. Defaults to ``FLAKE_DENSITY``.
        diameter (float): Median diameter in metres. Defaults to ``DIAMETER``.
        speed (float): Mean fall speed in m/s. Defaults to 1.3.
        wind (float, optional): Horizontal wind in m/s, positive to the right. Defaults to None (drawn from the seed).
        turbulence (float): Speed of gusts and swirls in m/s, 0 for still air. Defaults to 0.5.
        exposure (float): Seconds that the shutter is open. Defaults to 0.012.
        forward (float): Speed of the camera along its axis in m/s. Defaults to 0.0.
        aperture (float): Radius of the lens's opening in metres; flakes out of focus become discs. Defaults to 0.003.
        focus (float): Distance in metres at which flakes are sharp. Defaults to 8.0.
        focal (float, optional): Focal length in pixels, the scale of everything. Defaults to None
            (:func:`default_focal`).
        veil (float): Scales the veil; 0 for none. Defaults to 1.0.
        distances (tuple[float, float]): Metres to the scene at the top and at the bottom of the frame, where its depth
            is not known; the veil needs some distance. Defaults to (25.0, 6.0).
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, density=FLAKE_DENSITY, diameter=DIAMETER, speed=1.3,
                 wind=None, turbulence=0.5, exposure=0.012, forward=0.0, aperture=0.003, focus=8.0, focal=None,
                 veil=1.0, distances=(25.0, 6.0)):
        self.size = (int(size[0]), int(size[1]))
        self.seed = seed
        self.fps = float(fps)
        self.density = float(density) * float(strength)
        self.diameter = float(diameter)
        self.speed = float(speed)
        self.wind = float(generator(seed, 'snow', 'wind').normal(0, 1.0)) if wind is None else float(wind)
        self.turbulence = float(turbulence)
        self.exposure = float(exposure)
        self.forward = float(forward)
        self.aperture = float(aperture)
        self.focus = float(focus)
        self.focal = default_focal(self.size) if focal is None else float(focal)
        self.veil = float(veil)
        self.distances = tuple(map(float, distances))
        height, width = self.size
        #: numpy.ndarray: sides of the periodic box in metres, x, y and z.
        self.box = np.float32([2 * FARTHEST * (width / 2 + PAD) / self.focal,
                               2 * FARTHEST * (height / 2 + PAD) / self.focal, FARTHEST - NEAREST])
        self.count = round(self.density * float(np.prod(self.box)))
        self._scatter()

    def _scatter(self):
        """Draw what every flake keeps for its life."""
        rng = generator(self.seed, 'snow', 'flakes')
        self._home = rng.random((self.count, 3), np.float32) * self.box
        size = np.exp(rng.normal(0, 0.35, self.count))
        self._diameter = (self.diameter * size).astype(np.float32)
        # large flakes fall a little faster; normalised, so that the mean speed is the one that was asked for
        fall = size**0.2 * rng.normal(1, 0.08, self.count).clip(0.7, 1.3)
        self._fall = (self.speed * fall / max(fall.mean(), 1e-6)).astype(np.float32) if self.count else fall
        self._flutter = rng.uniform(0.6, 1.8, self.count).astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, (self.count, 4)).astype(np.float32)
        air = generator(self.seed, 'snow', 'air')
        directions = air.normal(size=(4, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        # each swirl is a transverse wave, so that air neither gathers nor thins anywhere
        across = np.cross(directions, air.normal(size=(4, 3)))
        self._swirl_axes = (across / np.linalg.norm(across, axis=1, keepdims=True)).astype(np.float32)
        self._swirl_waves = (directions * 2 * np.pi / air.uniform(0.8, 4.0, (4, 1))).astype(np.float32)
        self._swirl_pace = air.uniform(1.5, 5.0, 4)
        self._gust_pace = 2 * np.pi / air.uniform(2.0, 7.0, 3)
        self._gust_phase = air.uniform(0, 2 * np.pi, 3)

    def _way(self, time):
        """Where every flake has come, in metres from its home, float32 ``(N, 3)``; not wrapped into the box."""
        way = np.empty((self.count, 3), np.float32)
        gust = float((np.sin(self._gust_pace * time + self._gust_phase) / self._gust_pace).sum())
        way[:, 0] = self.wind * time + 0.5 * self.turbulence * gust
        way[:, 1] = self._fall * np.float32(time)
        way[:, 2] = -self.forward * time
        if self.turbulence:
            for axis, wave, pace in zip(self._swirl_axes, self._swirl_waves, self._swirl_pace):
                swing = np.sin(self._home @ wave + np.float32(pace * time))
                way += swing[:, None] * (axis * np.float32(0.5 * self.turbulence / pace))
            angle = self._flutter * np.float32(2 * np.pi * time)
            sway = np.float32(0.05 * self.turbulence)
            way[:, 0] += sway * np.sin(angle + self._phase[:, 0])
            way[:, 2] += sway * np.sin(angle + self._phase[:, 1])
        return way

    def _positions(self, *times):
        """Positions in camera axes at several moments; all wrapped by as much as at the first."""
        ways = [self._way(time) for time in times]
        wrapped = np.mod(self._home + ways[0], self.box)
        corner = np.float32([-self.box[0] / 2, -self.box[1] / 2, NEAREST])
        return [wrapped + (way - ways[0]) + corner for way in ways]

    def flakes(self, t):
        """The flakes of the whole volume, seen or not.

        Args:
            t (float): Frame index.

        Returns:
            Flakes: Where they are and how fast.
        """
        time, step = t / self.fps, 1e-3
        here, before, after = self._positions(time, time - step, time + step)
        return Flakes(here, (after - before) / np.float32(2 * step), self._diameter)

    def render(self, t, depth=None):
        """The opacity of the flakes in one frame.

        Args:
            t (float): Frame index.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``; flakes behind a surface are hidden.
                Defaults to None (everything is farther away than the flakes).

        Returns:
            numpy.ndarray: float32 ``(H, W)`` in [0, 1].
        """
        thickness = np.zeros(self.size, np.float32)
        if self.count:
            x, y, radius, mass = self._splats(t, depth)
            classes = np.abs(np.log(np.maximum(radius, 1e-3))[:, None] - np.log(RADII)).argmin(axis=1)
            for number in np.unique(classes):
                chosen = classes == number
                thickness += _draw(self.size, x[chosen], y[chosen], mass[chosen], float(RADII[number]))
        return 1 - np.exp(-THICKNESS * thickness)

    def _splats(self, t, depth):
        """Points to draw: pixel coordinates, radius in pixels, and the area in pixels that each covers."""
        height, width = self.size
        time = t / self.fps
        middle, opening, closing = self._positions(time, time - self.exposure / 2, time + self.exposure / 2)
        z = middle[:, 2]
        scale = self.focal / np.maximum(z, 1e-3)
        column, row = middle[:, 0] * scale + (width - 1) / 2, middle[:, 1] * scale + (height - 1) / 2
        ways = (closing - opening) * scale[:, None]
        # a change of distance moves the flake away from the centre
        ways[:, 0] -= ways[:, 2] * (column - (width - 1) / 2) / self.focal
        ways[:, 1] -= ways[:, 2] * (row - (height - 1) / 2) / self.focal
        radius = self._diameter / 2 * scale
        blur = self.aperture * self.focal * np.abs(1 / np.maximum(z, 1e-3) - 1 / self.focus)
        length = np.hypot(ways[:, 0], ways[:, 1])
        reach = PAD + radius + blur + length
        seen = np.flatnonzero((column > -reach) & (column < width + reach) & (row > -reach) & (row < height + reach))
        # come and go softly where the box begins and ends
        fade = np.clip((FARTHEST - z) / (0.15 * FARTHEST), 0, 1) * np.clip((z - NEAREST) / 0.1, 0, 1)

        # a flake that is more than a dot is a heap of three, which tumbles
        lumps = np.where(radius[seen] > 1.0, 3, 1)
        owner = np.repeat(seen, lumps)
        lump = np.arange(owner.size) - np.repeat(np.cumsum(lumps) - lumps, lumps)
        heap = np.repeat(lumps == 3, lumps)
        angle = (self._phase[owner, 2] + lump * (2 * np.pi / 3 + 0.4 * np.sin(self._phase[owner, 3]))
                 + 4 * self._flutter[owner] * time)
        away = np.where(heap, (0.35 + 0.25 * np.cos(self._phase[owner, 3] + 2 * lump)) * radius[owner], 0)
        size = np.where(heap, (0.7 - 0.1 * lump) * radius[owner], radius[owner])

        # points along the way during the exposure, close enough to merge
        spread = np.hypot(size, blur[owner])
        points = np.clip(np.ceil(length[owner] / np.maximum(0.8 * spread, 0.6)), 1, 40).astype(np.int64)
        step = np.arange(points.sum()) - np.repeat(np.cumsum(points) - points, points)
        share = (step + 0.5) / np.repeat(points, points) - 0.5
        of = np.repeat(np.arange(owner.size), points)
        x = column[owner][of] + (away * np.cos(angle))[of] + share * ways[owner, 0][of]
        y = row[owner][of] + (away * np.sin(angle) * 0.8)[of] + share * ways[owner, 1][of]
        mass = (np.pi * size**2 * fade[owner] / points)[of]
        if depth is not None:
            columns = np.clip(np.rint(x), 0, width - 1).astype(np.int64)
            rows = np.clip(np.rint(y), 0, height - 1).astype(np.int64)
            mass = mass * (depth[rows, columns] > z[owner][of])
        return x, y, spread[of], mass

    def veil_transmission(self, t, depth=None):
        """How much of the scene is seen through the veil.

        Args:
            t (float): Frame index.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``. Defaults to None: ``distances``.

        Returns:
            numpy.ndarray: float32 ``(H, W)`` in [0, 1], ``exp(-extinction * depth)``.
        """
        height, width = self.size
        if depth is None:
            top, bottom = self.distances
            depth = np.repeat(np.geomspace(top, bottom, height, dtype=np.float32)[:, None], width, axis=1)
        extinction = self.veil * VEIL_EFFICIENCY * self.density * np.pi / 4 * self.diameter**2
        return np.exp(-np.float32(extinction) * np.minimum(depth, VEIL_DEPTH) * self._billows(t)).astype(np.float32)

    def _billows(self, t):
        """Where the veil is thicker or thinner than its mean of 1, drifting with the wind, float32 ``(H, W)``."""
        tile = _billow_tile(self.seed)
        side = tile.shape[0]
        cell = self.focal / 24  # pixels per texel: billows of a metre or two at ten metres
        shift = self.focal / 10 * t / self.fps
        height, width = self.size
        xs = np.mod((np.arange(width) - shift * self.wind) / cell, side).astype(np.float32)
        ys = np.mod((np.arange(height) - shift * 0.3 * self.speed) / cell, side).astype(np.float32)
        padded = np.pad(tile, (0, 1), mode='wrap')
        return cv2.remap(padded, np.tile(xs, (height, 1)), np.repeat(ys[:, None], width, axis=1), cv2.INTER_LINEAR)


@lru_cache(maxsize=8)
def _billow_tile(seed):
    noise = fractal_noise((64, 64), generator(seed, 'snow', 'veil'), beta=2.6)
    return np.clip(1 + 0.25 * noise, 0.4, 1.8).astype(np.float32)


def _draw(size, x, y, mass, radius):
    """Spread splats over a canvas, each with its mass on a soft disc; float32 ``(H, W)``.

    Large discs are drawn on a smaller canvas: they have no detail to lose.
    """
    shrink = 2**max(0, int(np.log2(radius / 4))) if radius > 8 else 1
    pad = int(np.ceil(radius)) + PAD
    height, width = (-(-(side + 2 * pad) // shrink) + 1 for side in size)
    x = (x + pad + 0.5) / shrink - 0.5
    y = (y + pad + 0.5) / shrink - 0.5
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    x, y, mass = x[inside], y[inside], mass[inside] / shrink**2
    left, top = x.astype(np.int64), y.astype(np.int64)
    right_share, lower_share = x - left, y - top
    canvas = np.zeros(height * width)
    for down, rows in ((0, 1 - lower_share), (1, lower_share)):
        for across, columns in ((0, 1 - right_share), (1, right_share)):
            canvas += np.bincount((top + down) * width + left + across, mass * rows * columns, height * width)
    canvas = canvas.astype(np.float32).reshape(height, width)
    if radius > 0.6:
        canvas = cv2.filter2D(canvas, -1, _disc(round(radius / shrink, 3)), borderType=cv2.BORDER_CONSTANT)
    if shrink > 1:
        canvas = cv2.resize(canvas, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_LINEAR)
    return canvas[pad:pad + size[0], pad:pad + size[1]]


@lru_cache(maxsize=64)
def _disc(radius):
    """A disc with an edge of one pixel that sums to 1."""
    reach = int(np.ceil(radius + 0.5))
    rows, columns = np.mgrid[-reach:reach + 1, -reach:reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    return disc / disc.sum()


def airlight_of(frame):
    """The light that the veil scatters towards the camera: that of the sky, a little cool.

    Args:
        frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        numpy.ndarray: float32 ``(3,)`` in [0, 255].
    """
    return np.clip(ambient_light(frame) * np.float32([0.98, 1.0, 1.03]), 0, 245)


class SnowOn:
    """Snows on one frame after the other; flat memory for videos of any length.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): 1 is heavy snow, about 22 dB. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        whiteness (float): How far flakes are on the way from the airlight to white, in [0, 1]. Defaults to 0.6.
        snow: Further arguments of :class:`Snow`.
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, whiteness=0.6, **snow):
        self.snow = Snow(size, seed, strength, fps, **snow)
        self.whiteness = float(whiteness)

    def __call__(self, frame, t, depth=None):
        """Snow on frame number ``t``.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index; any order, any subset.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``. Defaults to None.

        Returns:
            dict: ``lq``, ``gt``, ``snow`` (uint8 ``(H, W, 3)``), ``transmission``, ``mask`` (uint8 ``(H, W, 1)``) and
            ``airlight`` (uint8 ``(1, 1, 3)``); see :class:`SnowyClip`.
        """
        opacity = self.snow.render(t, depth)
        transmission = self.snow.veil_transmission(t, depth) * (1 - opacity)
        light = airlight_of(frame)
        brighter = self.whiteness * (255 - light)
        lq, snow = np.empty_like(frame), np.empty_like(frame)
        for channel in range(3):
            layer = opacity * brighter[channel]
            plane = (frame[..., channel] - light[channel]) * transmission + (light[channel] + 0.5) + layer
            lq[..., channel] = np.minimum(plane, 255)
            snow[..., channel] = layer + 0.5
        return dict(lq=lq, gt=frame, snow=snow, transmission=_to_uint8(transmission), mask=_to_uint8(opacity),
                    airlight=np.rint(light).astype(np.uint8)[None, None])


def _to_uint8(share):
    return np.rint(share * 255).astype(np.uint8)[..., None]


def snow_on(frames, seed=0, strength=1.0, fps=25, depth=None, start=0, **options):
    """Snow on a clip.

    Args:
        frames (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        seed (int): Seed. Defaults to 0.
        strength (float): 1 is heavy snow, about 22 dB. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        depth (numpy.ndarray, optional): Scene depth in metres ``(T, H, W)``. Defaults to None.
        start (int): Frame index of the first frame. Defaults to 0.
        options: Further arguments of :class:`SnowOn`.

    Returns:
        SnowyClip: uint8 arrays; equal to what :class:`SnowOn` gives frame by frame.
    """
    frames = np.asarray(frames)
    snower = SnowOn(frames.shape[1:3], seed, strength, fps, **options)
    parts = [snower(frame, start + t, None if depth is None else depth[t]) for t, frame in enumerate(frames)]
    return SnowyClip(gt=frames, **{name: np.stack([part[name] for part in parts])
                                   for name in ('lq', 'snow', 'transmission', 'airlight', 'mask')})


def random_snow(size, rng):
    """Varied snow for training: a few flakes to a blizzard, calm to stormy, with more or less of a veil.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        rng (numpy.random.Generator): Source of the choice.

    Returns:
        SnowOn: To be called with frames and frame indices.
    """
    # crops of a larger frame and whole small frames alike: the scale is not the crop's
    focal = float(np.exp(rng.uniform(np.log(220), np.log(900))))
    far = float(np.exp(rng.uniform(np.log(4), np.log(50))))
    return SnowOn(
        size, seed=int(rng.integers(2**31)), strength=float(rng.uniform(0.2, 1.5)), fps=float(rng.choice([24, 25, 30])),
        whiteness=float(rng.uniform(0.3, 0.9)), focal=focal, diameter=float(DIAMETER * np.exp(rng.normal(0, 0.25))),
        speed=float(rng.uniform(0.7, 2.0)), wind=float(rng.normal(0, 2.0)), turbulence=float(rng.uniform(0.1, 1.2)),
        exposure=float(rng.uniform(0.004, 0.025)), forward=float(rng.choice([0.0, 1.0]) * rng.uniform(0, 8)),
        aperture=float(rng.uniform(0.001, 0.005)), focus=float(rng.uniform(3, 12)), veil=float(rng.uniform(0.0, 1.6)),
        distances=(far, far * float(rng.uniform(0.3, 1.0))))
