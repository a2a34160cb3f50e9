"""Procedural drives and walks with exact depth, optical flow and, on request, the right view.

A world is a set of textured rectangles in metres: strips of ground, facades, cutouts of trees and people, cars made of
boxes. Each is ray-cast analytically into the frame (depth and texture coordinates are ratios of affine functions of the
pixel), z-buffered and antialiased. Since everything moves rigidly and at constant velocity, the flow of a pixel follows
from its depth, the two camera poses and one velocity: nothing is estimated.

A scene has no end and any frame can be rendered alone. :mod:`.scene_world` says what is in it.
"""
from dataclasses import dataclass

import cv2
import numpy as np

from .scene_world import FAR, World, vector

__all__ = ['SKY_DEPTH', 'Scene', 'SceneFrame', 'SceneRenderer', 'render_scene', 'scene_stream']

# metres; the sky is at infinity for the flow and at this depth in the depth map
SKY_DEPTH = 10000.0
# metres; nothing is drawn that is nearer to the camera
NEAR = 0.3


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
        disparity (numpy.ndarray): float32 ``(T, H, W)``, pixels, ``fx * baseline / depth``; the point at column x of
            the left view is at column ``x - disparity`` of the right one.
        right (numpy.ndarray, optional): uint8 RGB ``(T, H, W, 3)``, or None if the scene was rendered without stereo.
        right_depth (numpy.ndarray, optional): float32 ``(T, H, W)``, the right view's own depth, or None likewise.
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
    right_depth: np.ndarray | None
    intrinsics: dict
    baseline: float
    fps: float


@dataclass
class SceneFrame:
    """One frame of a scene; the fields are those of :class:`Scene` without the time axis.

    The flows connect this frame with its successor: ``flow_forward`` lies on this frame's grid, ``flow_backward`` on
    the successor's. They are None where they were not wanted.
    """
    frame: np.ndarray
    depth: np.ndarray
    flow_forward: np.ndarray | None
    flow_backward: np.ndarray | None
    disparity: np.ndarray
    right: np.ndarray | None
    right_depth: np.ndarray | None


@dataclass
class _Raster:
    """What a rendered view knows about its pixels."""
    image: np.ndarray
    depth: np.ndarray
    owner: np.ndarray  # index into velocities, -1 for the sky
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
        shake (Callable, optional): From seconds to a rotation ``(3, 3)`` by which the camera is turned from where it
            looks, such as :meth:`CameraShake.rotation`. Defaults to None.

    Raises:
        ValueError: If ``kind`` is neither.
    """

    kinds = ('drive', 'walk')

    def __init__(self, kind='drive', size=(240, 432), seed=0, stereo=False, fps=25, baseline=0.22, shake=None):
        if kind not in self.kinds:
            raise ValueError(f'A scene is one of {", ".join(self.kinds)}, not {kind!r}.')
        self.size = (int(size[0]), int(size[1]))
        self.fps, self.stereo, self.baseline = float(fps), stereo, float(baseline)
        self.shake = shake
        height, width = self.size
        self.focal = 0.8 * max(width, height)
        self.intrinsics = {'fx': self.focal, 'fy': self.focal, 'cx': (width - 1) / 2, 'cy': (height - 1) / 2}
        self.xs = ((np.arange(width) - (width - 1) / 2) / self.focal).astype(np.float32)
        self.ys = ((np.arange(height) - (height - 1) / 2) / self.focal).astype(np.float32)
        self.world = World(kind, seed, self.focal)
        self._rasters = {}

    def frame(self, t, flow=True):
        """Frame ``t`` with its geometry.

        Args:
            t (float): Frame index, from 0 on; fractions are moments between two frames.
            flow (bool): Whether the flows are wanted; they need the next frame rendered as well. Defaults to True.

        Returns:
            SceneFrame: See there; the flows are None if they were not wanted.
        """
        here = self._raster(t)
        there = self._raster(t + 1) if flow else None
        right = self._render(t, self.baseline) if self.stereo else None
        return SceneFrame(
            frame=here.image, depth=here.depth, disparity=np.float32(self.focal * self.baseline) / here.depth,
            right=right.image if right else None, right_depth=right.depth if right else None,
            flow_forward=self._flow(here, there, 1) if flow else None,
            flow_backward=self._flow(there, here, -1) if flow else None)

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
        inverse[here.owner < 0] = 0
        points += moves[np.maximum(here.owner, 0)] * inverse[..., None]
        flow = np.empty((*self.size, 2), np.float32)
        flow[..., 0] = (points[..., 0] / points[..., 2] - self.xs[None]) * self.focal
        flow[..., 1] = (points[..., 1] / points[..., 2] - self.ys[:, None]) * self.focal
        return flow

    def _render(self, t, offset=0.0):
        """One view; ``offset`` metres to the right of the left camera."""
        time = t / self.fps
        position, rotation = self.world.pose(time)
        if self.shake is not None:
            rotation = self.shake(time) @ rotation
        planes = self.world.planes(time, position[2])
        position = position + rotation.T @ vector(offset, 0, 0)
        velocities = np.array([plane.velocity for plane in planes])
        ranges = np.array([plane.range for plane in planes])
        origins = (np.array([plane.origin for plane in planes]) + velocities * time - position) @ rotation.T
        sides = np.array([plane.side for plane in planes]) @ rotation.T
        downs = np.array([plane.down for plane in planes]) @ rotation.T
        normals = np.cross(sides, downs)
        reach = np.einsum('nk,nk->n', normals, origins)
        boxes, distance = self._bounds(origins, sides, downs)
        seen = (reach > 1e-9) & (boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]) & (distance < ranges)

        view = _View(self, self.world.light)
        # front to back, so that what is hidden is never computed; shadows and the ground come last, since all things
        # stand on them
        centers = origins[:, 2] + (sides[:, 2] + downs[:, 2]) / 2
        order = sorted(np.flatnonzero(seen), key=lambda i: (planes[i].layer, centers[i]))
        for index in order:
            top, bottom, left, right = boxes[index]
            view.draw(planes[index], int(index), origins[index], sides[index], downs[index], normals[index],
                      float(distance[index]), (slice(top, bottom), slice(left, right)))
        image = view.finish(self._sky(rotation))
        return _Raster(image, view.depth, view.owner, velocities, position, rotation)

    def _bounds(self, origins, sides, downs):
        """Pixel boxes (top, bottom, left, right), int ``(N, 4)``, and the least depth ``(N,)`` of every rectangle.

        Edges are cut off where they pass behind the camera.
        """
        corners = np.stack([origins, origins + sides, origins + sides + downs, origins + downs], axis=1)
        successors = np.roll(corners, -1, axis=1)
        z, z_next = corners[..., 2], successors[..., 2]
        crosses = (z > NEAR) != (z_next > NEAR)
        share = np.where(crosses, (NEAR - z) / np.where(crosses, z_next - z, 1), 0)
        cuts = corners + share[..., None] * (successors - corners)
        points = np.concatenate([corners, cuts], axis=1)
        valid = np.concatenate([z > NEAR, crosses], axis=1)
        height, width = self.size
        depth = np.where(valid, points[..., 2], 1.0)
        columns = points[..., 0] / depth * self.focal + (width - 1) / 2
        rows = points[..., 1] / depth * self.focal + (height - 1) / 2

        def limits(values, size):
            low = np.floor(np.where(valid, values, np.inf).min(axis=1)).clip(0, size)
            high = np.ceil(np.where(valid, values, -np.inf).max(axis=1) + 1).clip(0, size)
            return low.astype(np.int64), high.astype(np.int64)

        boxes = np.stack([*limits(rows, height), *limits(columns, width)], axis=1)
        return boxes, np.where(valid, points[..., 2], np.inf).min(axis=1)

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
        return cv2.remap(panorama, u, v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


class _View:
    """One view in the making, composited front to back."""

    def __init__(self, renderer, light):
        self.xs, self.ys, self.focal = renderer.xs, renderer.ys, renderer.focal
        self.light = light
        self.color = np.zeros((*renderer.size, 3), np.float32)
        self.open = np.ones(renderer.size, np.float32)  # share of the pixel that nothing covers yet
        self.depth = np.full(renderer.size, SKY_DEPTH, np.float32)
        self.owner = np.full(renderer.size, -1, np.int32)

    def finish(self, sky):
        """The view as uint8, with the sky where it shines through."""
        self.color += sky * self.open[..., None]
        self.color += 0.5
        return np.clip(self.color, 0, 255).astype(np.uint8)

    def draw(self, plane, index, origin, side, down, normal, distance, box):
        """Draw one plane, given in camera axes, into a box of pixels."""
        # only where it may be seen: through gaps, or before something that came earlier
        wanted = (self.open[box] > 0.01) | (self.depth[box] > distance)
        rows = np.flatnonzero(wanted.any(axis=1))
        if not rows.size:
            return
        columns = np.flatnonzero(wanted.any(axis=0))
        top, left = box[0].start, box[1].start
        box = slice(top + rows[0], top + rows[-1] + 1), slice(left + columns[0], left + columns[-1] + 1)
        x, y = self.xs[None, box[1]], self.ys[box[0], None]
        # the ray through (x, y, 1) meets the plane at depth z
        reach = float(normal @ origin)
        slope = np.float32(normal[0] / reach) * x + np.float32(normal[1] / reach) * y + np.float32(normal[2] / reach)
        np.maximum(slope, np.float32(1 / (4 * FAR)), out=slope)
        z = 1 / slope
        width, height = plane.extent
        a, a_pixel = self._coordinate(side, width, origin, normal / reach, x, y, z)
        b, b_pixel = self._coordinate(down, height, origin, normal / reach, x, y, z)
        # a pixel is covered as far as the rectangle reaches into it
        cover = np.minimum(np.minimum(a, width - a) / a_pixel, np.minimum(b, height - b) / b_pixel)
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        if z.max() > 0.8 * plane.range:
            cover *= np.clip((plane.range - z) * np.float32(1 / (0.2 * plane.range)), 0, 1)
        cover *= z > NEAR
        color = plane.texture.sample(a, b, z)
        alpha = cover
        if not plane.texture.opaque:
            color *= cover[..., None]
            alpha = color[..., 3] * np.float32(1 / 255)
            color = color[..., :3]
            cover = None
        depth, gap = self.depth[box], self.open[box]
        nearer = z < depth
        # behind what is there already only the gaps are left; before it, it covers everything
        before = nearer & (depth < SKY_DEPTH)
        light = self.light * np.float32(plane.light)
        weight = gap if cover is None else gap * cover
        target = self.color[box]
        if before.any():
            weight = np.where(before, np.float32(1) if cover is None else cover, weight)
            target *= np.where(before, 1 - alpha, np.float32(1))[..., None]
        color *= weight[..., None]
        color *= light
        target += color
        gap *= 1 - alpha
        solid = (alpha > 0.5) & nearer
        np.copyto(depth, z, where=solid)
        np.copyto(self.owner[box], index, where=solid)

    def _coordinate(self, axis, extent, origin, normal, x, y, z):
        """Metres of texture along one axis of a plane, and how many of them a pixel covers."""
        scale = extent / (axis @ axis)
        ax, ay, az = (np.float32(v) for v in axis * scale)
        ray = ax * x + ay * y + az
        value = z * ray
        # derivatives by the pixel; z itself changes by -z^2 normal / (normal . origin)
        across = np.abs(ax - value * np.float32(normal[0]))
        upward = np.abs(ay - value * np.float32(normal[1]))
        footprint = np.maximum(across, upward)
        footprint *= z
        footprint *= np.float32(1 / self.focal)
        footprint += np.float32(1e-6)
        value -= np.float32(axis @ origin * scale)
        return value, footprint


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
    parts = [renderer.frame(t, flow=t + 1 < frames) for t in range(frames)]

    def stack(name, count=frames):
        if count < 1:
            return np.zeros((0, *renderer.size, 2), np.float32)
        return np.stack([getattr(part, name) for part in parts[:count]])

    return Scene(
        frames=stack('frame'), depth=stack('depth'), flow_forward=stack('flow_forward', frames - 1),
        flow_backward=stack('flow_backward', frames - 1), disparity=stack('disparity'),
        right=stack('right') if stereo else None, right_depth=stack('right_depth') if stereo else None,
        intrinsics=renderer.intrinsics, baseline=renderer.baseline,
        fps=float(fps))
