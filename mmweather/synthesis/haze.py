"""Haze and fog in scenes with known depth, mono and stereo, homogeneous or in patches.

The atmospheric scattering model (Koschmieder), on pixel values as dehazing data sets apply it: a pixel of colour J at
distance d is seen as ``I = J t + L (1 - t)``, where L is the airlight and ``t = exp(-tau)`` the transmission. In
homogeneous haze ``tau = beta d``; beta is the extinction coefficient in 1/m, and what is ``2.996 / beta`` metres away
is just visible (5 % contrast). The distance is that along the ray, not the z-depth.

Patches are ours: the density is beta times a product of three factors ``1 + patchy sin(k . p + phi)``, plane waves in
space that drift with the air. It is nowhere negative, its mean is beta, and multiplied out it is a sum of waves, whose
integral along a ray has a closed form. So every view of the field is exact: left and right camera look into the same
air, successive frames into the same air moved on, and nothing flickers.
"""
from dataclasses import dataclass
from itertools import product

import numpy as np

from .rain import default_focal
from .randomness import generator

__all__ = ['HazeOn', 'HazyClip', 'haze', 'random_airlight', 'random_haze', 'ray_length', 'scatter', 'stereo_haze']

# metres; banks of fog are longer than they are high
WAVELENGTHS = (170.0, 80.0, 38.0)
FLATNESS = 2.0


@dataclass
class HazyClip:
    """A hazy clip and what made it so.

    Attributes:
        lq (numpy.ndarray): The hazy clip, uint8 RGB ``(T, H, W, 3)``.
        gt (numpy.ndarray): The clear clip, uint8 RGB ``(T, H, W, 3)``.
        transmission (numpy.ndarray): Share of the light that arrives, float32 ``(T, H, W)`` in [0, 1].
        airlight (numpy.ndarray): Colour of the haze, float32 ``(3,)``, RGB in [0, 1].
    """
    lq: np.ndarray
    gt: np.ndarray
    transmission: np.ndarray
    airlight: np.ndarray


class HazeOn:
    """Lays haze over one frame after the other, of one camera or of two; flat memory for videos of any length.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed of airlight and patches. Defaults to 0.
        beta (float): Mean extinction coefficient in 1/m; 0.005, 0.01 and 0.02 are those of the foggy Cityscapes data
            sets. Defaults to 0.01.
        airlight (Sequence[float], optional): RGB in [0, 1]; None draws one near gray. Defaults to None.
        patchy (float): Contrast of the density, 0 is homogeneous; at 1 it lies between 0 and 8 beta, half of it in a
            tenth of the space. Defaults to 0.
        fps (float): Frames per second. Defaults to 25.
        intrinsics (dict, optional): ``fx``, ``fy``, ``cx``, ``cy`` in pixels, as :class:`.Scene` has them; those of a
            crop have the crop's corner subtracted from cx and cy. Defaults to None: a usual lens, centred.
        wind (Sequence[float], optional): Velocity (right, down, away) of the air past the camera in m/s; None draws a
            slow one. Defaults to None.
        ceiling (float, optional): Metres of haze above the camera, which is taken to look level; what is seen through
            its top, such as the sky, is as clear as the haze below is thin. Defaults to None: without end.

    Raises:
        ValueError: If beta is negative, patchy outside [0, 1] or the airlight no colour.
    """

    def __init__(self, size, seed=0, beta=0.01, airlight=None, patchy=0.0, fps=25, intrinsics=None, wind=None,
                 ceiling=None):
        if not beta >= 0:
            raise ValueError(f'beta is an extinction coefficient of at least 0 per metre, not {beta}')
        if not 0 <= patchy <= 1:
            raise ValueError(f'patchy is a contrast between 0 and 1, not {patchy}')
        if ceiling is not None and not ceiling > 0:
            raise ValueError(f'the haze must reach above the camera: ceiling is more than 0 metres, not {ceiling}')
        self.size = height, width = int(size[0]), int(size[1])
        self.beta, self.patchy, self.fps = float(beta), float(patchy), float(fps)
        self.airlight = _as_airlight(random_airlight(generator(seed, 'haze', 'airlight')) if airlight is None
                                     else airlight)
        focal = default_focal(self.size)
        camera = intrinsics or {'fx': focal, 'fy': focal, 'cx': (width - 1) / 2, 'cy': (height - 1) / 2}
        self._x = ((np.arange(width) - camera['cx']) / camera['fx']).astype(np.float32)[None]
        self._y = ((np.arange(height) - camera['cy']) / camera['fy']).astype(np.float32)[:, None]
        self._stretch = np.sqrt(1 + self._x**2 + self._y**2)
        # z-depth at which a ray leaves the haze; beyond 100 / beta nothing is left of the light anyway, and infinite
        # depths would leave the waves undefined
        top = np.inf if ceiling is None else ceiling / np.maximum(-self._y, np.float32(1e-6))
        self._end = np.minimum(top, 100 / max(self.beta, 1e-6)).astype(np.float32)
        rng = generator(seed, 'haze', 'air')
        drawn = rng.normal(0, 1, 3) * (0.8, 0.1, 0.4) - (0, 0, rng.uniform(0, 3))
        self.wind = np.asarray(drawn if wind is None else wind, np.float64)
        self._waves = _draw_waves(rng, self.patchy) if patchy else []

    def __call__(self, frame, t, depth, offset=0.0):
        """Lay haze over frame number ``t``.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index; any order, any subset.
            depth (numpy.ndarray): z-depth in metres ``(H, W)``; infinity is allowed.
            offset (float): Metres by which the camera stands to the right of the left one: 0 for the left view, the
                baseline for the right one. Defaults to 0.

        Returns:
            dict: ``lq``, ``gt`` (uint8 ``(H, W, 3)``) and ``transmission`` (float32 ``(H, W)``).
        """
        transmission = self.transmission(t, depth, offset)
        return dict(lq=scatter(frame, transmission, self.airlight), gt=frame, transmission=transmission)

    def transmission(self, t, depth, offset=0.0):
        """The share of the scene's light that arrives at the camera.

        Args:
            t (int): Frame index.
            depth (numpy.ndarray): z-depth in metres ``(H, W)``.
            offset (float): See :meth:`__call__`.

        Returns:
            numpy.ndarray: float32 ``(H, W)`` in [0, 1].

        Raises:
            ValueError: If the depth has another size than the frames or is negative somewhere.
        """
        depth = np.asarray(depth, np.float32)
        if depth.shape != self.size:
            raise ValueError(f'depth has the shape {depth.shape}, the frames have {self.size}')
        if not (depth >= 0).all():
            raise ValueError('depth must be at least 0 metres everywhere; what is unknown may be infinite')
        depth = np.minimum(depth, self._end)
        density = np.float32(self.beta)
        if self._waves:
            density = density * self._mean_density(t / self.fps, depth, offset)
        return np.exp(-density * self._stretch * depth)

    def _mean_density(self, time, depth, offset):
        """Mean density between camera and pixel, as a multiple of beta.

        A wave ``a sin(k . p + phi)`` has the mean ``a sin(k . m + phi) sin(h) / h`` along a segment with the middle m,
        where h is half the phase that k advances along it.
        """
        mean = np.ones(self.size, np.float32)
        camera = np.array([offset, 0, 0]) - self.wind * time
        for (kx, ky, kz), amplitude, phase in self._waves:
            start = np.float32(np.mod(kx * camera[0] + ky * camera[1] + kz * camera[2] + phase, 2 * np.pi))
            half = (np.float32(kx / 2) * self._x + np.float32(ky / 2) * self._y + np.float32(kz / 2)) * depth
            # sin(h) / h is 1 there
            half[np.abs(half) < 1e-4] = 1e-4
            mean += np.float32(amplitude) * np.sin(start + half) * np.sin(half) / half
        # where no haze lies rounding may take it below 0
        return np.maximum(mean, 0, out=mean)


def _draw_waves(rng, contrast):
    """The waves that the product of the factors consists of, beside the constant 1.

    With ``sin(x) = (e^ix - e^-ix) / 2i`` the product has a term for every choice of a sign or 0 per factor; the terms
    of opposite choices are conjugate and together one wave.

    Args:
        rng (numpy.random.Generator): Source of directions and phases.
        contrast (float): Amplitude of each factor's wave.

    Returns:
        list[tuple]: Wave vector (rad/m, ``(3,)``), amplitude and phase of a sine.
    """
    lengths = np.array(WAVELENGTHS) * rng.uniform(0.8, 1.25, len(WAVELENGTHS))
    directions = rng.normal(0, 1, (len(lengths), 3)) * (1, FLATNESS, 1)
    vectors = directions * (2 * np.pi / lengths / np.linalg.norm(directions, axis=1))[:, None]
    phases = rng.uniform(0, 2 * np.pi, len(lengths))
    waves = []
    for signs in product((1, 0, -1), repeat=len(lengths)):
        if signs <= (0, ) * len(signs):
            continue
        signs = np.array(signs)
        coefficient = 2 * np.prod((signs * contrast / 2j)[signs != 0])
        # Re(c e^ix) = |c| sin(x + arg c + pi / 2)
        waves.append((signs @ vectors, abs(coefficient), signs @ phases + np.angle(coefficient) + np.pi / 2))
    return waves


def _as_airlight(color):
    color = np.asarray(color, np.float32)
    if color.shape != (3, ) or not ((color >= 0) & (color <= 1)).all():
        raise ValueError(f'an airlight is three numbers (red, green, blue) in [0, 1], not {color.tolist()}')
    return color


def random_airlight(rng):
    """A colour of haze as it occurs by day: light gray with a tint from bluish to yellowish.

    Args:
        rng (numpy.random.Generator): Source of the colour.

    Returns:
        numpy.ndarray: float32 ``(3,)``, RGB in [0, 1].
    """
    level, warmth, green = rng.uniform(0.68, 0.93), rng.normal(-0.01, 0.025), rng.normal(0, 0.008)
    warmth, green = np.clip(warmth, -0.06, 0.06), np.clip(green, -0.02, 0.02)
    return np.clip(level + np.array([warmth, green, -warmth]), 0, 1).astype(np.float32)


def ray_length(depth, intrinsics):
    """From z-depth to the distance along the ray of each pixel.

    Args:
        depth (numpy.ndarray): z-depth in metres ``(..., H, W)``.
        intrinsics (dict): ``fx``, ``fy``, ``cx``, ``cy`` in pixels; pixel centres have integer coordinates.

    Returns:
        numpy.ndarray: float32, metres, ``depth sqrt(1 + ((x - cx) / fx)^2 + ((y - cy) / fy)^2)``.
    """
    depth = np.asarray(depth, np.float32)
    height, width = depth.shape[-2:]
    x = ((np.arange(width) - intrinsics['cx']) / intrinsics['fx']).astype(np.float32)
    y = ((np.arange(height) - intrinsics['cy']) / intrinsics['fy']).astype(np.float32)
    return depth * np.sqrt(1 + x[None]**2 + y[:, None]**2)


def scatter(frame, transmission, airlight):
    """The scattering model ``I = J t + L (1 - t)``, rounded to 8 bits.

    Args:
        frame (numpy.ndarray): J, uint8 RGB ``(H, W, 3)``.
        transmission (numpy.ndarray): t, float32 ``(H, W)`` in [0, 1].
        airlight (Sequence[float]): L, RGB in [0, 1].

    Returns:
        numpy.ndarray: I, uint8 RGB ``(H, W, 3)``.
    """
    light = np.asarray(airlight, np.float32) * 255
    hazy = frame.astype(np.float32)
    hazy -= light
    hazy *= transmission[..., None]
    hazy += light
    return np.clip(np.rint(hazy, out=hazy), 0, 255, out=hazy).astype(np.uint8)


def haze(frames, depth, beta=0.01, airlight=None, patchy=0.0, seed=0, fps=25, intrinsics=None, start=0, **options):
    """Lay haze over a clip.

    Args:
        frames (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        depth (numpy.ndarray): z-depth in metres ``(T, H, W)``.
        beta (float): Mean extinction coefficient in 1/m. Defaults to 0.01.
        airlight (Sequence[float], optional): RGB in [0, 1], the same in all frames; None draws one near gray.
            Defaults to None.
        patchy (float): Contrast of the density in [0, 1], 0 is homogeneous. Defaults to 0.
        seed (int): Seed. Defaults to 0.
        fps (float): Frames per second. Defaults to 25.
        intrinsics (dict, optional): ``fx``, ``fy``, ``cx``, ``cy`` in pixels. Defaults to None: a usual lens.
        start (int): Frame index of the first frame. Defaults to 0.
        options: ``wind`` and ``ceiling`` of :class:`HazeOn`.

    Returns:
        HazyClip: Equal to what :class:`HazeOn` gives frame by frame.
    """
    frames = np.asarray(frames)
    return _hazy_clip(HazeOn(frames.shape[1:3], seed, beta, airlight, patchy, fps, intrinsics, **options), frames,
                      depth, start)


def stereo_haze(left, right, depth_left, depth_right, beta=0.01, airlight=None, patchy=0.0, seed=0, baseline=0.22,
                fps=25, intrinsics=None, start=0, **options):
    """Lay the same haze over both views of a rectified stereo clip.

    Args:
        left (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        right (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        depth_left (numpy.ndarray): z-depth of the left view in metres ``(T, H, W)``.
        depth_right (numpy.ndarray): z-depth of the right view in metres ``(T, H, W)``.
        baseline (float): Distance of the two cameras in metres; it matters to patches only. Defaults to 0.22, that of
            scenes.
        beta, airlight, patchy, seed, fps, intrinsics, start, options: See :func:`haze`; both cameras have the same
            intrinsics.

    Returns:
        tuple[HazyClip, HazyClip]: Left and right, with one airlight.
    """
    left, right = np.asarray(left), np.asarray(right)
    if left.shape != right.shape:
        raise ValueError(f'the views have the shapes {left.shape} and {right.shape}, which must be the same')
    air = HazeOn(left.shape[1:3], seed, beta, airlight, patchy, fps, intrinsics, **options)
    return (_hazy_clip(air, left, depth_left, start), _hazy_clip(air, right, depth_right, start, baseline))


def _hazy_clip(air, frames, depth, start, offset=0.0):
    if len(depth) != len(frames):
        raise ValueError(f'there are {len(frames)} frames and {len(depth)} depth maps')
    parts = [air(frame, start + t, depth[t], offset) for t, frame in enumerate(frames)]
    return HazyClip(np.stack([part['lq'] for part in parts]), frames,
                    np.stack([part['transmission'] for part in parts]), air.airlight)


def random_haze(size, rng, intrinsics=None, airlight=None):
    """Varied haze for training: from a veil to dense fog, even and in patches.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        rng (numpy.random.Generator): Source of the choice.
        intrinsics (dict, optional): See :class:`HazeOn`. Defaults to None.
        airlight (Sequence[float], optional): See :class:`HazeOn`. Defaults to None: drawn.

    Returns:
        HazeOn: To be called with frames, frame indices and depths.
    """
    patchy = float(rng.uniform(0.2, 1.0)) if rng.uniform() < 0.6 else 0.0
    ceiling = float(np.exp(rng.uniform(np.log(20), np.log(200)))) if rng.uniform() < 0.5 else None
    return HazeOn(size, seed=int(rng.integers(2**31)), beta=float(np.exp(rng.uniform(np.log(0.004), np.log(0.03)))),
                  airlight=airlight, patchy=patchy, fps=float(rng.choice([17, 25, 30])), intrinsics=intrinsics,
                  ceiling=ceiling)
