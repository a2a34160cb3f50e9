"""Rain streaks and lens drops together, with every intermediate that a training needs.

The order is the physical one: streaks are in the scene, drops are on the lens, so the streaks are seen through the
drops. ``drop`` is the same lens in front of the scene without streaks, the first stage's target of ViMP-Net.
"""
from dataclasses import dataclass

import numpy as np

from .rain import STREAK_DENSITY, Rain, ambient_light, composite_streaks
from .raindrops import DROP_DENSITY, Raindrops

__all__ = ['RainOn', 'RainyClip', 'rain_on', 'random_rain']


@dataclass
class RainyClip:
    """A rained-on clip and its parts, all uint8.

    Attributes:
        lq (numpy.ndarray): Streaks seen through drops ``(T, H, W, 3)``.
        gt (numpy.ndarray): The clean clip ``(T, H, W, 3)``.
        drop (numpy.ndarray): Drops only ``(T, H, W, 3)``.
        mask (numpy.ndarray): Opacity of the drops ``(T, H, W, 1)``, 255 is opaque.
        streak (numpy.ndarray): Opacity of the streaks ``(T, H, W, 1)``, 255 is opaque.
    """
    lq: np.ndarray
    gt: np.ndarray
    drop: np.ndarray
    mask: np.ndarray
    streak: np.ndarray


class RainOn:
    """Rains on one frame after the other; flat memory for videos of any length.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): 1 is heavy rain, about 22 dB. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        streaks (bool): Whether rain falls. Defaults to True.
        drops (bool): Whether drops sit on the lens. Defaults to True.
        rain (dict, optional): Further arguments of :class:`Rain`. Defaults to None.
        raindrops (dict, optional): Further arguments of :class:`Raindrops`. Defaults to None.
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, streaks=True, drops=True, rain=None, raindrops=None):
        self.size = (int(size[0]), int(size[1]))
        self.rain = Rain(self.size, seed, **{'strength': strength, 'fps': fps, **(rain or {})}) if streaks else None
        self.raindrops = (
            Raindrops(self.size, seed, **{'strength': strength, 'fps': fps, **(raindrops or {})}) if drops else None)

    def __call__(self, frame, t, depth=None):
        """Rain on frame number ``t``.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index; any order, any subset.
            depth (numpy.ndarray, optional): Scene depth in metres ``(H, W)``. Defaults to None.

        Returns:
            dict: ``lq``, ``gt``, ``drop`` (uint8 ``(H, W, 3)``), ``mask``, ``streak`` (uint8 ``(H, W, 1)``).
        """
        if self.rain is None:
            streak, rainy = np.zeros((*self.size, 1), np.uint8), frame
        else:
            opacity = self.rain.render(t, depth)
            rainy = composite_streaks(frame, opacity, ambient_light(frame))
            streak = _to_uint8(opacity)
        if self.raindrops is None:
            mask, lq, drop = np.zeros((*self.size, 1), np.uint8), rainy, frame
        else:
            lens = self.raindrops.lens(t)
            mask = _to_uint8(self.raindrops.mask(lens))
            lq, drop = self.raindrops.look_through(rainy, lens), self.raindrops.look_through(frame, lens)
        return dict(lq=lq, gt=frame, drop=drop, mask=mask, streak=streak)


def _to_uint8(opacity):
    return np.rint(opacity * 255).astype(np.uint8)[..., None]


def rain_on(frames, seed=0, strength=1.0, fps=25, depth=None, streaks=True, drops=True, start=0, **options):
    """Rain on a clip.

    Args:
        frames (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        seed (int): Seed. Defaults to 0.
        strength (float): 1 is heavy rain, about 22 dB. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        depth (numpy.ndarray, optional): Scene depth in metres ``(T, H, W)``. Defaults to None.
        streaks (bool): Whether rain falls. Defaults to True.
        drops (bool): Whether drops sit on the lens. Defaults to True.
        start (int): Frame index of the first frame. Defaults to 0.
        options: ``rain`` and ``raindrops`` of :class:`RainOn`.

    Returns:
        RainyClip: uint8 arrays; equal to what :class:`RainOn` gives frame by frame.
    """
    frames = np.asarray(frames)
    rainer = RainOn(frames.shape[1:3], seed, strength, fps, streaks, drops, **options)
    parts = [rainer(frame, start + t, None if depth is None else depth[t]) for t, frame in enumerate(frames)]
    stacked = {name: np.stack([part[name] for part in parts]) for name in ('lq', 'drop', 'mask', 'streak')}
    return RainyClip(gt=frames, **stacked)


def random_rain(size, rng):
    """Varied rain for training: drizzle to cloudburst, calm to storm, with streaks, drops or both.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        rng (numpy.random.Generator): Source of the choice.

    Returns:
        RainOn: To be called with frames and frame indices.
    """
    both, streaks_only = 0.8, 0.9
    choice = rng.uniform()
    # crops of a larger frame and whole small frames alike: the scale is not the crop's
    focal = float(np.exp(rng.uniform(np.log(220), np.log(900))))
    return RainOn(
        size, seed=int(rng.integers(2**31)), strength=float(rng.uniform(0.3, 1.5)), fps=float(rng.choice([24, 25, 30])),
        streaks=bool(choice < streaks_only), drops=bool(choice < both or choice >= streaks_only),
        rain=dict(
            wind=float(rng.normal(0, 2.5)), speed=float(rng.uniform(6, 10)), exposure=float(rng.uniform(0.012, 0.035)),
            forward=float(rng.choice([0.0, 1.0]) * rng.uniform(0, 10)), layers=int(rng.integers(3, 7)), focal=focal,
            defocus=float(rng.uniform(0.5, 1.5)), opacity=float(rng.uniform(0.45, 1.0)),
            density=float(STREAK_DENSITY * np.exp(rng.uniform(-0.7, 0.7)))),
        raindrops=dict(
            focal=focal, radius=float(np.exp(rng.uniform(np.log(0.012), np.log(0.035)))),
            softness=float(rng.uniform(0.1, 0.55)), opacity=float(rng.uniform(0.75, 0.98)),
            sliding=float(rng.uniform(0.0, 0.3)), density=float(DROP_DENSITY * np.exp(rng.uniform(-0.7, 0.5)))))
