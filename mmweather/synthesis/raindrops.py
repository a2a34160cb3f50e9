"""Raindrops on the lens or on the windscreen in front of it.

Each drop is a small strong lens: inside it the scene appears upside down and wide-angled, out of focus, darker towards the
rim, where light is refracted past the camera. The camera focuses on the scene, so the drop's outline is soft. Most drops sit
still and dry up; some slide down in fits and starts, swallow the drops in their way, and leave a film and small beads behind.

Time is cut into eras. The drops born in an era follow from ``(seed, era)``, and none lives longer than an era, so that any
frame of an endless video needs two eras only.
"""
import cv2
import numpy as np

from .rain import default_focal
from .randomness import generator

__all__ = ['Raindrops']

ERA = 8.0  # seconds
# drops alive per unit of solid angle at strength 1; calibrated together with the streaks
DROP_DENSITY = 65.0
# keep this many eras and drop images in memory
KEPT_ERAS = 4


class _Slider:
    """A drop on its way down: stick-slip in y, wandering in x."""

    def __init__(self, rng, start, origin, radius, scale):
        self.birth = start
        self.life = rng.uniform(0.5, 0.95) * ERA
        self.radius = radius
        knots = 12
        self.times = start + np.linspace(0, self.life, knots)
        # a few of the steps are slips, the others almost stand still
        steps = rng.gamma(0.5, 1.0, knots - 1) * 14 * scale * (0.4 + radius / (9 * scale))
        self.ys = origin[1] + np.concatenate([[0], np.cumsum(steps)])
        wander = rng.normal(0, 1, knots) * 0.12
        wander[0] = 0
        self.xs = origin[0] + np.cumsum(wander * np.concatenate([[0], steps]))

    def position(self, time):
        return np.interp(time, self.times, self.xs), np.interp(time, self.times, self.ys)


class Raindrops:
    """Drops on the lens as a pure function of (seed, frame index).

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): Scales the number of drops. Defaults to 1.0.
        fps (float): Frames per second; drops live in seconds. Defaults to 25.
        focal (float, optional): Focal length in pixels, the scale of everything. Defaults to None (:func:`mmweather.synthesis.rain.default_focal`).
        radius (float): Typical radius of a drop as a share of the focal length. Defaults to 0.02.
        softness (float): Width of the blurred outline as a share of the radius. Defaults to 0.35.
        opacity (float): Opacity of a drop's middle, in [0, 1]. Defaults to 0.92.
        sliding (float): Share of the drops that slide. Defaults to 0.12.
        density (float): Drops per unit of solid angle at strength 1.
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, focal=None, radius=0.02, softness=0.35, opacity=0.92,
                 sliding=0.12, density=DROP_DENSITY):
        self.size = (int(size[0]), int(size[1]))
        self.seed = seed
        self.strength = float(strength)
        self.fps = float(fps)
        self.focal = default_focal(self.size) if focal is None else float(focal)
        self.radius = float(radius)
        self.softness = float(softness)
        self.opacity = float(opacity)
        self.sliding = float(sliding)
        self.density = float(density)
        self._eras = {}
        self._sliders = {}
        self._sprites = {}

    # the population

    def _radii(self, rng, count):
        typical = self.radius * self.focal
        return typical * np.exp(rng.normal(0.0, 0.5, count)).clip(0.35, 2.6)

    def _sliders_of(self, era):
        if era not in self._sliders:
            rng = generator(self.seed, 'drops', 'sliders', era)
            height, width = self.size
            expected = self.density * self.strength * self.sliding * (height * width / self.focal**2) / 0.7
            count = rng.poisson(expected)
            radii = self._radii(rng, count) * 1.15
            starts = (era + rng.uniform(0, 1, count)) * ERA
            xs = rng.uniform(0, width, count)
            ys = rng.uniform(-0.4 * height, 0.9 * height, count)
            scale = self.focal / 390
            self._sliders[era] = [
                _Slider(rng, starts[i], (xs[i], ys[i]), radii[i], scale) for i in range(count)]
            self._forget(self._sliders, era)
        return self._sliders[era]

    def _drops_of(self, era):
        """Columns x, y, radius, birth, death, aspect, tilt, second and third harmonic, phase, magnification, darkness."""
        if era not in self._eras:
            rng = generator(self.seed, 'drops', 'sitting', era)
            height, width = self.size
            margin = 2 * self.radius * self.focal
            area = (height + 2 * margin) * (width + 2 * margin) / self.focal**2
            # a drop lives 0.7 eras on average
            count = rng.poisson(self.density * self.strength * (1 - self.sliding) * area / 0.7)
            drops = {
                'x': rng.uniform(-margin, width + margin, count),
                'y': rng.uniform(-margin, height + margin, count),
                'radius': self._radii(rng, count),
                'birth': (era + rng.uniform(0, 1, count)) * ERA,
            }
            drops['death'] = drops['birth'] + rng.uniform(0.4, 1.0, count) * ERA
            drops.update(self._shapes(rng, count))
            for neighbour in (era - 1, era, era + 1):
                for slider in self._sliders_of(neighbour):
                    self._swallow(drops, slider)
            self._eras[era] = drops
            self._forget(self._eras, era)
        return self._eras[era]

    @staticmethod
    def _shapes(rng, count):
        return {
            'aspect': rng.uniform(0.85, 1.25, count),
            'second': rng.uniform(0.0, 0.12, count),
            'third': rng.uniform(0.0, 0.08, count),
            'phase': rng.uniform(0, 2 * np.pi, count),
            'wide': rng.uniform(2.0, 5.0, count),
            'dark': rng.uniform(0.25, 0.6, count),
            'soft': rng.uniform(0.6, 1.4, count),
        }

    @staticmethod
    def _swallow(drops, slider):
        """A sitting drop ends when a slider reaches it."""
        reach = slider.radius + 0.5 * drops['radius']
        moment = np.interp(drops['y'] - reach, slider.ys + 1e-6 * np.arange(slider.ys.size), slider.times)
        x_then = np.interp(moment, slider.times, slider.xs)
        met = ((np.abs(x_then - drops['x']) < reach) & (drops['y'] > slider.ys[0]) & (drops['y'] < slider.ys[-1] + reach)
               & (moment > drops['birth']))
        drops['death'] = np.where(met, np.minimum(drops['death'], moment), drops['death'])

    @staticmethod
    def _forget(table, era):
        for old in [key for key in table if abs(key - era) > KEPT_ERAS]:
            del table[old]

    # one frame

    def _visible(self, t):
        """All sprites of a frame, farthest back first: (rows, columns, alpha, map x, map y, shade)."""
        time = t / self.fps
        era = int(np.floor(time / ERA))
        sprites = []
        for owner in (era - 1, era):
            drops = self._drops_of(owner)
            for index in np.flatnonzero((drops['birth'] <= time) & (time < drops['death'])):
                key = (owner, int(index))
                if key not in self._sprites:
                    self._sprites[key] = self._sprite(*(drops[name][index] for name in (
                        'x', 'y', 'radius', 'aspect', 'second', 'third', 'phase', 'wide', 'dark', 'soft')))
                # dries up over its last second
                fade = min(1.0, (drops['death'][index] - time) / 1.0 + 0.25)
                sprites.append((self._sprites[key], fade))
        for key in [key for key in self._sprites if key[0] < era - 1 or key[0] > era]:
            del self._sprites[key]
        for owner in (era - 1, era):
            for index, slider in enumerate(self._sliders_of(owner)):
                if not slider.birth <= time < slider.birth + slider.life:
                    continue
                shape = self._shapes(generator(self.seed, 'drops', 'slider shape', owner, index), 1)
                x, y = slider.position(time)
                fade = min(1.0, 4 * (slider.birth + slider.life - time))
                sprites.append((self._trail(slider, time), 0.6 * fade))
                sprites.append((self._sprite(
                    x, y, slider.radius, 1.25, shape['second'][0], 0.05, -np.pi / 2, shape['wide'][0],
                    shape['dark'][0], shape['soft'][0]), fade))
        return [(sprite, fade) for sprite, fade in sprites if sprite is not None]

    def _window(self, left, top, right, bottom):
        height, width = self.size
        x0, x1 = max(0, int(np.floor(left))), min(width, int(np.ceil(right)) + 1)
        y0, y1 = max(0, int(np.floor(top))), min(height, int(np.ceil(bottom)) + 1)
        if x1 <= x0 or y1 <= y0:
            return None
        return slice(y0, y1), slice(x0, x1)

    def _sprite(self, x, y, radius, aspect, second, third, phase, wide, dark, soft):
        soft = min(0.6, self.softness * soft)
        reach = radius * (1 + second + third) * (1 + soft)
        window = self._window(x - reach, y - reach * aspect, x + reach, y + reach * aspect)
        if window is None:
            return None
        dx = (np.arange(window[1].start, window[1].stop, dtype=np.float32) - np.float32(x)) / np.float32(radius)
        dy = (np.arange(window[0].start, window[0].stop, dtype=np.float32) - np.float32(y)) / np.float32(radius * aspect)
        dx, dy = np.broadcast_arrays(dx[None], dy[:, None])
        squared = dx * dx + dy * dy + np.float32(1e-6)
        # the outline wobbles: cos and sin of the second and third multiple of the angle, without an arctangent
        cos2, sin2 = (dx * dx - dy * dy) / squared, 2 * dx * dy / squared
        rho = np.sqrt(squared)
        cos1, sin1 = dx / rho, dy / rho
        outline = 1 + np.float32(second) * (np.float32(np.cos(phase)) * cos2 - np.float32(np.sin(phase)) * sin2)
        outline += np.float32(third) * (cos2 * cos1 - sin2 * sin1)
        q = rho / outline
        edge = np.clip((1 + soft - q) / (2 * soft), 0, 1)
        alpha = edge * edge * (3 - 2 * edge) * np.float32(self.opacity)
        bend = -np.float32(wide * radius) * (1 + np.float32(0.8) * np.minimum(q, 1.3)**2)
        map_x = np.float32(x) + bend * dx
        map_y = np.float32(y) + bend * dy
        shade = 1.08 - np.float32(dark) * np.minimum(q, 1.2)**4
        return window, alpha.astype(np.float32), map_x, map_y, shade.astype(np.float32)

    def _trail(self, slider, time):
        """The film behind a sliding drop: it bends light sideways only."""
        wet = 1.6
        x, y = slider.position(time)
        _, y_old = slider.position(max(slider.birth, time - wet))
        if y - y_old < 2:
            return None
        half = 0.55 * slider.radius
        order = slider.ys + 1e-6 * np.arange(slider.ys.size)
        reach = half * 1.5
        passed = (slider.ys >= y_old) & (slider.ys <= y)
        xs = np.concatenate([slider.xs[passed], [x]])
        window = self._window(xs.min() - reach, y_old, xs.max() + reach, y)
        if window is None:
            return None
        rows = np.arange(window[0].start, window[0].stop)
        moment = np.interp(rows, order, slider.times)
        centre = np.interp(moment, slider.times, slider.xs).astype(np.float32)
        age = np.clip((time - moment) / wet, 0, 1).astype(np.float32)
        width = half * (1 - 0.6 * age)
        columns = np.arange(window[1].start, window[1].stop, dtype=np.float32)
        side = (columns[None] - centre[:, None]) / width[:, None]
        edge = np.clip(1.5 - np.abs(side), 0, 1)
        alpha = edge * edge * (3 - 2 * edge) * (1 - age)[:, None] * np.float32(self.opacity)
        map_x = centre[:, None] - 2.0 * np.clip(side, -1.5, 1.5) * width[:, None]
        map_y = np.broadcast_to(rows[:, None].astype(np.float32), map_x.shape)
        shade = 1 - 0.1 * np.minimum(side * side, 1.5)
        return window, alpha.astype(np.float32), map_x.astype(np.float32), np.ascontiguousarray(map_y), \
            shade.astype(np.float32)

    def lens(self, t):
        """The drops of one frame, ready to be looked through any number of times.

        Args:
            t (int): Frame index.

        Returns:
            list: To be given to :meth:`look_through`.
        """
        return self._visible(t) if self.strength > 0 else []

    def look_through(self, frame, lens):
        """The frame seen through the drops of :meth:`lens`; a copy, equal to ``frame`` where there is no drop."""
        seen = frame.copy()
        if not lens:
            return seen
        # drops are far out of focus and wide-angled: a quarter of the resolution is all they show
        reduction = 4 if min(self.size) >= 64 else 2
        height, width = self.size
        small = cv2.resize(frame, (max(2, width // reduction), max(2, height // reduction)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (3, 3), 0.8).astype(np.float32)
        scale_x, scale_y = small.shape[1] / width, small.shape[0] / height
        for (window, alpha, map_x, map_y, shade), fade in lens:
            inside = cv2.remap(small, map_x * np.float32(scale_x), map_y * np.float32(scale_y), cv2.INTER_LINEAR,
                               borderMode=cv2.BORDER_REFLECT)
            patch = seen[window].astype(np.float32)
            inside *= shade[..., None]
            inside -= patch
            inside *= (alpha * np.float32(fade))[..., None]
            patch += inside
            patch += 0.5
            seen[window] = np.clip(patch, 0, 255)
        return seen

    def mask(self, lens):
        """Opacity of the drops of :meth:`lens`, float32 ``(H, W)`` in [0, 1]."""
        clear = np.ones(self.size, np.float32)
        for (window, alpha, *_), fade in lens:
            clear[window] *= 1 - alpha * np.float32(fade)
        return 1 - clear

    def apply(self, frame, t):
        """The frame seen through the drops.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: uint8 ``(H, W, 3)`` and the opacity of the drops, float32 ``(H, W)`` in
            [0, 1]; where it is 0 the frame is untouched.
        """
        lens = self.lens(t)
        return self.look_through(frame, lens), self.mask(lens)
