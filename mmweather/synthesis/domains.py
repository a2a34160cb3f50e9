r"""Hazy images of many domains from clear ones: haze, low light, noise, colour cast, sand, night, and all at once.

What a hazy photograph loses depends on more than the haze. A network trained on white haze by daylight fails at dusk,
in a sandstorm and under street lamps, so the synthesis names these domains, draws the parameters of each from fixed
ranges and labels every image with both. The formation of an image, in this order:

1. *low light*: :math:`J \leftarrow J^\gamma`, :math:`\gamma \sim U[1.5, 3]`;
2. *lamps* (night only, ours): coloured point lights on a dim scene, see :class:`Lamp`;
3. *haze*: :math:`I_c = J_c t_c + A_c (1 - t_c)` with :math:`t_c = \exp(-2 \beta s_c x)`, x the depth scaled to [0, 1]
   over the image, :math:`\beta \sim U[0.3, 1.5]`, :math:`A_c = a + o_c` with :math:`a \sim U[0.25, 1]` and
   :math:`o_c \sim U[-0.025, 0.025]`; s is 1 but in sand, whose dust takes more of the blue;
4. *colour cast*: one gain per channel, :math:`U[0.6, 1]`;
5. *noise*: standard deviation :math:`U[2, 25] / 255`, independent in the channels, gray, or correlated between them;
6. *JPEG* of a quality drawn from 30 to 95, in every other image.

The ranges of 1, 3, 5 and 6 are those published for RIDCP (Wu et al., CVPR 2023); of CID (Feng et al.) only the equation
:math:`I = A^\gamma (R t + 1 - t) + M` is public, which gives the order: the cast acts on scene and haze alike, and the
noise M comes last, from the sensor. ``order='ridcp'`` puts the noise before the haze as RIDCP does. Lamps, sand and the
gains are ours.
"""
from dataclasses import asdict, dataclass

import cv2
import numpy as np

from .depth import estimate_depth
from .randomness import generator

__all__ = ['DOMAINS', 'PRESETS', 'Degraded', 'Preset', 'degrade', 'depth_range', 'draw_parameters', 'form_image']

#: Ranges of the parameters, uniform; what they mean is in the module's text.
GAMMA = (1.5, 3.0)
SIGMA = (2 / 255, 25 / 255)
BETA = (0.3, 1.5)
AIRLIGHT = (0.25, 1.0)
AIRLIGHT_OFFSET = (-0.025, 0.025)
GAINS = (0.6, 1.0)
QUALITY = (30, 95)
JPEG_SHARE = 0.5
#: Strength of the channel-correlated noise.
CORRELATED = 25 / 255
#: Sand: brightness of the dust, its green and blue relative to red, and how much more of each channel it scatters.
SAND_AIRLIGHT = (0.5, 0.9)
SAND_TINT = ((1.0, 1.0), (0.72, 0.86), (0.38, 0.62))
SAND_SCATTERING = (1.0, 1.12, 1.35)
#: Night: light of the sky on the scene and in the haze, and the number of lamps.
NIGHT_AMBIENT = (0.25, 0.5)
NIGHT_AIRLIGHT = (0.04, 0.16)
LAMPS = (2, 6)
#: Lamps as one meets them: sodium, warm white, cold white, red, green, blue.
LAMP_COLOURS = ((1.0, 0.62, 0.22), (1.0, 0.85, 0.62), (0.85, 0.94, 1.0), (1.0, 0.18, 0.14), (0.25, 1.0, 0.45),
                (0.3, 0.45, 1.0))
#: Metres beyond which everything is as far as the sky.
FAR = 80.0


@dataclass(frozen=True)
class Preset:
    """A domain: how likely each degradation is beside the haze, which is always there.

    Args:
        low_light (float): Probability of low light. Defaults to 0.0.
        noise (float): Of noise. Defaults to 0.0.
        cast (float): Of a colour cast. Defaults to 0.0.
        sand (float): That the haze is sand. Defaults to 0.0.
        night (float): That it is night, with lamps. Defaults to 0.0.
        jpeg (float): Of JPEG artefacts. Defaults to 0.5.
    """
    low_light: float = 0.0
    noise: float = 0.0
    cast: float = 0.0
    sand: float = 0.0
    night: float = 0.0
    jpeg: float = JPEG_SHARE


#: The presets by name. Their order is the index that datasets and metrics use.
PRESETS = {
    'haze': Preset(),
    'low_light': Preset(low_light=1.0),
    'noisy': Preset(noise=1.0),
    'colour_cast': Preset(cast=1.0),
    'sand': Preset(sand=1.0),
    'night': Preset(night=1.0),
    'combined': Preset(low_light=1.0, noise=1.0, cast=1.0, sand=0.3, night=0.3, jpeg=1.0),
}

#: The names of the presets.
DOMAINS = tuple(PRESETS)


@dataclass(frozen=True)
class Lamp:
    """A coloured point light in the haze.

    It lights what is around it, and haze scatters its light into a glow whose brightness falls with the distance r
    from the lamp as ``1 / (1 + (r / radius)^2)^1.5``.

    Args:
        x (float): Place across the frame, 0 left, 1 right.
        y (float): Place down the frame, 0 top, 1 bottom.
        radius (float): Of the glow, relative to the frame's shorter side.
        power (float): Brightness.
        colour (tuple[float, float, float]): RGB, at most 1.
    """
    x: float
    y: float
    radius: float
    power: float
    colour: tuple


@dataclass
class Degraded:
    """A degraded image and what it was made from.

    Attributes:
        lq (numpy.ndarray): The degraded image, uint8 RGB ``(H, W, 3)``.
        gt (numpy.ndarray): The clear image, uint8 RGB ``(H, W, 3)``.
        domain (str): Name of the domain.
        params (dict): What was drawn, of types that JSON has; :func:`form_image` makes the same image from it.
    """
    lq: np.ndarray
    gt: np.ndarray
    domain: str
    params: dict


def degrade(clear, depth=None, domain='haze', seed=0, limits=None, order='cid'):
    """Degrade a clear image as one of the domains does.

    Args:
        clear (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        depth (numpy.ndarray, optional): Metres, ``(H, W)``, positive and finite. Defaults to None: estimated from the
            image, see :func:`.depth.estimate_depth`.
        domain (str): One of ``DOMAINS``. Defaults to ``'haze'``.
        seed (int): The same seed gives the same parameters and the same noise. Defaults to 0.
        limits (tuple[float, float], optional): Metres of the nearest and farthest thing, over which the depth is
            scaled; for a crop, those of the whole image. Defaults to None: :func:`depth_range` of ``depth``.
        order (str): ``'cid'``, noise last, or ``'ridcp'``, noise before haze. Defaults to ``'cid'``.

    Returns:
        Degraded: The image, the clear one, and the label.

    Raises:
        ValueError: If the domain or the order is unknown, or the image and the depth do not fit.

    Examples:
        >>> clear = np.full((48, 64, 3), 90, np.uint8)
        >>> made = degrade(clear, domain='sand', seed=3)
        >>> made.domain, made.lq.shape
        ('sand', (48, 64, 3))
    """
    params = draw_parameters(domain, seed, order)
    clear = np.asarray(clear)
    if depth is None:
        depth = estimate_depth(clear)
    return Degraded(form_image(clear, depth, params, limits), clear, domain, params)


def draw_parameters(domain, seed, order='cid'):
    """Draw the parameters of one image.

    Args:
        domain (str): One of ``DOMAINS``.
        seed (int): Seed.
        order (str): ``'cid'`` or ``'ridcp'``. Defaults to ``'cid'``.

    Returns:
        dict: ``seed``, ``order``, ``beta``, ``airlight``, ``scattering`` and, null where the degradation is absent,
        ``gamma``, ``night`` (its ``ambient`` light and ``lamps``), ``gains``, ``noise`` (its ``mode`` and the
        ``covariance`` of the channels) and ``quality``; all of types that JSON has.

    Raises:
        ValueError: If the domain or the order is unknown.
    """
    if domain not in PRESETS:
        raise ValueError(f'there is no domain {domain!r}: choose one of {", ".join(DOMAINS)}')
    if order not in ('cid', 'ridcp'):
        raise ValueError(f"order must be 'cid' or 'ridcp', got {order!r}")
    preset = PRESETS[domain]
    rng = generator(seed, 'domain', domain)
    chance = dict(zip(('low_light', 'noise', 'cast', 'sand', 'night', 'jpeg'), rng.random(6)))
    has = {name: chance[name] < getattr(preset, name) for name in chance}
    # every value is drawn, wanted or not: a domain's haze does not depend on what else is in it
    gamma, beta, brightness = rng.uniform(*GAMMA), rng.uniform(*BETA), rng.uniform(*AIRLIGHT)
    offsets, gains = rng.uniform(*AIRLIGHT_OFFSET, 3), rng.uniform(*GAINS, 3)
    noise, quality = _draw_noise(rng), int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    tint, scattering = np.ones(3), np.ones(3)
    if has['sand']:
        brightness, scattering = rng.uniform(*SAND_AIRLIGHT), np.array(SAND_SCATTERING)
        tint = np.array([rng.uniform(*limits) for limits in SAND_TINT])
    if has['night']:
        # night is low light of its own: both together leave nothing to see
        has['low_light'] = False
        brightness = rng.uniform(*NIGHT_AIRLIGHT)
    return dict(
        seed=int(seed),
        order=order,
        gamma=float(gamma) if has['low_light'] else None,
        beta=float(beta),
        airlight=_floats(np.clip(brightness * tint + offsets, 0, 1)),
        scattering=_floats(scattering),
        night=_draw_night(rng) if has['night'] else None,
        gains=_floats(gains) if has['cast'] else None,
        noise=noise if has['noise'] else None,
        quality=quality if has['jpeg'] else None)


def form_image(clear, depth, params, limits=None):
    """Make the image that :func:`draw_parameters` describes.

    Args:
        clear (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        depth (numpy.ndarray): Metres, ``(H, W)``, positive and finite.
        params (dict): As :func:`draw_parameters` returns it.
        limits (tuple[float, float], optional): See :func:`degrade`. Defaults to None.

    Returns:
        numpy.ndarray: uint8 RGB ``(H, W, 3)``.

    Raises:
        ValueError: If the image and the depth do not fit.
    """
    clear, depth = np.asarray(clear), np.asarray(depth, np.float32)
    if clear.dtype != np.uint8 or clear.ndim != 3 or clear.shape[2] != 3:
        raise ValueError(f'clear must be uint8 RGB (H, W, 3), got {clear.dtype} {clear.shape}')
    if depth.shape != clear.shape[:2]:
        raise ValueError(f'depth must have the shape {clear.shape[:2]} of the image, got {depth.shape}')
    levels = np.linspace(0, 1, 256)**(params['gamma'] or 1.0)
    image = cv2.LUT(clear, levels.astype(np.float32))
    airlight = np.array(params['airlight'], np.float32)
    glare = None
    if params['night']:
        light, glare = _lamplight(image.shape[:2], params['night'])
        image = image * (np.float32(params['night']['ambient']) + light)
        # haze near a lamp is lit by it: that is the glow
        airlight = airlight + 0.6 * light
    if params['noise'] and params['order'] == 'ridcp':
        image = _add_noise(image, params)
    image = _haze(image, _far_share(depth, limits), params['beta'], params['scattering'], airlight)
    if glare is not None:
        image += glare
    if params['gains']:
        image *= np.array(params['gains'], np.float32)
    if params['noise'] and params['order'] == 'cid':
        image = _add_noise(image, params)
    degraded = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return degraded if params['quality'] is None else _jpeg(degraded, params['quality'])


def depth_range(depth):
    """The metres over which a depth map is scaled: its nearest and farthest thing, the latter at most ``FAR`` away.

    Args:
        depth (numpy.ndarray): Metres, ``(H, W)``.

    Returns:
        tuple[float, float]: Near and far.
    """
    return min(float(depth.min()), FAR), min(float(depth.max()), FAR)


def _far_share(depth, limits):
    """Depth scaled to [0, 1], float32; of a plane at one depth its share of ``FAR``."""
    near, far = limits or depth_range(depth)
    if far - near < 1e-3:
        near, far = 0.0, FAR
    return np.clip((depth - np.float32(near)) * np.float32(1 / (far - near)), 0, 1)


def _haze(image, far, beta, scattering, airlight):
    """Attenuation and airlight; one transmission for all channels unless they scatter differently."""
    rates = np.unique(scattering)
    decay = -2 * beta * (rates if rates.size == 1 else np.asarray(scattering))
    transmission = np.exp(far[..., None] * decay.astype(np.float32))
    return (image - airlight) * transmission + airlight


def _draw_noise(rng):
    """The noise's mode and the covariance of its channels, as RIDCP draws them."""
    choice, sigma = rng.random(), rng.uniform(*SIGMA)
    basis, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    spread = rng.random(3)
    if choice > 0.6:
        mode, covariance = 'colour', np.eye(3) * sigma**2
    elif choice < 0.4:
        mode, covariance = 'gray', np.full((3, 3), sigma**2)
    else:
        # absolute values of a positive semidefinite 3x3 matrix leave it positive semidefinite
        mode, covariance = 'correlated', np.abs(CORRELATED**2 * basis.T @ np.diag(spread) @ basis)
    return dict(mode=mode, covariance=[_floats(row) for row in covariance])


def _add_noise(image, params):
    rng = generator(params['seed'], 'domain', 'noise')
    noise = params['noise']
    if noise['mode'] == 'gray':
        sigma = np.float32(np.sqrt(noise['covariance'][0][0]))
        return image + rng.standard_normal((*image.shape[:2], 1), np.float32) * sigma
    values, vectors = np.linalg.eigh(np.array(noise['covariance']))
    root = (vectors * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)
    return image + rng.standard_normal(image.shape, np.float32) @ root


def _draw_night(rng):
    """Light of the sky and the lamps, nearly all of them above the middle of the frame."""
    lamps = [Lamp(
        x=float(rng.uniform(0, 1)),
        y=float(rng.triangular(0, 0.3, 0.8)),
        radius=float(np.exp(rng.uniform(np.log(0.03), np.log(0.12)))),
        power=float(rng.uniform(0.5, 1.2)),
        colour=LAMP_COLOURS[int(rng.choice(len(LAMP_COLOURS), p=(0.35, 0.25, 0.2, 0.08, 0.06, 0.06)))])
        for _ in range(int(rng.integers(LAMPS[0], LAMPS[1] + 1)))]
    return dict(ambient=float(rng.uniform(*NIGHT_AMBIENT)),
                lamps=[dict(asdict(lamp), colour=list(lamp.colour)) for lamp in lamps])


def _lamplight(size, night):
    """The light of the lamps on the scene and in the haze, and what shines from the lamps themselves."""
    height, width = size
    short = min(height, width)
    light, glare = np.zeros((2, height, width, 3), np.float32)
    rows, columns = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    for lamp in night['lamps']:
        squared = (columns - lamp['x'] * (width - 1))**2 + (rows - lamp['y'] * (height - 1))**2
        colour = np.array(lamp['colour'], np.float32) * np.float32(lamp['power'])
        radius = lamp['radius'] * short
        light += (1 + squared * np.float32(1 / radius**2))[..., None]**np.float32(-1.5) * colour
        # the lamp itself: a disc of a tenth of the glow, soft at its rim
        core = np.clip(0.1 * radius + 1 - np.sqrt(squared), 0, 1)
        glare += core[..., None] * colour
    return light, glare


def _jpeg(image, quality):
    _, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _floats(values):
    return [float(value) for value in values]
