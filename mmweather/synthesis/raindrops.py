"""Raindrops on the lens or on the windscreen in front of it.

Each drop is a small strong lens: inside it the scene appears upside down and wide-angled, out of focus, darker towards
the rim, where light is refracted past the camera. The camera focuses on the scene, so the drop's outline is soft. Most
drops sit still and dry up; some slide down in fits and starts, swallow the drops in their way and grow by them, and
leave a film and small beads behind.

Time is cut into eras. The drops born in an era follow from ``(seed, era)``, and none lives longer than an era, so that
any frame of an endless video needs a few eras only.
"""
import cv2
import numpy as np

from .rain import default_focal
from .randomness import generator

__all__ = ['Raindrops']

ERA = 8.0  # seconds
DRYING = 1.0  # seconds over which a drop fades before it is gone
FILM = 1.6  # seconds that the film behind a sliding drop lasts
# drops alive per unit of solid angle at strength 1: they cover about a tenth of the frame, as on a lens that is wiped
# now and then; calibrated together with the streaks
DROP_DENSITY = 38.0
# keep the populations of this many eras
KEPT_ERAS = 4
SPRITE = ('x', 'y', 'radius', 'aspect', 'second', 'third', 'phase', 'wide', 'dark', 'soft')


class _Slider:
    """A drop on its way down: stick-slip in y, wandering in x."""

    def __init__(self, rng, birth, origin, radius, scale):
        self.birth = birth
        self.life = rng.uniform(0.5, 0.95) * ERA
        self.death = birth + self.life
        self.radius = radius
        knots = 12
        self.times = birth + np.linspace(0, self.life, knots)
        # a few of the steps are slips, the others almost stand still
        steps = rng.gamma(0.5, 1.0, knots - 1) * 14 * scale * (0.4 + radius / (9 * scale))
        # strictly increasing, so that the time at which a height was passed is defined
        self.ys = origin[1] + np.concatenate([[0], np.cumsum(steps + 1e-6)])
        wander = rng.normal(0, 1, knots) * 0.12
        wander[0] = 0
        self.xs = origin[0] + np.cumsum(wander * np.concatenate([[0], steps]))

    def position(self, time):
        return np.interp(time, self.times, self.xs), np.interp(time, self.times, self.ys)

    def passing(self, y):
        """When it is at height ``y``; its first or last moment above or below its path."""
        return np.interp(y, self.ys, self.times)


class Raindrops:
    """Drops on the lens as a pure function of (seed, frame index).

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed. Defaults to 0.
        strength (float): Scales the number of drops. Defaults to 1.0.
        fps (float): Frames per second; drops live in seconds. Defaults to 25.
        focal (float, optional): Focal length in pixels, the scale of everything. Defaults to None
            (:func:`mmweather.synthesis.rain.default_focal`).
        radius (float): Typical radius of a drop as a share of the focal length. Defaults to 0.02.
        softness (float): Width of the blurred outline as a share of the radius. Defaults to 0.35.
        opacity (float): Opacity of a drop's middle, in [0, 1]. Defaults to 0.92.
        sliding (float): Share of the drops that slide. Defaults to 0.12.
        density (float): Drops per unit of solid angle at strength 1. Defaults to ``DROP_DENSITY``.
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
        self._sitting, self._sliders, self._beads, self._sprites = {}, {}, {}, {}

    # the population

    def _radii(self, rng, count):
        typical = self.radius * self.focal
        return typical * np.exp(rng.normal(0.0, 0.5, count)).clip(0.35, 2.6)

    @staticmethod
    def _shapes(rng, count):
        """What makes every drop look different."""
        return {
            'aspect': rng.uniform(0.85, 1.25, count),  # height by width
            'second': rng.uniform(0.0, 0.12, count),  # second and third harmonic of the outline
            'third': rng.uniform(0.0, 0.08, count),
            'phase': rng.uniform(0, 2 * np.pi, count),
            'wide': rng.uniform(2.0, 5.0, count),  # radii of scene per radius of drop
            'dark': rng.uniform(0.25, 0.6, count),  # at the rim
            'soft': rng.uniform(0.6, 1.4, count),
        }

    def _of_era(self, table, make, era):
        """An entry of a table of populations; those of distant eras are forgotten."""
        if era not in table:
            table[era] = make(era)
            for old in [key for key in table if abs(key - era) > KEPT_ERAS]:
                del table[old]
        return table[era]

    def _sliders_of(self, era):
        return self._of_era(self._sliders, self._make_sliders, era)

    def _make_sliders(self, era):
        rng = generator(self.seed, 'drops', 'sliders', era)
        height, width = self.size
        # a slider lives about 0.7 eras
        count = rng.poisson(self.density * self.strength * self.sliding * (height * width / self.focal**2) / 0.7)
        radii = self._radii(rng, count) * 1.15
        births = (era + rng.uniform(0, 1, count)) * ERA
        xs = rng.uniform(0, width, count)
        ys = rng.uniform(-0.4 * height, 0.9 * height, count)
        return [_Slider(rng, births[i], (xs[i], ys[i]), radii[i], self.focal / 390) for i in range(count)]

    def _sitting_of(self, era):
        return self._of_era(self._sitting, self._make_sitting, era)

    def _make_sitting(self, era):
        """Columns of the sitting drops of an era: those of ``SPRITE``, birth, dry, death, and who swallowed them."""
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
        drops['dry'] = drops['birth'] + rng.uniform(0.4, 1.0, count) * ERA
        drops.update(self._shapes(rng, count))
        drops['death'] = drops['dry'].copy()
        drops['eater'] = np.full((count, 2), -1)
        for owner in (era - 1, era, era + 1):
            for number, slider in enumerate(self._sliders_of(owner)):
                self._swallow(drops, slider, (owner, number))
        return drops

    @staticmethod
    def _swallow(drops, slider, eater):
        """A sitting drop ends when a slider reaches it."""
        reach = slider.radius + 0.5 * drops['radius']
        moment = slider.passing(drops['y'] - reach)
        met = np.abs(slider.position(moment)[0] - drops['x']) < reach
        met &= (drops['y'] > slider.ys[0]) & (drops['y'] < slider.ys[-1] + reach)
        met &= (moment > drops['birth']) & (moment < drops['death'])
        drops['death'][met] = moment[met]
        drops['eater'][met] = eater

    def _beads_of(self, era):
        return self._of_era(self._beads, self._make_beads, era)

    def _make_beads(self, era):
        """Columns, as of sitting drops, of what the sliders born in an era leave behind where they slip."""
        rng = generator(self.seed, 'drops', 'beads', era)
        columns = {name: [] for name in ('x', 'y', 'radius', 'birth', 'dry')}
        for slider in self._sliders_of(era):
            count = min(12, int((slider.ys[-1] - slider.ys[0]) / (2.5 * slider.radius)))
            y = rng.uniform(slider.ys[0], slider.ys[-1], count)
            # it has left its bead once it has passed by its own length
            birth = slider.passing(y + 1.2 * slider.radius)
            columns['x'].append(slider.position(slider.passing(y))[0] + rng.normal(0, 0.15, count) * slider.radius)
            columns['y'].append(y)
            columns['radius'].append(slider.radius * rng.uniform(0.14, 0.32, count))
            columns['birth'].append(birth)
            columns['dry'].append(np.minimum(birth + rng.uniform(1.0, 4.0, count), (era + 2) * ERA))
        beads = {name: np.concatenate([[], *parts]) for name, parts in columns.items()}
        beads['death'] = beads['dry']
        beads.update(self._shapes(rng, beads['x'].size))
        return beads

    def _growth(self, era, number, time):
        """By how much a slider's radius has grown by what it swallowed; volumes add up."""
        slider = self._sliders_of(era)[number]
        volume = 1.0
        for born in range(era - 1, int(np.floor(time / ERA)) + 1):
            drops = self._sitting_of(born)
            eaten = (drops['eater'] == (era, number)).all(axis=1) & (drops['death'] <= time)
            volume += float(np.sum((drops['radius'][eaten] / slider.radius)**3))
        return min(volume**(1 / 3), 1.6)

    # one frame

    def _visible(self, t):
        """All sprites of a frame in the order in which they lie on each other, and the opacity of each."""
        time = t / self.fps
        era = int(np.floor(time / ERA))
        sprites = []
        for kind, table_of in (('sitting', self._sitting_of), ('bead', self._beads_of)):
            for owner in (era - 1, era):
                drops = table_of(owner)
                for index in np.flatnonzero((drops['birth'] <= time) & (time < drops['death'])):
                    key = (owner, kind, int(index))
                    if key not in self._sprites:
                        self._sprites[key] = self._sprite(*(drops[name][index] for name in SPRITE))
                    sprites.append((self._sprites[key], min(1.0, 0.25 + (drops['dry'][index] - time) / DRYING)))
        for key in [key for key in self._sprites if not era - 1 <= key[0] <= era]:
            del self._sprites[key]
        for owner in (era - 1, era):
            for number, slider in enumerate(self._sliders_of(owner)):
                if slider.birth <= time < slider.death:
                    fade = min(1.0, 4 * (slider.death - time))
                    sprites.append((self._film(slider, time), 0.6 * fade))
                    sprites.append((self._sliding_sprite(owner, number, time), fade))
        return [(sprite, fade) for sprite, fade in sprites if sprite is not None]

    def _sliding_sprite(self, era, number, time):
        slider = self._sliders_of(era)[number]
        shape = {name: values[0] for name, values in self._shapes(
            generator(self.seed, 'drops', 'slider shape', era, number), 1).items()}
        x, y = slider.position(time)
        # taller than wide, and pointed at the top by its third harmonic
        shape.update(x=x, y=y, radius=slider.radius * self._growth(era, number, time), aspect=1.25, third=0.05,
                     phase=-np.pi / 2)
        return self._sprite(*(shape[name] for name in SPRITE))

    def _window(self, left, top, right, bottom):
        height, width = self.size
        x0, x1 = max(0, int(np.floor(left))), min(width, int(np.ceil(right)) + 1)
        y0, y1 = max(0, int(np.floor(top))), min(height, int(np.ceil(bottom)) + 1)
        if x1 <= x0 or y1 <= y0:
            return None
        return slice(y0, y1), slice(x0, x1)

    def _sprite(self, x, y, radius, aspect, second, third, phase, wide, dark, soft):
        """One drop: its window in the frame, opacity, where it looks to, and how bright it is; None out of sight."""
        soft = min(0.6, self.softness * soft)
        reach = radius * (1 + second + third) * (1 + soft)
        window = self._window(x - reach, y - reach * aspect, x + reach, y + reach * aspect)
        if window is None:
            return None
        rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) for part in window)
        dx, dy = np.broadcast_arrays(((columns - np.float32(x)) / np.float32(radius))[None],
                                     ((rows - np.float32(y)) / np.float32(radius * aspect))[:, None])
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

    def _film(self, slider, time):
        """The film behind a sliding drop, which bends light sideways only; in the form of :meth:`_sprite`."""
        x, y = slider.position(time)
        _, oldest = slider.position(max(slider.birth, time - FILM))
        if y - oldest < 2:
            return None
        half = 0.55 * slider.radius
        on_the_way = (slider.ys >= oldest) & (slider.ys <= y)
        xs = np.concatenate([slider.xs[on_the_way], [x]])
        window = self._window(xs.min() - 1.5 * half, oldest, xs.max() + 1.5 * half, y)
        if window is None:
            return None
        rows, columns = (np.arange(part.start, part.stop, dtype=np.float32) for part in window)
        moment = slider.passing(rows)
        centre = slider.position(moment)[0].astype(np.float32)[:, None]
        age = np.clip((time - moment) / FILM, 0, 1).astype(np.float32)[:, None]
        width = np.float32(half) * (1 - np.float32(0.6) * age)
        side = (columns[None] - centre) / width
        edge = np.clip(1.5 - np.abs(side), 0, 1)
        alpha = edge * edge * (3 - 2 * edge) * (1 - age) * np.float32(self.opacity)
        map_x = centre - 2 * np.clip(side, -1.5, 1.5) * width
        map_y = np.repeat(rows[:, None], columns.size, axis=1)
        return window, alpha, map_x, map_y, 1 - np.float32(0.1) * np.minimum(side * side, 1.5)

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
        reduced = (max(2, width // reduction), max(2, height // reduction))
        small = cv2.resize(frame, reduced, interpolation=cv2.INTER_AREA)
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
