"""The worlds behind the procedural scenes: textured rectangles in metres, made chunk by chunk.

Axes: x to the right, y down, z forward along the road; the ground is y = 0. What stands on a chunk of the road follows
from ``(seed, chunk)`` and what moves along it from ``(seed, column, slot)``, so a world has no end and needs no past.
"""
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import scene_textures as paint
from .randomness import generator

# metres: houses and trees fade in at this distance, people, cars, posts and shadows, which are smaller, at that one
FAR, FAR_SMALL = 220.0, 100.0
CHUNK = 12.0

RIGHT, DOWN, AHEAD = np.float64([1, 0, 0]), np.float64([0, 1, 0]), np.float64([0, 0, 1])
STILL = np.zeros(3)


def vector(x, y, z):
    """A point or direction, float64 ``(3,)``."""
    return np.array([x, y, z], np.float64)


class Texture:
    """An image in metres with the levels of detail for one kind of surface.

    A level is shrunk by as much as one pixel covers at its distance, separately in both directions: that is what keeps
    a road or a facade, seen at a slant, from shimmering without blurring it across.

    Args:
        image (numpy.ndarray): uint8 RGB or RGBA.
        width (float): Metres across the image.
        height (float): Metres down the image.
        focal (float): Focal length of the camera in pixels.
        wrap (bool): Whether the image repeats: sideways, and on the ground lengthwise as well. Defaults to False.
        surface (str): ``'upright'`` faces the camera, so that a pixel covers ``z / f`` both ways; ``'ground'`` is seen
            from ``reach`` metres above, so that it covers ``z^2 / (f reach)`` lengthwise (the image's vertical axis);
            ``'wall'`` runs along the road ``reach`` metres beside it (the image's horizontal axis). Defaults to
            ``'upright'``.
        reach (float): See ``surface``. Defaults to 1.0.
    """

    def __init__(self, image, width, height, focal, wrap=False, surface='upright', reach=1.0):
        self.width, self.height = float(width), float(height)
        self.wrap = wrap
        self.ground = surface == 'ground'
        self.opaque = image.shape[2] == 3
        if not self.opaque:
            alpha = image[..., 3:].astype(np.float32) / 255
            image = np.dstack([np.rint(image[..., :3] * alpha).astype(np.uint8), image[..., 3]])
        rows, columns = image.shape[:2]
        across, down = columns / self.width, rows / self.height  # texels per metre
        # a slanted surface shrinks fourfold per doubling of the distance; levels are a factor of two apart at most
        self.steps = 1.0 if surface == 'upright' else 2.0
        self.nearest = focal / max(across, down)
        if surface == 'ground':
            self.nearest = min(self.nearest, np.sqrt(focal * reach / down))
        elif surface == 'wall':
            self.nearest = min(self.nearest, np.sqrt(focal * reach / across))
        self.levels = []
        for level in range(max(0, int(np.ceil(self.steps * np.log2(FAR / self.nearest)))) + 1):
            z = self.nearest * 2**(level / self.steps)
            straight, slanted = z / focal, z * z / (focal * reach)
            shrink_x = across * (slanted if surface == 'wall' else straight)
            shrink_y = down * (slanted if surface == 'ground' else straight)
            size = (max(1, round(columns / max(1.0, shrink_x))), max(1, round(rows / max(1.0, shrink_y))))
            self.levels.append(
                image if size == (columns, rows) else cv2.resize(image, size, interpolation=cv2.INTER_AREA))

    def sample(self, a, b, z):
        """The texture at metres (a, b), filtered for distance z, all float32 ``(h, w)``.

        Returns:
            numpy.ndarray: float32 ``(h, w, 3)``, or ``(h, w, 4)`` with premultiplied alpha in [0, 255].
        """
        last = len(self.levels) - 1
        level = np.log2(z * np.float32(1 / self.nearest))
        if self.steps != 1:
            level *= np.float32(self.steps)
        low, high = min(max(level.min(), 0), last), min(max(level.max(), 0), last)
        if high - low < 0.1:
            # a small or distant plane: one blend for all of it
            level = float(0.5 * (low + high))
            index = int(level)
            result = self._lookup(index, a, b).astype(np.float32)
            if level - index > 0.05:
                result += (self._lookup(index + 1, a, b) - result) * np.float32(level - index)
            return result
        result = np.zeros((*z.shape, 3 if self.opaque else 4), np.float32)
        np.clip(level, 0, last, out=level)
        for index in range(int(low), int(np.ceil(high)) + 1):
            weight = np.maximum(1 - np.abs(level - np.float32(index)), 0)
            rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
            if rows.size:
                box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
                result[box] += self._lookup(index, a[box], b[box]) * weight[box][..., None]
        return result

    def _lookup(self, index, a, b):
        image = self.levels[index]
        rows, columns = image.shape[:2]
        x = a * np.float32(columns / self.width) - np.float32(0.5)
        y = b * np.float32(rows / self.height) - np.float32(0.5)
        if not self.wrap:
            border = cv2.BORDER_REPLICATE if self.opaque else cv2.BORDER_CONSTANT
            return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border)
        x = np.mod(x, np.float32(columns))
        # the top of a fence does not continue at its foot
        y = np.mod(y, np.float32(rows)) if self.ground else np.clip(y, 0, rows - 1)
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@dataclass
class Plane:
    """A textured rectangle in the world.

    Args:
        origin (numpy.ndarray): World position of the texture's upper left corner at time 0 ``(3,)``, metres.
        side (numpy.ndarray): From there along the texture's upper edge to its end ``(3,)``.
        down (numpy.ndarray): From there along the texture's left edge to its end ``(3,)``. The plane is seen from the
            side to which ``side x down`` does not point.
        texture (Texture): What is on it.
        extent (tuple[float, float], optional): Metres of texture across and down; more than one image of a texture that
            repeats. Defaults to None (one image).
        velocity (numpy.ndarray): m/s ``(3,)``. Defaults to 0.
        light (float): Brightness. Defaults to 1.0.
        layer (int): 0 for things, 1 for shadows on the ground, 2 for the ground below those. Defaults to 0.
        range (float, optional): Metres from which on it is not drawn. Defaults to None (``FAR_SMALL`` for what is
            small, else ``FAR``).
    """
    origin: np.ndarray
    side: np.ndarray
    down: np.ndarray
    texture: Texture
    extent: tuple | None = None
    velocity: np.ndarray = field(default_factory=lambda: STILL)
    light: float = 1.0
    layer: int = 0
    range: float | None = None

    def __post_init__(self):
        if self.extent is None:
            self.extent = (self.texture.width, self.texture.height)
        if self.range is None:
            small = self.layer == 1 or self.down @ self.down < 4.0 or self.side @ self.side < 1.0
            self.range = FAR_SMALL if small else FAR


def upright(texture, x, z, bottom=0.0, scale=1.0, width=None, height=None, **options):
    """A cutout centred at x that faces the coming camera; its own size times ``scale`` unless told."""
    width = texture.width * scale if width is None else width
    height = texture.height * scale if height is None else height
    return Plane(vector(x - width / 2, bottom - height, z), RIGHT * width, DOWN * height, texture, **options)


def wall(texture, x, z, length, height, side, bottom=0.0, **options):
    """A wall along the road that faces it; ``side`` is -1 left of the road, 1 right of it."""
    start, along = (z, AHEAD * length) if side < 0 else (z + length, -AHEAD * length)
    return Plane(vector(x, bottom - height, start), along, DOWN * height, texture,
                 extent=(length, height) if texture.wrap else None, **options)


def flat(texture, x, z, width, length, y=0.0, **options):
    """A level rectangle seen from above; x is its left edge and z its near end."""
    return Plane(vector(x, y, z + length), RIGHT * width, -AHEAD * length, texture,
                 extent=(width, length) if texture.wrap else None, **options)


class World:
    """Everything there is to see on a drive along a street, on its pavement, or on a park's path.

    Args:
        kind (str): ``'drive'`` or ``'walk'``.
        seed (int): Seed.
        focal (float): Focal length in pixels, which the textures' levels are made for.
    """

    def __init__(self, kind, seed, focal):
        rng = generator(seed, 'scene', kind)
        self.kind, self.seed, self.focal = kind, seed, focal
        self.dusk = bool(rng.uniform() < 0.3)
        self.park = kind == 'walk' and bool(rng.uniform() < 0.5)
        if kind == 'drive':
            self.eye, self.speed, self.road, self.lane = rng.uniform(1.2, 1.8), rng.uniform(6, 14), 4.0, 1.9
        else:
            self.eye, self.speed, self.road = rng.uniform(1.5, 1.75), rng.uniform(0.9, 1.7), 2.0 if self.park else 4.0
            self.lane = 0.0 if self.park else self.road + 1.2
        self.pavement = 0.0 if self.park else 3.2
        self.setback = self.road + self.pavement
        self._phases = rng.uniform(0, 2 * np.pi, 16)
        self._rates = rng.uniform(0.6, 1.4, 16)
        self._sway = rng.uniform(0.5, 1.5)
        if self.dusk:
            self.light = np.float32(rng.uniform(0.5, 0.75) * np.float32([1.06, 0.98, 0.96]))
        else:
            self.light = np.float32(rng.uniform(0.85, 1.1) * (1 + rng.normal(0, 0.015, 3)))
        self._sun_side = rng.choice([-1.0, 1.0])
        self._paint(rng)
        self._columns = self._traffic(rng)
        self._chunks, self._travellers = {}, {}

    # the look

    def _paint(self, rng):
        def texture(image, width, height, **options):
            return Texture(image, width, height, self.focal, **options)

        level = {'wrap': True, 'surface': 'ground', 'reach': self.eye}
        self.sky = paint.sky((384, 1536), rng, self.dusk)
        self.trees = [texture(paint.tree((256, 192), rng), 4.5, 6.0) for _ in range(4)]
        self.bushes = [texture(paint.bush((96, 128), rng), 2.0, 1.4) for _ in range(2)]
        self.people = [texture(paint.person((224, 96), rng), 0.78, 1.78) for _ in range(7)]
        self.fence = texture(paint.fence((128, 512), rng), 4.0, 1.1, wrap=True, surface='wall', reach=6)
        self.post = texture(paint.metal((128, 16), rng), 0.14, 5.2)
        self.shadow = texture(paint.soft_shadow((64, 64)), 1, 1, surface='ground', reach=self.eye)
        boards = [paint.billboard((192, 384), rng) for _ in range(2)]
        if self.park:
            self.boards = [texture(board, 5.0, 2.6) for board in boards]
            self.forest = texture(paint.forest((256, 1024), rng), 48, 11, wrap=True, surface='wall', reach=20)
            self.ground = texture(paint.grass((512, 512), rng), 8, 8, **level)
            path = (paint.paving((512, 256), rng, (16, 8)) if rng.uniform() < 0.4 else
                    paint.asphalt((512, 256), rng, value=rng.uniform(110, 160)))
            self.carriageway = texture(path, 4, 8, **level)
            return
        self.boards = [texture(board, 5.0, 2.6, surface='wall', reach=6) for board in boards]
        self.facades = []  # the same front along the road and facing the camera
        for _ in range(5):
            floors, columns = int(rng.integers(2, 6)), int(rng.integers(3, 6))
            image, height = paint.facade((120 * floors, 512), rng, floors, columns, self.dusk), 3.3 * floors
            self.facades.append((texture(image, CHUNK, height, surface='wall', reach=7), texture(image, CHUNK, height)))
        verge = paint.grass if rng.uniform() < 0.4 else paint.paving
        self.ground = texture(verge((512, 512), rng), 8, 8, **level)
        self.carriageway = texture(paint.road((1024, 512), rng), 8, 12, **level)
        self.flags = texture(paint.paving((512, 512), rng), 3.2, 3.2, **level)
        self.signs = [texture(paint.sign((96, 96), rng), 0.75, 0.75) for _ in range(3)]
        self.cars = [self._car(rng, texture) for _ in range(4)]

    def _car(self, rng, texture):
        color = paint.random_color(rng, None, (0.0, 0.85), (0.12, 0.95))
        length, width = rng.uniform(3.9, 4.8), rng.uniform(1.7, 1.9)
        body, cabin = rng.uniform(0.85, 1.05), rng.uniform(0.5, 0.65)
        beside = {'surface': 'wall', 'reach': 3}
        side = paint.car_side((96, 416), rng, color)
        return {
            'size': (length, width, body, cabin),
            'right': texture(np.ascontiguousarray(side[:, ::-1]), length, body, **beside),
            'left': texture(side, length, body, **beside),
            'rear': texture(paint.car_end((96, 192), rng, color, True, self.dusk), width, 0.85 * body),
            'front': texture(paint.car_end((96, 192), rng, color, False, self.dusk), width, 0.85 * body),
            'side windows': texture(paint.car_cabin((64, 224), rng, color, 2), 0.55 * length, cabin, **beside),
            'end window': texture(paint.car_cabin((64, 160), rng, color, 1), 0.86 * width, cabin),
            'top': texture(paint.car_top((96, 64), rng, color), width, length, surface='ground', reach=1.0),
        }

    # the things

    def _shade(self, x, z, width, length, velocity=STILL):
        """The soft shadow below a thing, centred at (x, z)."""
        return flat(self.shadow, x - width / 2, z - length / 2, width, length, y=-0.01, velocity=velocity, layer=1)

    def _car_at(self, car, x, z, velocity, oncoming):
        """A car with its nearer end at z: a box with wheels, and a smaller one of glass on top."""
        length, width, body, cabin = car['size']
        left, right, inset, start = x - width / 2, x + width / 2, 0.07 * width, z + 0.22 * length
        return [
            self._shade(x, z + length / 2, 1.25 * width, 1.12 * length, velocity),
            upright(car['front' if oncoming else 'rear'], x, z, bottom=-0.15 * body, velocity=velocity),
            wall(car['right'], right, z, length, body, -1, velocity=velocity, light=0.85),
            wall(car['left'], left, z, length, body, 1, velocity=velocity, light=0.85),
            flat(car['top'], left, z, width, length, y=-body, velocity=velocity, light=1.1),
            upright(car['end window'], x, start, bottom=-body, velocity=velocity),
            wall(car['side windows'], right - inset, start, 0.55 * length, cabin, -1, bottom=-body, velocity=velocity),
            wall(car['side windows'], left + inset, start, 0.55 * length, cabin, 1, bottom=-body, velocity=velocity),
            flat(car['top'], left + inset, start, 0.86 * width, 0.55 * length, y=-body - cabin, velocity=velocity,
                 light=1.15),
        ]

    def _tree(self, rng, x, z):
        tree = self.trees[rng.integers(len(self.trees))]
        return [self._shade(x, z, 2.6, 2.2),
                upright(tree, x, z, scale=rng.uniform(0.75, 1.5), light=rng.uniform(0.8, 1.1))]

    def _bush(self, rng, x, z, largest):
        return [self._shade(x, z, 1.4, 0.9),
                upright(self.bushes[rng.integers(len(self.bushes))], x, z, scale=rng.uniform(0.6, largest))]

    def _person(self, rng, x, z, velocity=STILL):
        scale = rng.uniform(0.88, 1.08)
        return [self._shade(x, z, 0.9, 0.6, velocity),
                upright(self.people[rng.integers(len(self.people))], x, z, scale=scale, velocity=velocity)]

    def _lamp(self, x, z, side):
        """A street lamp with an arm over the road."""
        return [upright(self.post, x, z, width=0.13, height=5.2),
                upright(self.post, x - 0.65 * side, z - 0.01, bottom=-5.1, width=1.3, height=0.1)]

    def _sign(self, rng, x, z):
        return [upright(self.post, x, z, width=0.07, height=2.5),
                upright(self.signs[rng.integers(len(self.signs))], x, z - 0.02, bottom=-2.1)]

    def _crossing(self, rng, z):
        """Somebody who crosses in front of the camera as it comes near."""
        pace = rng.choice([-1.0, 1.0]) * rng.uniform(0.9, 2.2)
        meeting = max(0.0, (z - rng.uniform(4, 16)) / self.speed)
        return self._person(rng, self.lane + rng.uniform(-1, 1) - pace * meeting, z, vector(pace, 0, 0))

    def _street_chunk(self, rng, z):
        def somewhere(room=CHUNK):
            return z + rng.uniform(0, room)

        planes = []
        for side in (-1, 1):
            lit = 1.0 if side * self._sun_side < 0 else 0.78
            x, curb = side * self.setback, side * (self.road + 0.5)
            if rng.uniform() < 0.8:
                along, facing = self.facades[rng.integers(len(self.facades))]
                x += side * rng.choice([0.0, 0.0, 1.5, 3.0])
                planes += [wall(along, x, z, CHUNK, along.height, side, light=lit),
                           upright(facing, x + side * CHUNK / 2, z, light=0.88)]
            else:
                planes.append(wall(self.fence, x, z, CHUNK, 1.1, side, light=lit))
                for _ in range(3):
                    planes += self._tree(rng, x + side * rng.uniform(2, 14), somewhere())
                if rng.uniform() < 0.5:
                    board = self.boards[rng.integers(len(self.boards))]
                    planes.append(wall(board, x + side, somewhere(6), 5.0, 2.6, side, bottom=-0.6, light=lit))
            if rng.uniform() < 0.55:
                planes += self._tree(rng, curb + side * 0.4, somewhere())
            if rng.uniform() < 0.5:
                planes += self._lamp(curb, somewhere(), side)
            if rng.uniform() < 0.4:
                planes += self._sign(rng, curb + side * 0.2, somewhere())
            if rng.uniform() < 0.35:
                planes += self._bush(rng, side * (self.setback - 0.8), somewhere(), 1.0)
            if rng.uniform() < 0.55:
                car = self.cars[rng.integers(len(self.cars))]
                planes += self._car_at(car, side * (self.road - 1.0), somewhere(7), STILL, side < 0)
            if rng.uniform() < 0.4:
                planes += self._person(rng, side * (self.road + rng.uniform(1.9, 2.9)), somewhere())
        if rng.uniform() < 0.25:
            planes += self._crossing(rng, somewhere())
        return planes

    def _park_chunk(self, rng, z):
        def somewhere():
            return z + rng.uniform(0, CHUNK)

        planes = []
        for side in (-1, 1):
            planes.append(wall(self.forest, side * 24, z, CHUNK, 11, side, light=0.85))
            for _ in range(rng.integers(2, 5)):
                planes += self._tree(rng, side * (self.road + rng.uniform(0.8, 18)), somewhere())
            for _ in range(rng.integers(0, 3)):
                planes += self._bush(rng, side * (self.road + rng.uniform(0.8, 8)), somewhere(), 1.6)
            if rng.uniform() < 0.4:
                planes += self._lamp(side * (self.road + 0.3), somewhere(), side)
            if rng.uniform() < 0.3:
                planes.append(wall(self.fence, side * (self.road + 0.6), z, CHUNK, 1.1, side))
            if rng.uniform() < 0.2:
                board = self.boards[rng.integers(len(self.boards))]
                planes.append(upright(board, side * (self.road + rng.uniform(4, 9)), somewhere(), bottom=-0.5))
            if rng.uniform() < 0.5:
                planes += self._person(rng, side * rng.uniform(0.9, self.road + 5), somewhere())
        if rng.uniform() < 0.4:
            planes += self._crossing(rng, somewhere())
        return planes

    # what moves along the road

    def _traffic(self, rng):
        """Endless columns of cars and people: (metres between them, place x, speed along z, who)."""
        if self.park:
            return [(rng.uniform(7, 14), x, speed, 'person') for x, speed in (
                (-1.3, rng.uniform(-1.6, -0.8)), (1.3, rng.uniform(0.6, 2.2)), (-1.6, rng.uniform(-3.5, -2.2)))]
        pace = self.speed if self.kind == 'drive' else 8.0
        return [
            (rng.uniform(18, 40), -1.7, -rng.uniform(6, 12), 'oncoming'),
            (rng.uniform(22, 45), 1.7, pace * rng.uniform(1.0, 1.15), 'ahead'),  # nobody is run into
            (rng.uniform(6, 14), self.road + 2.2, rng.uniform(-1.6, -0.8), 'person'),
            (rng.uniform(6, 14), self.road + 2.7, rng.uniform(1.0, 2.0), 'person'),
            (rng.uniform(8, 16), -self.road - 1.6, rng.uniform(-1.6, 1.6), 'person'),
        ]

    def _traveller(self, number, slot):
        """The planes of one member of a column, or none: one place in four is empty."""
        key = (number, slot)
        if key not in self._travellers:
            if len(self._travellers) > 4096:
                self._travellers.clear()
            spacing, x, speed, who = self._columns[number]
            rng = generator(self.seed, 'scene', 'traffic', number, slot)
            velocity, z = vector(0, 0, speed), (slot + rng.uniform(0, 0.6)) * spacing
            # our own place in the column, and those behind it
            ours = who == 'ahead' and self.kind == 'drive' and slot <= 0
            if ours or rng.uniform() < 0.25:
                planes = []
            elif who == 'person':
                planes = self._person(rng, x + rng.uniform(-0.25, 0.25), z, velocity)
            else:
                car = self.cars[rng.integers(len(self.cars))]
                planes = self._car_at(car, x + rng.uniform(-0.15, 0.15), z, velocity, who == 'oncoming')
            self._travellers[key] = planes
        return self._travellers[key]

    def _chunk(self, index):
        if index not in self._chunks:
            rng = generator(self.seed, 'scene', self.kind, 'chunk', index)
            make = self._park_chunk if self.park else self._street_chunk
            self._chunks[index] = make(rng, index * CHUNK)
            for old in [key for key in self._chunks if abs(key - index) > 2 * FAR / CHUNK]:
                del self._chunks[old]
        return self._chunks[index]

    def planes(self, time, z):
        """Everything near and ahead of a camera.

        Args:
            time (float): Seconds.
            z (float): Where the camera is along the road.

        Returns:
            list[Plane]: With the origins of time 0.
        """
        # starting at a multiple of every ground texture's length keeps the textures in place
        tile = 96.0
        start = np.floor((z - 4) / tile) * tile
        length = np.ceil((FAR + 8) / tile + 1) * tile
        strips = [(self.carriageway, -self.road, 2 * self.road), (self.ground, -64, 64 - self.setback),
                  (self.ground, self.setback, 64 - self.setback)]
        if self.pavement:
            strips += [(self.flags, self.road, self.pavement), (self.flags, -self.setback, self.pavement)]
        planes = [flat(texture, x, start, width, length, layer=2) for texture, x, width in strips]
        for index in range(int(np.floor((z - 2) / CHUNK)) - 1, int(np.ceil((z + FAR) / CHUNK))):
            planes += self._chunk(index)
        for number, (spacing, _, speed, _) in enumerate(self._columns):
            first = int(np.floor((z - 8 - speed * time) / spacing)) - 1
            last = int(np.ceil((z + FAR_SMALL - speed * time) / spacing))
            for slot in range(first, last + 1):
                planes += self._traveller(number, slot)
        return planes

    # the camera

    def pose(self, time):
        """Where the camera is and how it is turned.

        Args:
            time (float): Seconds.

        Returns:
            tuple[numpy.ndarray, numpy.ndarray]: Position ``(3,)`` in metres and the rotation from world to camera axes
            ``(3, 3)``.
        """
        def wave(number, hertz):
            return np.sin(2 * np.pi * hertz * self._rates[number] * time + self._phases[number])

        if self.kind == 'drive':
            x = self.lane + 0.25 * wave(0, 0.11)
            y = -self.eye + 0.012 * wave(1, 1.5) + 0.006 * wave(2, 3.1)
            yaw = self._sway * (2.2 * wave(3, 0.13) + 0.15 * wave(4, 0.9))
            pitch = 0.8 + 0.25 * wave(5, 0.8) + 0.15 * wave(6, 2.1)
            roll = 0.3 * wave(7, 0.5)
        else:
            x = self.lane + 0.25 * wave(0, 0.2) + 0.03 * wave(1, 0.95)
            y = -self.eye + 0.025 * wave(2, 1.9)
            yaw = self._sway * (7 * wave(3, 0.12) + 1.2 * wave(4, 0.7))
            pitch = 1.5 * wave(5, 0.25) + 0.5 * wave(6, 1.9)
            roll = 0.9 * wave(7, 0.6) + 0.4 * wave(8, 1.4)
        (sin_yaw, sin_pitch, sin_roll), (cos_yaw, cos_pitch, cos_roll) = (
            function(np.deg2rad([yaw, pitch, roll])) for function in (np.sin, np.cos))
        turn = np.array([[cos_yaw, 0, -sin_yaw], [0, 1, 0], [sin_yaw, 0, cos_yaw]])
        nod = np.array([[1, 0, 0], [0, cos_pitch, -sin_pitch], [0, sin_pitch, cos_pitch]])
        bank = np.array([[cos_roll, sin_roll, 0], [-sin_roll, cos_roll, 0], [0, 0, 1]])
        return vector(x, y, self.speed * time), bank @ nod @ turn
