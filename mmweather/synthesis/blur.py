"""Motion blur as a camera makes it: the light of many moments summed while the shutter is open.

The sum is formed in linear light and only then given to the camera's response curve, as in the GoPro data set (Nah et
al., CVPR 2017): blurred highlights are brighter than an average of pixel values. The sharp partner of a blurred frame
is the moment in the middle of its exposure.

Three ways to the moments in between, from exact to estimated:

- :func:`render_blurry_scene` renders them: camera, objects and depth are exact, and so is the flow that comes with it;
- :class:`ExposureAverage` takes them from a film of a high frame rate;
- :class:`BlurOn` moves the pixels of an ordinary film along its optical flow, and shakes the camera besides.
"""
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from .randomness import smooth_signal
from .scenes import SceneRenderer

__all__ = ['BlurOn', 'BlurryClip', 'CameraResponse', 'CameraShake', 'ExposureAverage', 'blur_on', 'blur_stream',
           'optical_flow', 'random_blur', 'render_blurry_scene', 'scene_exposures']

#: Share of the time between two frames in which the shutter is open.
SHUTTER = 0.8
#: Moments that are summed per frame.
SAMPLES = 13


@dataclass
class BlurryClip:
    """A blurred clip and its sharp partner.

    Attributes:
        lq (numpy.ndarray): Blurred frames, uint8 RGB ``(T, H, W, 3)``.
        gt (numpy.ndarray): The moments in the middle of the exposures, likewise.
        flow_backward (numpy.ndarray, optional): float32 ``(T - 1, H, W, 2)``, pixels (dx, dy): the point at ``p`` in
            sharp frame t + 1 is at ``p + flow_backward[t](p)`` in sharp frame t. Only where it is exact. Defaults to
            None.
        depth (numpy.ndarray, optional): float32 ``(T, H, W)``, metres. Defaults to None.
    """
    lq: np.ndarray
    gt: np.ndarray
    flow_backward: np.ndarray | None = None
    depth: np.ndarray | None = None


class CameraResponse:
    """How a camera turns light into pixel values, and back.

    Args:
        gamma (float): ``value = light^(1 / gamma)``, both in [0, 1]. Defaults to 2.2.
        curve (Sequence[float], optional): Light that belongs to each of the 256 pixel values, rising; instead of
            ``gamma``. Its scale does not matter. Defaults to None.

    Raises:
        ValueError: If ``gamma`` is not positive or ``curve`` are not 256 rising numbers.
    """

    def __init__(self, gamma=2.2, curve=None):
        if gamma <= 0:
            raise ValueError(f'gamma must be positive, got {gamma}')
        light = np.linspace(0, 1, 256)**gamma if curve is None else np.asarray(curve, np.float64)
        if light.shape != (256, ) or not (np.diff(light) > 0).all():
            raise ValueError('curve must be 256 rising numbers, the light of each pixel value')
        light = (light - light[0]) / (light[-1] - light[0])
        self.light = light.astype(np.float32)
        # the inverse by a table too, over the root of the light: dark pixel values lie close together in light
        self._values = np.rint(np.interp(np.linspace(0, 1, 1 << 16)**2, light, np.arange(256))).astype(np.uint8)

    def linear(self, frame):
        """Light in [0, 1], float32, of pixel values uint8."""
        return cv2.LUT(frame, self.light)

    def display(self, light):
        """Pixel values uint8 of light in [0, 1]."""
        return self._values[np.rint(np.sqrt(np.clip(light, 0, 1)) * 65535).astype(np.uint16)]


class CameraShake:
    """A hand-held or vibrating camera: smooth random rotations about its three axes.

    Args:
        seed (int): Seed. Defaults to 0.
        strength (float): 1 moves the picture by about 1.5 % of its width per thirtieth of a second. Defaults to 1.0.
    """

    #: (seconds, degrees): how long swings take, and how far they go.
    SWINGS = ((0.2, 1.2), (0.08, 1.2))
    #: Yaw, pitch and roll.
    AXES = (('yaw', 1.0), ('pitch', 0.8), ('roll', 0.6))

    def __init__(self, seed=0, strength=1.0):
        self.seed, self.strength = seed, strength

    def rotation(self, time):
        """The rotation from the axes of the steady camera to those of the shaken one.

        Args:
            time (float): Seconds.

        Returns:
            numpy.ndarray: float64 ``(3, 3)``.
        """
        yaw, pitch, roll = (
            np.deg2rad(self.strength * share * sum(
                degrees * smooth_signal(self.seed, time, period, 'shake', axis, number)
                for number, (period, degrees) in enumerate(self.SWINGS)))
            for axis, share in self.AXES)
        turn = cv2.Rodrigues(np.array([pitch, yaw, 0.0]))[0]
        return cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0] @ turn

    def homography(self, time, size, focal=None):
        """Where the pixels of the shaken view are in the steady one.

        Args:
            time (float): Seconds.
            size (tuple[int, int]): Height and width of the frame.
            focal (float, optional): Focal length in pixels. Defaults to None: 0.8 of the longer side.

        Returns:
            numpy.ndarray: float32 ``(3, 3)``, from (x, y, 1) to a multiple of (x', y', 1).
        """
        focal = focal or 0.8 * max(size)
        camera = np.array([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
        return (camera @ self.rotation(time).T @ np.linalg.inv(camera)).astype(np.float32)


class ExposureAverage:
    """Sums moments in linear light.

    Args:
        response (CameraResponse, optional): Defaults to None: a gamma of 2.2.
    """

    def __init__(self, response=None):
        self.response = response or CameraResponse()

    def __call__(self, moments):
        """The blurred frame.

        Args:
            moments (Iterable[numpy.ndarray]): uint8 RGB ``(H, W, 3)``, at least one; read one by one.

        Returns:
            numpy.ndarray: uint8 RGB ``(H, W, 3)``.
        """
        total, count = None, 0
        for moment in moments:
            light = self.response.linear(moment)
            total = light if total is None else cv2.add(total, light, dst=total)
            count += 1
        if not count:
            raise ValueError('an exposure needs at least one moment')
        return self.response.display(total / count)


class BlurOn:
    """Blurs one frame of an ordinary film after the other; flat memory for films of any length.

    What moves in the film is blurred along its optical flow, and the camera is shaken. Only the frame itself is
    moved, so nothing is seen double; what comes into view from outside of the frame is mirrored.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        seed (int): Seed of the shake. Defaults to 0.
        strength (float): Of the shake, see :class:`CameraShake`; 0 for none. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        shutter (float): Share of a frame's time in which the shutter is open. Defaults to 0.8.
        samples (int): Moments per frame, odd. Defaults to 13.
        focal (float, optional): Focal length in pixels. Defaults to None: 0.8 of the longer side.
        response (CameraResponse, optional): Defaults to None: a gamma of 2.2.

    Raises:
        ValueError: If ``samples`` is even: the sharp frame is the one in the middle.
    """

    def __init__(self, size, seed=0, strength=1.0, fps=25, shutter=SHUTTER, samples=SAMPLES, focal=None,
                 response=None):
        if samples < 1 or samples % 2 == 0:
            raise ValueError(f'samples must be odd, got {samples}')
        self.size = (int(size[0]), int(size[1]))
        self.shake = CameraShake(seed, strength)
        self.fps, self.focal = float(fps), focal
        self.moments = np.linspace(-0.5, 0.5, samples) * shutter if samples > 1 else np.zeros(1)
        self.average = ExposureAverage(response)
        columns, rows = np.meshgrid(np.arange(self.size[1]), np.arange(self.size[0]))
        self._grid = np.stack([columns, rows], axis=-1).astype(np.float32)

    def __call__(self, frame, t, to_previous=None, to_next=None):
        """Blur frame number ``t``.

        Args:
            frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
            t (int): Frame index; any order, any subset.
            to_previous (numpy.ndarray, optional): Flow to the previous frame ``(H, W, 2)`` in pixels; None if nothing
                moves. Defaults to None.
            to_next (numpy.ndarray, optional): Flow to the next frame, likewise. Defaults to None.

        Returns:
            dict: ``lq`` and ``gt``, uint8 RGB ``(H, W, 3)``.
        """
        steady = self._view(t)
        to_previous, to_next = (None if flow is None else cv2.remap(
            flow, steady, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for flow in (to_previous, to_next))

        def moment(offset):
            view = steady if offset == 0 else self._view(t + offset)
            flow = to_previous if offset < 0 else to_next
            if offset and flow is not None:
                view = view - np.float32(abs(offset)) * flow
            return _look(frame, view)

        return dict(lq=self.average(moment(offset) for offset in self.moments), gt=moment(0.0))

    def expose(self, moment_at, t):
        """Blur frame number ``t`` of a film of which every moment is known; only the camera's shake is added.

        Args:
            moment_at (Callable): From an offset, in frames from ``t``, to what a steady camera sees then, uint8 RGB
                ``(H, W, 3)``.
            t (int): Frame index.

        Returns:
            dict: ``lq`` and ``gt``, uint8 RGB ``(H, W, 3)``.
        """
        def moment(offset):
            return _look(moment_at(offset), self._view(t + offset))

        return dict(lq=self.average(moment(offset) for offset in self.moments), gt=moment(0.0))

    def flow(self, steady, t):
        """Where the pixels of shaken frame ``t`` are in shaken frame ``t - 1``.

        Args:
            steady (numpy.ndarray): Flow from frame ``t`` to frame ``t - 1`` as a steady camera has it, ``(H, W, 2)``.
            t (int): Frame index.

        Returns:
            numpy.ndarray: float32 ``(H, W, 2)``, pixels (dx, dy), as exact as ``steady``; NaN where the shaken frame
            shows what the steady one does not.
        """
        view = self._view(t)
        nothing = (np.nan, np.nan, 0, 0)
        moved = view + cv2.remap(steady, view, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                                 borderValue=nothing)
        if self.shake.strength:
            back = np.linalg.inv(self.shake.homography((t - 1) / self.fps, self.size, self.focal).astype(np.float64))
            moved = cv2.perspectiveTransform(moved, back)
        return moved - self._grid

    def _view(self, t):
        """For every pixel of the shaken frame its place in the steady one, float32 ``(H, W, 2)``."""
        if not self.shake.strength:
            return self._grid
        return cv2.perspectiveTransform(self._grid, self.shake.homography(t / self.fps, self.size, self.focal))


def _look(frame, view):
    return cv2.remap(frame, view, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def optical_flow(frame, other):
    """Estimate where the pixels of ``frame`` are in ``other``, by OpenCV's dense inverse search (DIS).

    Args:
        frame (numpy.ndarray): uint8 RGB ``(H, W, 3)``.
        other (numpy.ndarray): uint8 RGB of the same shape.

    Returns:
        numpy.ndarray: float32 ``(H, W, 2)``, pixels (dx, dy).
    """
    if min(frame.shape[:2]) < 16:
        return np.zeros((*frame.shape[:2], 2), np.float32)
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return search.calc(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.cvtColor(other, cv2.COLOR_RGB2GRAY), None)


def blur_stream(frames, blur, start=0):
    """Blur the frames of a film one by one, in flat memory.

    Args:
        frames (Iterable[numpy.ndarray]): uint8 RGB ``(H, W, 3)``.
        blur (BlurOn): How.
        start (int): Frame index of the first frame. Defaults to 0.

    Yields:
        dict: ``lq`` and ``gt``, one for each frame.
    """
    window = deque()
    to_previous, t = None, start
    for frame in frames:
        window.append(frame)
        if len(window) == 2:
            current = window.popleft()
            yield blur(current, t, to_previous, optical_flow(current, frame))
            to_previous, t = optical_flow(frame, current), t + 1
    if window:
        yield blur(window[0], t, to_previous, None)


def blur_on(frames, seed=0, strength=1.0, fps=25, start=0, **options):
    """Blur a clip.

    Args:
        frames (numpy.ndarray): uint8 RGB ``(T, H, W, 3)``.
        seed (int): Seed. Defaults to 0.
        strength (float): Of the camera's shake. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        start (int): Frame index of the first frame. Defaults to 0.
        options: Further arguments of :class:`BlurOn`.

    Returns:
        BlurryClip: Without flow and depth.
    """
    frames = np.asarray(frames)
    parts = list(blur_stream(frames, BlurOn(frames.shape[1:3], seed, strength, fps, **options), start))
    return BlurryClip(*(np.stack([part[name] for part in parts]) for name in ('lq', 'gt')))


def render_blurry_scene(kind='drive', frames=12, size=(240, 432), seed=0, strength=1.0, fps=25, shutter=SHUTTER,
                        samples=SAMPLES, response=None):
    """Render a scene as a shaken camera with an open shutter sees it; the same arguments give the same clip.

    Every moment of an exposure is rendered from the camera's and the objects' places at that moment: blur follows
    depth, and things uncover what is behind them while the shutter is open.

    Args:
        kind (str): ``'drive'`` or ``'walk'``. Defaults to ``'drive'``.
        frames (int): Number of frames. Defaults to 12.
        size (tuple[int, int]): Height and width. Defaults to (240, 432).
        seed (int): Seed of the scene and the shake. Defaults to 0.
        strength (float): Of the shake. Defaults to 1.0.
        fps (float): Frames per second. Defaults to 25.
        shutter (float): Share of a frame's time in which the shutter is open. Defaults to 0.8.
        samples (int): Moments per frame, odd. Defaults to 13.
        response (CameraResponse, optional): Defaults to None: a gamma of 2.2.

    Returns:
        BlurryClip: With exact flow and depth of the sharp frames.

    Raises:
        ValueError: If ``samples`` is even.
    """
    renderer = SceneRenderer(kind, size, seed, fps=fps, shake=CameraShake(seed, strength).rotation)
    parts = list(scene_exposures(renderer, frames, shutter, samples, response))
    flows = [part['sharp'].flow_backward for part in parts[:-1]]
    return BlurryClip(
        lq=np.stack([part['lq'] for part in parts]), gt=np.stack([part['gt'] for part in parts]),
        flow_backward=np.stack(flows) if flows else np.zeros((0, *renderer.size, 2), np.float32),
        depth=np.stack([part['sharp'].depth for part in parts]))


def scene_exposures(renderer, frames, shutter=SHUTTER, samples=SAMPLES, response=None):
    """The blurred frames of a scene one by one, in flat memory.

    Args:
        renderer (SceneRenderer): The scene, with the camera shaken or not.
        frames (int): Number of frames.
        shutter (float): Share of a frame's time in which the shutter is open. Defaults to 0.8.
        samples (int): Moments per frame, odd. Defaults to 13.
        response (CameraResponse, optional): Defaults to None: a gamma of 2.2.

    Yields:
        dict: ``lq``, ``gt``, and ``sharp``, the :class:`SceneFrame` of the latter with its geometry.

    Raises:
        ValueError: If ``samples`` is even.
    """
    if samples < 1 or samples % 2 == 0:
        raise ValueError(f'samples must be odd, got {samples}')
    average = ExposureAverage(response)
    offsets = np.linspace(-0.5, 0.5, samples) * shutter if samples > 1 else np.zeros(1)
    for t in range(frames):
        sharp = renderer.frame(t, flow=t + 1 < frames)
        lq = average(sharp.frame if offset == 0 else renderer.frame(t + offset, flow=False).frame
                     for offset in offsets)
        yield dict(lq=lq, gt=sharp.frame, sharp=sharp)


def random_blur(size, rng, fps=25, samples=SAMPLES):
    """Varied blur for training: steady to trembling, short to long exposures.

    Args:
        size (tuple[int, int]): Height and width in pixels.
        rng (numpy.random.Generator): Source of the choice.
        fps (float): Frames per second of the film. Defaults to 25.
        samples (int): Moments per frame, odd. Defaults to 13.

    Returns:
        BlurOn: To be called with frames, frame indices and flows.
    """
    # crops of a larger frame and whole small frames alike: the scale is not the crop's
    focal = float(np.exp(rng.uniform(np.log(250), np.log(700))))
    return BlurOn(size, seed=int(rng.integers(2**31)), strength=float(rng.uniform(0.2, 1.6)), fps=fps,
                  shutter=float(rng.uniform(0.4, 1.0)), samples=samples, focal=focal)
