"""Procedural drives and walks with exact depth, optical flow and, on request, the right view.

A world is a set of textured rectangles in metres: strips of ground, facades, cutouts of trees and people, cars made of
boxes. Each is ray-cast analytically into the frame (depth and texture coordinates are ratios of affine functions of the
pixel), z-buffered, and filtered through a chain of texture levels whose shrinkage follows the surface's slant, so that
neither a road nor a facade shimmers. Since everything moves rigidly and at constant velocity, the flow of a pixel follows
from its depth, the two camera poses and one velocity.

Axes: x to the right, y down, z forward; the ground is y = 0. The world is made chunk by chunk along z from
``(seed, chunk)``, so a scene has no end and any frame can be rendered alone.
"""
from dataclasses import dataclass, field

import cv2
import numpy as np

from . import scene_textures as paint
from .randomness import generator

__all__ = ['SKY_DEPTH', 'Scene', 'SceneFrame', 'SceneRenderer', 'render_scene', 'scene_stream']

# metres; the sky is at infinity for the flow and at this depth in the depth map
SKY_DEPTH = 10000.0
# nothing is drawn beyond the second distance, and it fades in from the first
FADE_FROM, FADE_TO = 170.0, 220.0
NEAR = 0.3
CHUNK = 12.0


@dataclass
class Scene:
    """A rendered clip with its geometry.

    Attributes:
        frames (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``; the left view of a stereo pair.
        depth (numpy.ndarray): float32 ``(T, H, W)``, z-depth in metres; the sky is at ``SKY_DEPTH`` (finite).
        flow_forward (numpy.ndarray): float32 ``(T - 1, H, W, 2)``, pixels (dx, dy): the point at ``p`` in frame t is at
            ``p + flow_forward[t](p)`` in frame t + 1.
        flow_backward (numpy.ndarray): float32 ``(T - 1, H, W, 2)``: the point at ``p`` in frame t + 1 is at
            ``p + flow_backward[t](p)`` in frame t.
        disparity (numpy.ndarray): float32 ``(T, H, W)``, pixels, ``fx * baseline / depth``; the point at column x of the left
            view is at column ``x - disparity`` of the right one.
        right (numpy.ndarray, optional): uint8 RGB ``(T, H, W, 3)``, or None if the scene was rendered without stereo.
        intrinsics (dict): ``fx``, ``fy``, ``cx``, ``cy`` in pixels; pixel centres have integer coordinates.
        baseline (float): Distance of the two cameras in metres.
        fps (float): Frames per second.
    """
    frames: np.ndarray
    depth: np.ndarray
    flow_forward: np.ndarray
    flow_backward: np.ndarray
    disparity: np.ndarray
    right: np.ndarray | None
    intrinsics: dict
    baseline: float
    fps: float


@dataclass
class SceneFrame:
    """One frame of a scene; the fields are those of :class:`Scene` without the time axis.

    The flows connect this frame with its successor: ``flow_forward`` lies on this frame's grid, ``flow_backward`` on the
    successor's.
    """
    frame: np.ndarray
    depth: np.ndarray
    flow_forward: np.ndarray
    flow_backward: np.ndarray
    disparity: np.ndarray
    right: np.ndarray | None


class Texture:
    """An image in metres with the levels of detail for one kind of surface.

    Args:
        image (numpy.ndarray): uint8 RGB or RGBA.
        width (float): Metres across the image.
        height (float): Metres down the image.
        focal (float): Focal length of the camera in pixels.
        wrap (bool): Whether the image repeats: sideways, and on the ground lengthwise as well. Defaults to False.
        surface (str): ``'upright'`` faces the camera, so that a pixel covers ``z / f`` both ways; ``'ground'`` is seen from
            ``reach`` metres above, so that it covers ``z^2 / (f reach)`` lengthwise (the image's vertical axis); ``'wall'``
            runs along the road ``reach`` metres beside it (the image's horizontal axis). Defaults to ``'upright'``.
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
        self.steps = 1.0 if surface == 'upright' else 2.0  # levels per doubling of the distance
        nearest = focal / max(across, down)
        if surface == 'ground':
            nearest = min(nearest, np.sqrt(focal * reach / down))
        elif surface == 'wall':
            nearest = min(nearest, np.sqrt(focal * reach / across))
        self.nearest = nearest
        self.levels = []
        for level in range(int(np.ceil(self.steps * np.log2(FADE_TO / nearest))) + 1):
            z = nearest * 2**(level / self.steps)
            straight, slanted = z / focal, z * z / (focal * reach)
            shrink_x = across * (slanted if surface == 'wall' else straight)
            shrink_y = down * (slanted if surface == 'ground' else straight)
            size = tuple(max(1, round(side / max(1.0, shrink))) for side, shrink in ((columns, shrink_x), (rows, shrink_y)))
            self.levels.append(image if size == (columns, rows) else cv2.resize(image, size, interpolation=cv2.INTER_AREA))

    def sample(self, a, b, z):
        """The texture at metres (a, b), filtered for distance z, all float32 ``(h, w)``.

        Returns:
            numpy.ndarray: float32 ``(h, w, 3)``, or ``(h, w, 4)`` with premultiplied alpha in [0, 255].
        """
        last = len(self.levels) - 1
        level = np.clip(np.log2(z * np.float32(1 / self.nearest)) * np.float32(self.steps), 0, last)
        low, high = int(level.min()), int(np.ceil(level.max()))
        if high == low:
            return self._lookup(low, a, b).astype(np.float32)
        result = np.zeros((*z.shape, 3 if self.opaque else 4), np.float32)
        for index in range(low, high + 1):
            weight = np.clip(1 - np.abs(level - index), 0, 1)
            rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
            if not rows.size:
                continue
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            result[box] += self._lookup(index, a[box], b[box]) * weight[box][..., None]
        return result

    def _lookup(self, index, a, b):
        image = self.levels[index]
        rows, columns = image.shape[:2]
        x = a * np.float32(columns / self.width) - np.float32(0.5)
        y = b * np.float32(rows / self.height) - np.float32(0.5)
        if self.wrap:
            x = np.mod(x, np.float32(columns))
            # the top of a fence does not continue at its foot
            y = np.mod(y, np.float32(rows)) if self.ground else np.clip(y, 0, rows - 1)
            border = cv2.BORDER_WRAP
        else:
            border = cv2.BORDER_REPLICATE if self.opaque else cv2.BORDER_CONSTANT
        return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=border)


@dataclass
class Plane:
    """A textured rectangle ``origin + a u + b v`` with a in [0, width] and b in [0, height] metres.

    It is visible from the side to which ``u x v`` does not point; ``velocity`` is in m/s and moves the origin, which is
    given for time 0.
    """
    origin: np.ndarray
    u: np.ndarray
    v: np.ndarray
    width: float
    height: float
    texture: Texture
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    light: float = 1.0
    ground: bool = False


RIGHT, DOWN, AHEAD = np.float64([1, 0, 0]), np.float64([0, 1, 0]), np.float64([0, 0, 1])


def _vector(x, y, z):
    return np.array([x, y, z], np.float64)


class World:
    """Everything there is to see, made chunk by chunk.

    Args:
        kind (str): ``'drive'`` or ``'walk'``.
        seed (int): Seed.
        focal (float): Focal length in pixels.
    """

    def __init__(self, kind, seed, focal):
        rng = generator(seed, 'scene', kind)
        self.kind, self.seed, self.focal = kind, seed, focal
        self.dusk = bool(rng.uniform() < 0.3)
        self.park = kind == 'walk' and bool(rng.uniform() < 0.5)
        if kind == 'drive':
            self.eye, self.speed, self.lane = rng.uniform(1.2, 1.8), rng.uniform(6, 14), 1.9
            self.road = 4.0
        else:
            self.eye, self.speed = rng.uniform(1.5, 1.75), rng.uniform(0.9, 1.7)
            self.road = 2.0 if self.park else 4.0
            self.lane = 0.0 if self.park else self.road + 1.6
        self.pavement = 3.2 if not self.park else 0.0
        self.setback = self.road + self.pavement
        self.phases = rng.uniform(0, 2 * np.pi, 16)
        self.rates = rng.uniform(0.6, 1.4, 16)
        self.sway = rng.uniform(0.5, 1.5)
        light = rng.uniform(0.5, 0.75) if self.dusk else rng.uniform(0.85, 1.1)
        tint = np.float32([1.06, 0.98, 0.96]) if self.dusk else np.float32([1, 1, 1]) + rng.normal(0, 0.015, 3)
        self.light = np.float32(light * tint)
        self.sun_side = rng.choice([-1.0, 1.0])
        self._paint(rng)
        self._chunks = {}
        self.streams = self._traffic(rng)

    # the look

    def _paint(self, rng):
        def texture(image, width, height, **options):
            return Texture(image, width, height, self.focal, **options)

        eye = self.eye
        if self.park:
            self.ground = texture(paint.grass((512, 512), rng), 8, 8, wrap=True, surface='ground', reach=eye)
            path = paint.paving((512, 256), rng, (16, 8)) if rng.uniform() < 0.4 else paint._finish(
                paint.asphalt((512, 256), rng, value=rng.uniform(110, 160)))
            self.carriageway = texture(path, 4, 8, wrap=True, surface='ground', reach=eye)
        else:
            self.ground = texture(
                paint.grass((512, 512), rng) if rng.uniform() < 0.4 else paint.paving((512, 512), rng), 8, 8, wrap=True,
                surface='ground', reach=eye)
            self.carriageway = texture(paint.road((1024, 512), rng), 8, 12, wrap=True, surface='ground', reach=eye)
        self.flags = texture(paint.paving((512, 512), rng), 3.2, 3.2, wrap=True, surface='ground', reach=eye)
        self.curb = texture(paint.metal((16, 256), rng, value=150), 4, 0.12, wrap=True, surface='wall', reach=5)
        self.facades = []
        for _ in range(0 if self.park else 5):
            floors, columns = int(rng.integers(2, 6)), int(rng.integers(3, 6))
            image = paint.facade((120 * floors, 512), rng, floors, columns, self.dusk)
            height = 3.3 * floors
            self.facades.append((
                texture(image, CHUNK, height, surface='wall', reach=7), texture(image, CHUNK, height)))
        self.trees = [texture(paint.tree((256, 192), rng), 4.5, 6.0) for _ in range(4)]
        self.bushes = [texture(paint.bush((96, 128), rng), 2.0, 1.4) for _ in range(2)]
        self.forest = texture(paint.forest((256, 1024), rng), 48, 11, wrap=True, surface='wall', reach=20)
        self.people = [texture(paint.person((224, 96), rng), 0.78, 1.78) for _ in range(5)]
        self.signs = [texture(paint.sign((96, 96), rng), 0.75, 0.75) for _ in range(3)]
        self.boards = [texture(paint.billboard((192, 384), rng), 5.0, 2.6) for _ in range(2)]
        self.board_walls = [texture(paint.billboard((192, 384), rng), 5.0, 2.6, surface='wall', reach=6) for _ in range(2)]
        self.fence = texture(paint.fence((128, 512), rng), 4.0, 1.1, wrap=True, surface='wall', reach=6)
        self.post = texture(paint.metal((128, 16), rng), 0.14, 5.2)
        self.shadow = texture(paint.soft_shadow((64, 64)), 1, 1, surface='ground', reach=eye)
        self.cars = [self._car(rng, texture) for _ in range(4)]
        self.sky = paint.sky((384, 1536), rng, self.dusk)

    def _car(self, rng, texture):
        color = paint._color(rng, None, (0.0, 0.85), (0.12, 0.95))
        length, width, body, cabin = rng.uniform(3.9, 4.8), rng.uniform(1.7, 1.9), rng.uniform(0.85, 1.05), rng.uniform(0.5, 0.65)
        wall = {'surface': 'wall', 'reach': 3}
        side = paint.car_side((96, 416), rng, color)
        return {
            'size': (length, width, body, cabin),
            'side': texture(side, length, body, **wall),
            'mirrored': texture(np.ascontiguousarray(side[:, ::-1]), length, body, **wall),
            'rear': texture(paint.car_end((96, 192), rng, color, True, self.dusk), width, 0.85 * body),
            'front': texture(paint.car_end((96, 192), rng, color, False, self.dusk), width, 0.85 * body),
            'glass side': texture(paint.car_cabin((64, 224), rng, color, 2), 0.55 * length, cabin, **wall),
            'glass end': texture(paint.car_cabin((64, 160), rng, color, 1), 0.86 * width, cabin),
            'top': texture(paint.car_top((96, 64), rng, color), width, length, surface='ground', reach=1.0),
        }

    # the things

    def _upright(self, texture, x, z, bottom=0.0, scale=1.0, velocity=None, light=1.0):
        """A cutout that faces the coming camera."""
        width, height = texture.width * scale, texture.height * scale
        plane = Plane(_vector(x - width / 2, bottom - height, z), RIGHT / 1.0, DOWN / 1.0, width, height, texture, light=light)
        if velocity is not None:
            plane.velocity = velocity
        if scale != 1.0:
            plane.u, plane.v = RIGHT * scale, DOWN * scale
            plane.width, plane.height = texture.width, texture.height
        return plane

    def _wall(self, texture, x, z, length, height, side, bottom=0.0, light=1.0, velocity=None):
        """A wall along the road that faces it; ``side`` is -1 on the left, 1 on the right."""
        start, along = (z, AHEAD) if side < 0 else (z + length, -AHEAD)
        return Plane(_vector(x, bottom - height, start), along, DOWN, length, height, texture, light=light,
                     velocity=np.zeros(3) if velocity is None else velocity)

    def _flat(self, texture, x, z, width, length, y=0.0, velocity=None, light=1.0, ground=False):
        """A level rectangle seen from above; z is its near end."""
        return Plane(_vector(x, y, z + length), RIGHT, -AHEAD, width, length, texture, light=light, ground=ground,
                     velocity=np.zeros(3) if velocity is None else velocity)

    def _shade(self, x, z, width, length, velocity=None):
        shadow = self._flat(self.shadow, x - width / 2, z - length / 2, 1, 1, y=-0.01, velocity=velocity)
        shadow.u, shadow.v = RIGHT * width, -AHEAD * length
        shadow.origin = _vector(x - width / 2, -0.01, z + length / 2)
        return shadow

    def _car_at(self, car, x, z, velocity, oncoming):
        """A car whose nearest point is at z; the world light falls on its sides by their orientation."""
        length, width, body, cabin = car['size']
        left, right = x - width / 2, x + width / 2
        near, far = ('front', 'rear') if oncoming else ('rear', 'front')
        del far  # the far end is never seen
        inset, start = 0.07 * width, z + 0.22 * length
        return [
            self._shade(x, z + length / 2, 1.25 * width, 1.12 * length, velocity),
            self._wall(car['mirrored'], right, z, length, body, -1, velocity=velocity, light=0.85),
            self._wall(car['side'], left, z, length, body, 1, velocity=velocity, light=0.85),
            Plane(_vector(left, -body, z), RIGHT, DOWN, width, 0.85 * body, car[near], velocity=velocity),
            self._flat(car['top'], left, z, width, length, y=-body, velocity=velocity, light=1.1),
            self._wall(car['glass side'], right - inset, start, 0.55 * length, cabin, -1, -body, velocity=velocity),
            self._wall(car['glass side'], left + inset, start, 0.55 * length, cabin, 1, -body, velocity=velocity),
            Plane(_vector(left + inset, -body - cabin, start), RIGHT, DOWN, 0.86 * width, cabin, car['glass end'],
                  velocity=velocity),
            self._flat(car['top'], left + inset, start, 0.86 * width, 0.55 * length, y=-body - cabin, velocity=velocity,
                       light=1.15),
        ]

    def chunk(self, index):
        """The planes that stand on chunk ``index`` of the ground, ``CHUNK`` metres of z."""
        if index not in self._chunks:
            rng = generator(self.seed, 'scene', self.kind, 'chunk', index)
            self._chunks[index] = self._park_chunk(rng, index * CHUNK) if self.park else self._street_chunk(rng, index * CHUNK)
            for old in [key for key in self._chunks if abs(key - index) > 2 * FADE_TO / CHUNK]:
                del self._chunks[old]
        return self._chunks[index]

    def _street_chunk(self, rng, z):
        planes = []
        for side in (-1, 1):
            lit = 1.0 if side * self.sun_side < 0 else 0.78
            x = side * self.setback
            choice = rng.uniform()
            if choice < 0.8:
                slanted, facing = self.facades[rng.integers(len(self.facades))]
                x += side * rng.choice([0.0, 0.0, 1.5, 3.0])
                height = slanted.height
                planes.append(self._wall(slanted, x, z, CHUNK, height, side, light=lit))
                gable = Plane(_vector(x if side > 0 else x - CHUNK, -height, z), RIGHT, DOWN, CHUNK, height, facing, light=0.88)
                planes.append(gable)
            else:
                planes.append(self._wall(self.fence, x, z, CHUNK, 1.1, side, light=lit))
                for _ in range(3):
                    planes.append(self._tree(rng, x + side * rng.uniform(2, 14), z + rng.uniform(0, CHUNK)))
                if rng.uniform() < 0.5:
                    planes.append(self._wall(self.board_walls[rng.integers(2)], x + side, z + rng.uniform(0, 6), 5.0, 2.6, side,
                                             bottom=-0.6, light=lit))
            near = side * (self.road + 0.5)
            if rng.uniform() < 0.55:
                planes += self._tree_with_shadow(rng, near + side * 0.4, z + rng.uniform(0, CHUNK))
            if rng.uniform() < 0.5:
                planes += self._lamp(near, z + rng.uniform(0, CHUNK), side)
            if rng.uniform() < 0.4:
                spot = z + rng.uniform(0, CHUNK)
                planes.append(self._upright(self.signs[rng.integers(3)], near + side * 0.2, spot - 0.02, bottom=-2.1))
                planes.append(self._post(near + side * 0.2, spot, 2.5, 0.07))
            if rng.uniform() < 0.35:
                planes.append(self._upright(self.bushes[rng.integers(2)], side * (self.setback - 0.8), z + rng.uniform(0, CHUNK),
                                            scale=rng.uniform(0.6, 1.0)))
            if rng.uniform() < 0.55:
                car = self.cars[rng.integers(len(self.cars))]
                planes += self._car_at(car, side * (self.road - 1.0), z + rng.uniform(0, 7), np.zeros(3), side < 0)
            if rng.uniform() < 0.4:
                planes += self._person(rng, side * (self.road + rng.uniform(0.9, 2.8)), z + rng.uniform(0, CHUNK), np.zeros(3))
        if rng.uniform() < 0.25:
            planes += self._crossing(rng, z + rng.uniform(0, CHUNK))
        return planes

    def _park_chunk(self, rng, z):
        planes = []
        for side in (-1, 1):
            planes.append(self._wall(self.forest, side * 24, z, CHUNK, 11, side, light=0.85))
            for _ in range(rng.integers(2, 5)):
                planes += self._tree_with_shadow(rng, side * (self.road + rng.uniform(0.8, 18)), z + rng.uniform(0, CHUNK))
            for _ in range(rng.integers(0, 3)):
                planes.append(self._upright(self.bushes[rng.integers(2)], side * (self.road + rng.uniform(0.8, 8)),
                                            z + rng.uniform(0, CHUNK), scale=rng.uniform(0.7, 1.6)))
            if rng.uniform() < 0.4:
                planes += self._lamp(side * (self.road + 0.3), z + rng.uniform(0, CHUNK), side)
            if rng.uniform() < 0.3:
                planes.append(self._wall(self.fence, side * (self.road + 0.6), z, CHUNK, 1.1, side))
            if rng.uniform() < 0.2:
                planes.append(self._upright(self.boards[rng.integers(2)], side * (self.road + rng.uniform(4, 9)),
                                            z + rng.uniform(0, CHUNK), bottom=-0.5))
            if rng.uniform() < 0.5:
                planes += self._person(rng, side * rng.uniform(0.9, self.road + 5), z + rng.uniform(0, CHUNK), np.zeros(3))
        if rng.uniform() < 0.4:
            planes += self._crossing(rng, z + rng.uniform(0, CHUNK))
        return planes

    def _tree(self, rng, x, z):
        return self._upright(self.trees[rng.integers(len(self.trees))], x, z, scale=rng.uniform(0.75, 1.5),
                             light=rng.uniform(0.8, 1.1))

    def _tree_with_shadow(self, rng, x, z):
        return [self._shade(x, z, 2.6, 2.2), self._tree(rng, x, z)]

    def _post(self, x, z, height, width):
        post = self._upright(self.post, x, z)
        post.origin = _vector(x - width / 2, -height, z)
        post.u, post.v = RIGHT * (width / post.width), DOWN * (height / post.height)
        return post

    def _lamp(self, x, z, side):
        arm = self._post(x, z, 5.2, 0.13)
        bar = self._upright(self.post, x, z)
        bar.origin, bar.u, bar.v = _vector(x, -5.2, z - 0.01), RIGHT * (-side * 1.3 / bar.width), DOWN * (0.1 / bar.height)
        if side > 0:
            bar.origin, bar.u = _vector(x - 1.3, -5.2, z - 0.01), RIGHT * (1.3 / bar.width)
        return [arm, bar]

    def _person(self, rng, x, z, velocity):
        scale = rng.uniform(0.88, 1.08)
        return [self._shade(x, z, 0.9, 0.6, velocity),
                self._upright(self.people[rng.integers(len(self.people))], x, z, scale=scale, velocity=velocity)]

    def _crossing(self, rng, z):
        """Somebody who crosses in front of the camera as it comes near."""
        direction = rng.choice([-1.0, 1.0])
        pace = direction * rng.uniform(0.9, 2.2)
        meeting = max(0.0, (z - rng.uniform(4, 16)) / self.speed)
        return self._person(rng, self.lane + rng.uniform(-1, 1) - pace * meeting, z, _vector(pace, 0, 0))

    def _traffic(self, rng):
        """Endless columns of cars and people: (spacing, lateral place, speed, kind)."""
        if self.park:
            lanes = [(rng.uniform(7, 14), x, v, 'person') for x, v in (
                (-1.2, rng.uniform(-1.6, -0.8)), (1.1, rng.uniform(0.6, 2.2)), (0.5, rng.uniform(-3.5, -2.2)))]
            return lanes
        pace = self.speed if self.kind == 'drive' else 8.0
        return [
            (rng.uniform(18, 40), -1.7 if self.road > 3 else -1.0, -rng.uniform(6, 12), 'oncoming'),
            (rng.uniform(22, 45), 1.7, pace * rng.uniform(0.8, 1.1) if self.kind == 'drive' else rng.uniform(5, 10), 'ahead'),
            (rng.uniform(6, 14), self.road + 2.2, rng.uniform(-1.6, -0.8), 'person'),
            (rng.uniform(6, 14), self.road + 1.1, rng.uniform(1.0, 2.0), 'person'),
            (rng.uniform(8, 16), -self.road - 1.6, rng.uniform(-1.6, 1.6), 'person'),
        ]

    def _travellers(self, near, far, time):
        """Those members of the endless columns that are between two z at a time."""
        planes = []
        for number, (spacing, x, speed, kind) in enumerate(self.streams):
            velocity = _vector(0, 0, speed)
            first, last = int(np.floor((near - speed * time) / spacing)) - 1, int(np.ceil((far - speed * time) / spacing))
            for slot in range(first, last + 1):
                rng = generator(self.seed, 'scene', 'traffic', number, slot)
                if rng.uniform() < 0.25:
                    continue
                z = (slot + rng.uniform(0, 0.6)) * spacing
                if kind == 'person':
                    planes += self._person(rng, x + rng.uniform(-0.4, 0.4), z, velocity)
                    continue
                if kind == 'ahead' and self.kind == 'drive' and slot <= 0:
                    continue  # our own place in the column, and those behind it
                car = self.cars[rng.integers(len(self.cars))]
                planes += self._car_at(car, x + rng.uniform(-0.15, 0.15), z, velocity, kind == 'oncoming')
        return planes

    def planes(self, time, camera):
        """All planes near the camera; origins are still those of time 0."""
        z = camera[2]
        tile = 96.0  # a multiple of every ground texture's length keeps the texture in place
        start = np.floor((z - 4) / tile) * tile
        length = np.ceil((FADE_TO + 8) / tile + 1) * tile
        lit = 1.0
        planes = [self._flat(self.ground, -64, start, 128, length, ground=True, light=0.95)]
        planes.append(self._flat(self.carriageway, -self.road, start, 2 * self.road, length, y=-0.002, ground=True, light=lit))
        if self.pavement:
            for side in (-1, 1):
                x = self.road if side > 0 else -self.road - self.pavement
                planes.append(self._flat(self.flags, x, start, self.pavement, length, y=-0.004, ground=True))
        far = z + FADE_TO
        for index in range(int(np.floor((z - 2) / CHUNK)) - 1, int(np.ceil(far / CHUNK))):
            planes += self.chunk(index)
        return planes + self._travellers(z - 8, z + 120, time)

    # the camera

    def pose(self, time):
        """Position and rotation (world to camera) of the left camera."""
        def wave(number, hertz):
            return np.sin(2 * np.pi * hertz * self.rates[number] * time + self.phases[number])

        if self.kind == 'drive':
            x = self.lane + 0.25 * wave(0, 0.11)
            y = -self.eye + 0.012 * wave(1, 1.5) + 0.006 * wave(2, 3.1)
            yaw = np.deg2rad(self.sway * (2.2 * wave(3, 0.13) + 0.15 * wave(4, 0.9)))
            pitch = np.deg2rad(0.8 + 0.25 * wave(5, 0.8) + 0.15 * wave(6, 2.1))
            roll = np.deg2rad(0.3 * wave(7, 0.5))
        else:
            x = self.lane + 0.25 * wave(0, 0.2) + 0.03 * wave(1, 0.95)
            y = -self.eye + 0.025 * wave(2, 1.9)
            yaw = np.deg2rad(self.sway * (7 * wave(3, 0.12) + 1.2 * wave(4, 0.7)))
            pitch = np.deg2rad(1.5 * wave(5, 0.25) + 0.5 * wave(6, 1.9))
            roll = np.deg2rad(0.9 * wave(7, 0.6) + 0.4 * wave(8, 1.4))
        cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        bank = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
        return _vector(x, y, self.speed * time), bank @ nod @ turn


@dataclass
class _Raster:
    """What a rendered view knows about its pixels."""
    image: np.ndarray
    depth: np.ndarray
    owner: np.ndarray
    velocities: np.ndarray
    position: np.ndarray
    rotation: np.ndarray


class SceneRenderer:
    """Renders any frame of an endless scene.

    Args:
        kind (str): ``'drive'`` along a street or ``'walk'`` on a pavement or in a park. Defaults to ``'drive'``.
        size (tuple[int, int]): Height and width in pixels. Defaults to (240, 432).
        seed (int): Seed. Defaults to 0.
        stereo (bool): Whether to render the right view too. Defaults to False.
        fps (float): Frames per second. Defaults to 25.
        baseline (float): Metres between the two cameras. Defaults to 0.22.

    Raises:
        ValueError: If ``kind`` is neither.
    """

    kinds = ('drive', 'walk')

    def __init__(self, kind='drive', size=(240, 432), seed=0, stereo=False, fps=25, baseline=0.22):
        if kind not in self.kinds:
            raise ValueError(f'A scene is one of {", ".join(self.kinds)}, not {kind!r}.')
        self.size = (int(size[0]), int(size[1]))
        self.fps, self.stereo, self.baseline = float(fps), stereo, float(baseline)
        height, width = self.size
        self.focal = 0.8 * max(width, height)
        self.intrinsics = {'fx': self.focal, 'fy': self.focal, 'cx': (width - 1) / 2, 'cy': (height - 1) / 2}
        self.xs = ((np.arange(width) - (width - 1) / 2) / self.focal).astype(np.float32)
        self.ys = ((np.arange(height) - (height - 1) / 2) / self.focal).astype(np.float32)
        self.world = World(kind, seed, self.focal)
        self._rasters = {}

    def frame(self, t):
        """Frame ``t`` with its geometry.

        Args:
            t (int): Frame index, from 0 on.

        Returns:
            SceneFrame: See there.
        """
        here, there = self._raster(t), self._raster(t + 1)
        right = self._render(t, self.baseline).image if self.stereo else None
        return SceneFrame(
            frame=here.image, depth=here.depth, right=right,
            flow_forward=self._flow(here, there, 1), flow_backward=self._flow(there, here, -1),
            disparity=np.float32(self.focal * self.baseline) / here.depth)

    def _raster(self, t):
        if t not in self._rasters:
            self._rasters[t] = self._render(t)
            for old in [key for key in self._rasters if key < t - 1 or key > t + 1]:
                del self._rasters[old]
        return self._rasters[t]

    def _flow(self, here, there, direction):
        """Where every pixel of ``here`` is in ``there``, minus where it is now."""
        turn = there.rotation @ here.rotation.T
        shift = there.rotation @ (here.position - there.position)
        moves = (here.velocities * (direction / self.fps)) @ there.rotation.T + shift
        points = np.empty((*self.size, 3), np.float64)
        points[..., 0], points[..., 1], points[..., 2] = self.xs[None], self.ys[:, None], 1
        points = points @ turn.T
        # dividing by the depth first keeps the sky at infinity: its inverse depth is 0
        inverse = 1 / here.depth.astype(np.float64)
        sky = here.owner < 0
        inverse[sky] = 0
        points += moves[np.maximum(here.owner, 0)] * inverse[..., None]
        flow = np.empty((*self.size, 2), np.float32)
        flow[..., 0] = (points[..., 0] / points[..., 2] - self.xs[None]) * self.focal
        flow[..., 1] = (points[..., 1] / points[..., 2] - self.ys[:, None]) * self.focal
        return flow

    def _render(self, t, offset=0.0):
        time = t / self.fps
        position, rotation = self.world.pose(time)
        planes = self.world.planes(time, position)
        position = position + rotation.T @ _vector(offset, 0, 0)
        canvas = self._sky(rotation)
        depth = np.full(self.size, SKY_DEPTH, np.float32)
        owner = np.full(self.size, -1, np.int32)
        velocities = np.array([plane.velocity for plane in planes])

        origins = np.array([plane.origin for plane in planes]) + velocities * time - position
        sides = np.array([plane.u * plane.width for plane in planes])
        downs = np.array([plane.v * plane.height for plane in planes])
        origins, sides, downs = origins @ rotation.T, sides @ rotation.T, downs @ rotation.T
        corners = np.stack([origins, origins + sides, origins + sides + downs, origins + downs], axis=1)
        facing = np.einsum('nk,nk->n', np.cross(sides, downs), origins) > 1e-9
        zs = corners[..., 2]
        seen = facing & (zs.max(axis=1) > NEAR) & (zs.min(axis=1) < FADE_TO)
        # ground strips first, then the rest from far to near
        order = sorted(np.flatnonzero(seen), key=lambda i: (not planes[i].ground, -zs[i].mean() if not planes[i].ground else i))
        for index in order:
            self._draw(planes[index], int(index), corners[index], canvas, depth, owner)
        image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
        return _Raster(image, depth, owner, velocities, position, rotation)

    def _draw(self, plane, index, corners, canvas, depth, owner):
        box = self._bounds(corners)
        if box is None:
            return
        x, y = self.xs[box[1]], self.ys[box[0]]
        origin = corners[0]
        side, down = corners[1] - origin, corners[3] - origin
        normal = np.cross(side, down)
        # the ray through (x, y, 1) meets the plane at depth z
        slope = np.float32(normal[0]) * x[None] + np.float32(normal[1]) * y[:, None] + np.float32(normal[2])
        np.maximum(slope, np.float32(1e-9), out=slope)
        z = np.float32(normal @ origin) / slope
        a, a_edge = self._coordinate(side, plane.width, origin, normal, x, y, z)
        b, b_edge = self._coordinate(down, plane.height, origin, normal, x, y, z)
        texture = plane.texture
        nearer = (z < depth[box]) & (z > NEAR)
        inside = (a > -a_edge) & (a < plane.width + a_edge) & (b > -b_edge) & (b < plane.height + b_edge) & nearer
        if not inside.any():
            return
        color = texture.sample(a, b, np.clip(z, NEAR, FADE_TO))
        # a pixel is covered as far as the rectangle reaches into it
        cover = np.clip(np.minimum(a, plane.width - a) / a_edge + 0.5, 0, 1)
        cover *= np.clip(np.minimum(b, plane.height - b) / b_edge + 0.5, 0, 1)
        cover *= inside
        cover *= np.clip((FADE_TO - z) / (FADE_TO - FADE_FROM), 0, 1)
        light = self.world.light * np.float32(plane.light)
        target = canvas[box]
        if texture.opaque:
            color *= light
            color -= target
            color *= cover[..., None]
            target += color
            solid = cover > 0.5
        else:
            alpha = color[..., 3] * np.float32(1 / 255) * cover
            target *= (1 - alpha)[..., None]
            target += color[..., :3] * light * cover[..., None]
            solid = alpha > 0.5
        np.copyto(depth[box], z, where=solid)
        np.copyto(owner[box], index, where=solid)

    def _coordinate(self, axis, extent, origin, normal, x, y, z):
        """Metres along one axis of a plane, and how many of them a pixel covers."""
        scale = extent / (axis @ axis)
        ax, ay, az = (np.float32(v) for v in axis * scale)
        ray = ax * x[None] + ay * y[:, None] + az
        value = z * ray - np.float32(axis @ origin * scale)
        # derivatives by the pixel: z itself changes with -z^2 n / (n . origin)
        tilt = z * np.float32(1 / (normal @ origin)) * ray
        across = np.abs(ax - tilt * np.float32(normal[0]))
        upward = np.abs(ay - tilt * np.float32(normal[1]))
        return value, np.maximum(across, upward) * z * np.float32(1 / self.focal) + np.float32(1e-6)

    def _bounds(self, corners):
        """The pixels that a rectangle may cover, after cutting off what is behind the camera."""
        points = []
        for first, second in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            if first[2] > NEAR:
                points.append(first)
            if (first[2] > NEAR) != (second[2] > NEAR):
                points.append(first + (second - first) * ((NEAR - first[2]) / (second[2] - first[2])))
        if not points:
            return None
        points = np.array(points)
        height, width = self.size
        xs = points[:, 0] / points[:, 2] * self.focal + (width - 1) / 2
        ys = points[:, 1] / points[:, 2] * self.focal + (height - 1) / 2
        left, right = max(0, int(np.floor(xs.min()))), min(width, int(np.ceil(xs.max())) + 1)
        top, bottom = max(0, int(np.floor(ys.min()))), min(height, int(np.ceil(ys.max())) + 1)
        if right <= left or bottom <= top:
            return None
        return slice(top, bottom), slice(left, right)

    def _sky(self, rotation):
        """The panorama, looked up by the direction of the ray: infinitely far away."""
        rays = np.empty((*self.size, 3), np.float32)
        rays[..., 0], rays[..., 1], rays[..., 2] = self.xs[None], self.ys[:, None], 1
        rays = rays @ rotation.astype(np.float32)
        panorama = self.world.sky
        rows, columns = panorama.shape[:2]
        azimuth = np.arctan2(rays[..., 0], rays[..., 2])
        elevation = -rays[..., 1] / np.hypot(rays[..., 0], rays[..., 2])
        u = np.mod(azimuth * np.float32(columns / np.pi), np.float32(columns))
        v = np.clip((1 - np.maximum(elevation, -0.05) / 0.9) * np.float32(rows - 8), 0, rows - 1)
        canvas = cv2.remap(panorama, u, v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return canvas.astype(np.float32)


def scene_stream(kind='drive', frames=None, size=(240, 432), seed=0, stereo=False, fps=25):
    """The frames of a scene one by one, in flat memory.

    Args:
        kind (str): ``'drive'`` or ``'walk'``. Defaults to ``'drive'``.
        frames (int, optional): Number of frames. Defaults to None (without end).
        size (tuple[int, int]): Height and width. Defaults to (240, 432).
        seed (int): Seed. Defaults to 0.
        stereo (bool): Whether to render the right view too. Defaults to False.
        fps (float): Frames per second. Defaults to 25.

    Yields:
        SceneFrame: The frame, its depth, and the flows to and from its successor.
    """
    renderer = SceneRenderer(kind, size, seed, stereo, fps)
    t = 0
    while frames is None or t < frames:
        yield renderer.frame(t)
        t += 1


def render_scene(kind='drive', frames=30, size=(240, 432), seed=0, stereo=False, fps=25):
    """Render a clip; the same arguments give the same clip.

    Args:
        kind (str): ``'drive'`` along a street or ``'walk'`` on a pavement or in a park. Defaults to ``'drive'``.
        frames (int): Number of frames. Defaults to 30.
        size (tuple[int, int]): Height and width. Defaults to (240, 432).
        seed (int): Seed. Defaults to 0.
        stereo (bool): Whether to render the right view too. Defaults to False.
        fps (float): Frames per second. Defaults to 25.

    Returns:
        Scene: See there.
    """
    renderer = SceneRenderer(kind, size, seed, stereo, fps)
    parts = [renderer.frame(t) for t in range(frames)]

    def stack(name, count=frames):
        return np.stack([getattr(part, name) for part in parts[:count]]) if count else np.zeros((0, *renderer.size, 2), np.float32)

    return Scene(
        frames=stack('frame'), depth=stack('depth'), flow_forward=stack('flow_forward', frames - 1),
        flow_backward=stack('flow_backward', frames - 1), disparity=stack('disparity'),
        right=stack('right') if stereo else None, intrinsics=renderer.intrinsics, baseline=renderer.baseline, fps=float(fps))
