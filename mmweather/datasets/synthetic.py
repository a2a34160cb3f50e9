"""Degraded clips made while training reads them: endless variety, nothing to download.

The clean side is a fixed set of clips, procedural scenes and whatever videos are named, kept as uint8 arrays that all
workers and processes map into memory; the weather is drawn anew for every sample.
"""
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from mmengine.logging import print_log

from mmweather import synthesis
from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.synthesis.rain import default_focal
from mmweather.synthesis.rainy import RainOn, random_rain
from mmweather.synthesis.scenes import SceneRenderer

from .base import ClipDataset
from .frames import list_frames, read_frame

__all__ = ['SyntheticClips', 'SyntheticRain']


@dataclass(frozen=True)
class Crop:
    """Where a clip is cut from, and how it is turned.

    Args:
        source (dict): The source.
        start (int): The first moment.
        path (list[tuple[int, int]]): Top left corner at each moment.
        side (int): Height and width.
        mirrored (bool): Left is right.
        flipped (bool): Up is down.
        reversed (bool): The last moment comes first.
    """

    source: dict
    start: int
    path: list
    side: int
    mirrored: bool
    flipped: bool
    reversed: bool

    def cut(self, frames: np.ndarray) -> np.ndarray:
        """Take the crop.

        Args:
            frames (np.ndarray): All moments of the source, ``(T, H, W, C)``.

        Returns:
            np.ndarray: ``(len(path), side, side, C)``, contiguous.
        """
        clip = np.stack([frames[self.start + moment, row:row + self.side, column:column + self.side]
                         for moment, (row, column) in enumerate(self.path)])
        steps = (-1 if turned else 1 for turned in (self.reversed, self.flipped, self.mirrored))
        return np.ascontiguousarray(clip[tuple(slice(None, None, step) for step in steps)])


class SyntheticClips(ClipDataset):
    """Base of the datasets that degrade clean clips on the fly: where the clean clips come from.

    Everything about a sample follows from ``seed`` and the number of its draw (see :class:`ClipDataset`), so a resumed
    training sees what an uninterrupted one would have seen. With ``test_mode=True`` there is one sample per source
    instead: its first ``num_frames`` whole frames.

    Subclasses write :meth:`draw_sample`, with :meth:`clean_crop` and :meth:`vary_tone` at their service.

    Args:
        videos (Sequence[str]): Clean video files, or folders of frames. Defaults to (): scenes alone.
        scenes (int): Number of procedural scenes, drives and walks in turn. Defaults to 16.
        scene_frames (int): Frames per scene. Defaults to 12.
        scene_size (tuple[int, int]): Height and width of a scene. Defaults to (240, 432).
        scene_share (float): Share of the samples that come from scenes when there are videos too. Defaults to 0.35.
        heights (Sequence[int]): Heights to which the videos are scaled, their aspect kept. Defaults to (240, 360).
        max_frames (int): How many frames of a video are used, from its beginning. Defaults to 300.
        num_frames (int): Frames per clip. Defaults to 5.
        crop_size (int): Side of the square crops in training. Defaults to 128.
        max_pan (float): Fastest pan of a crop through its source in pixels per frame, most are far slower; clips of a
            camera at rest teach a network nothing about motion. Defaults to 0: the crops rest.
        augment (bool): Flip, tone and mirror time of the clean clips. Defaults to True.
        length (int): What ``len()`` says in training; a pass means nothing here. Defaults to 1000.
        pipeline (Sequence[dict | Callable]): Transforms. Defaults to ().
        test_mode (bool): See above. Defaults to False.
        seed (int): Seed. Defaults to 0.
        cache_dir (str, optional): Where rendered scenes and scaled videos are kept as memory-mapped arrays; they are
            made anew when a video, an argument or the code of the scenes changes. Defaults to None:
            ``$MMWEATHER_CACHE``, or ``~/.cache/mmweather``.
        lazy_init (bool): Prepare the sources at the first use only. Defaults to False.

    Raises:
        UserError: If a video cannot be read, or if a source is shorter than a clip or smaller than a crop.
    """

    #: Moments per frame of a scene, for what happens between two frames.
    MOMENTS = 1
    #: Pixels around a crop that its degradation needs to see.
    MARGIN = 0

    def __init__(self,
                 videos: Sequence[str] = (),
                 scenes: int = 16,
                 scene_frames: int = 12,
                 scene_size: tuple[int, int] = (240, 432),
                 scene_share: float = 0.35,
                 heights: Sequence[int] = (240, 360),
                 max_frames: int = 300,
                 num_frames: int = 5,
                 crop_size: int = 128,
                 max_pan: float = 0.0,
                 augment: bool = True,
                 length: int = 1000,
                 pipeline: Sequence[dict | Callable] = (),
                 test_mode: bool = False,
                 seed: int = 0,
                 cache_dir: str | None = None,
                 lazy_init: bool = False) -> None:
        self.videos = [Path(video) for video in videos]
        self.scenes = scenes
        self.scene_frames = scene_frames
        self.scene_size = tuple(scene_size)
        self.scene_share = (scene_share if videos else 1.0) if scenes else 0.0
        self.heights = heights
        self.max_frames = max_frames
        self.num_frames = num_frames
        self.crop_size = crop_size
        self.max_pan = max_pan
        self.augment = augment
        self.length = length
        self.cache_dir = Path(cache_dir or os.environ.get('MMWEATHER_CACHE') or '~/.cache/mmweather').expanduser()
        super().__init__(pipeline=pipeline, test_mode=test_mode, seed=seed, lazy_init=lazy_init)

    def __len__(self) -> int:
        """int: ``length`` in training, the number of sources in testing."""
        return super().__len__() if self.test_mode else self.length

    def load_data_list(self) -> list[dict]:
        """Prepare the sources, scenes first.

        Returns:
            list[dict]: For each source its name, ``video``, the ``path`` of its array ``(T * moments, H, W, 3)`` and
            its ``moments`` per frame; of a scene also its ``kind`` and ``seed``.
        """
        sources = [self._scene(index) for index in range(self.scenes)]
        sources += [self._video(video, height) for video in self.videos for height in self.heights]
        if not sources:
            raise ValueError('videos, scenes: expected at least one clean video or one scene')
        for source in sources:
            moments, height, width, _ = np.load(source['path'], mmap_mode='r').shape
            frames = moments // source['moments']
            if frames < self.num_frames:
                raise UserError(f'{source["origin"]} has {frames} frames, but a clip takes {self.num_frames}: lower '
                                f'num_frames or leave it out')
            if not self.test_mode and min(height, width) < self.crop_size + 2 * self.MARGIN:
                needed = f'crops of {self.crop_size}' + (f' with {self.MARGIN} around' if self.MARGIN else '')
                raise UserError(f'{source["origin"]} is {width}x{height}, smaller than {needed}: '
                                f'lower crop_size or leave it out')
        return sources

    def clean_crop(self, rng: np.random.Generator) -> tuple[dict, int, np.ndarray]:
        """Take a random crop in space and time.

        Args:
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            tuple[dict, int, np.ndarray]: The source, the number of the first frame in it, and the pixels, uint8
            ``(num_frames * moments, crop_size + 2 * MARGIN, crop_size + 2 * MARGIN, 3)``, flipped and mirrored in time
            if ``augment`` is set.
        """
        crop = self._draw_crop(rng)
        return crop.source, crop.start // crop.source['moments'], crop.cut(np.load(crop.source['path'], mmap_mode='r'))

    def _draw_crop(self, rng):
        filmed = len(self.videos) * len(self.heights)
        first, count = (0, self.scenes) if rng.random() < self.scene_share else (self.scenes, filmed)
        source = self.get_data_info(int(first + rng.integers(count)))
        frames = np.load(source['path'], mmap_mode='r')
        length, side = self.num_frames * source['moments'], self.crop_size + 2 * self.MARGIN
        start = int(rng.integers(len(frames) - length + 1))
        rows, columns = frames.shape[1:3]
        top, left = rng.integers(rows - side + 1), rng.integers(columns - side + 1)
        path = self._path(rng, (top, left), (rows - side, columns - side), length, source['moments'])
        flips = rng.random(3) < (0.5, 0.15, 0.3) if self.augment else (False, False, False)
        return Crop(source, start, path, side, *map(bool, flips))

    def _path(self, rng, start, last, length, moments):
        """Where the crop lies in each frame: at rest, or panning at an even speed within the frame."""
        if not self.max_pan:
            return [start] * length
        # Cubed, so that half of the pans are slower than an eighth of the fastest.
        speed = self.max_pan * rng.uniform(-1, 1, 2)**3 / moments
        path = np.rint(np.asarray(start) + speed * (np.arange(length)[:, None] - length // 2)).astype(int)
        return np.clip(path, 0, last).tolist()

    @staticmethod
    def vary_tone(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One tone curve per channel: exposure, gamma and white balance of another camera and another hour.

        Args:
            clip (np.ndarray): uint8 ``(T, H, W, 3)``.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            np.ndarray: uint8 of the same shape.
        """
        gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3))
        levels = np.linspace(0, 1, 256)[:, None]**gamma * gain
        table = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(np.stack([table[clip[..., channel], channel] for channel in range(3)], axis=-1))

    def _scene(self, index):
        kind = ('drive', 'walk')[index % 2]
        seed = self.seed * 100_003 + index
        spec = (self.scene_frames, self.scene_size, scene_code()) + ((self.MOMENTS, ) if self.MOMENTS > 1 else ())
        path = self._cached(f'{kind}_{seed}', spec, lambda: scene_frames(
            kind, self.scene_frames * self.MOMENTS, self.scene_size, seed, 25 * self.MOMENTS))
        return dict(video=f'{kind}{index}', path=path, moments=self.MOMENTS, origin=f'the scene {kind}{index}',
                    kind=kind, seed=seed)

    def _video(self, video, height):
        try:
            stamp = video.stat()
        except OSError as error:
            raise UserError(f'{video} cannot be read ({error.strerror}): check "videos" of the dataset in the '
                            f'config') from error
        spec = (str(video.resolve()), stamp.st_size, stamp.st_mtime_ns, height, self.max_frames)
        path = self._cached(f'{video.stem}_{height}', spec, lambda: islice(_decode(video, height), self.max_frames))
        return dict(video=video.stem, path=path, moments=1, origin=str(video))

    def _cached(self, name: str, spec: tuple, make: Callable[[], Iterator[np.ndarray]]) -> str:
        """Path of the array of the frames that ``make`` yields, made unless it is there."""
        path = self.cache_dir / f'{name}_{hashlib.sha256(repr(spec).encode()).hexdigest()[:12]}.npy'
        if not path.is_file():
            # ranks may prepare the same source at once: each renames its own whole file, and all are equal
            part = path.with_suffix(f'.{os.getpid()}.part')
            try:
                self.cache_dir.mkdir(parents=True, exist_ok=True)
                with open(part, 'wb') as file:
                    print_log(f'preparing clean frames of {name} in {self.cache_dir}', logger='current')
                    frames = list(make())
                    if not frames:
                        raise UserError(f'{name} has no frames: leave it out of "videos" of {type(self).__name__}')
                    np.save(file, np.stack(frames))
                part.replace(path)
            except OSError as error:
                raise UserError(f'{path} cannot be written ({error.strerror}): make room, or set cache_dir or '
                                f'MMWEATHER_CACHE to another folder') from error
            finally:
                if part.exists():
                    part.unlink()
        return str(path)


@DATASETS.register_module()
class SyntheticRain(SyntheticClips):
    """Rain streaks and raindrops synthesised on procedural scenes and on clean videos of the user.

    Samples have the keys of VRDS (``lq, gt, drop, mask, streak``) and go through the same transforms. Rain falls after
    the clean crop was flipped and toned: it always comes from above, unless a later transform turns it. In testing it
    is the synthesis' default rain, which ``seed`` and the index decide.

    Args:
        clean_share (float): Share of samples without any rain, so that a network learns to leave clean frames alone.
            Defaults to 0.08.
        default_share (float): Share of samples with the synthesis' default rain at a strength of 0.5 to 1.4; the rest
            is varied in every respect (:func:`random_rain`). Defaults to 0.4.
        **kwargs: See :class:`SyntheticClips`.
    """

    METAINFO = dict(dataset_name='SyntheticRain')

    def __init__(self, clean_share: float = 0.08, default_share: float = 0.4, **kwargs) -> None:
        self.clean_share = clean_share
        self.default_share = default_share
        super().__init__(**kwargs)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clean clip and rain on it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the source in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt``, ``drop`` (uint8 ``(T, H, W, 3)``), ``mask``, ``streak`` (uint8 ``(T, H, W, 1)``),
            ``key``, ``video``, ``names`` and ``ori_shape``.
        """
        if self.test_mode:
            source = self.get_data_info(index)
            start, clip = 0, np.array(np.load(source['path'], mmap_mode='r')[:self.num_frames])
            frames = self._rain(clip, RainOn(clip.shape[1:3], seed=int(rng.integers(2**31))), 0)
        else:
            source, start, clip = self.clean_crop(rng)
            clip = self.vary_tone(clip, rng) if self.augment else clip
            frames = self._random_rain(clip, rng)
        return dict(
            frames,
            key=f'{source["video"]}/{start:08d}',
            video=source['video'],
            names=[f'{start + t:08d}.png' for t in range(self.num_frames)],
            ori_shape=clip.shape[1:3])

    def _random_rain(self, clip, rng):
        size = clip.shape[1:3]
        start = int(rng.integers(10_000))
        kind = rng.random()
        if kind < self.clean_share:
            nothing = np.zeros((*clip.shape[:3], 1), np.uint8)
            return dict(lq=clip.copy(), gt=clip, drop=clip.copy(), mask=nothing, streak=nothing.copy())
        if kind < self.clean_share + self.default_share:
            height = rng.uniform(200, 480)
            focal = default_focal((height, height * 1.78))
            rainer = RainOn(size, seed=int(rng.integers(2**31)), strength=float(rng.uniform(0.5, 1.4)),
                            rain=dict(focal=focal), raindrops=dict(focal=focal))
        else:
            rainer = random_rain(size, rng)
        return self._rain(clip, rainer, start)

    @staticmethod
    def _rain(clip, rainer, start):
        frames = [rainer(frame, start + t) for t, frame in enumerate(clip)]
        return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}


def scene_frames(kind: str, frames: int, size: tuple[int, int], seed: int, fps: float) -> Iterator[np.ndarray]:
    """The frames of a scene without its geometry."""
    renderer = SceneRenderer(kind, size, seed, fps=fps)
    return (renderer.frame(t, flow=False).frame for t in range(frames))


def scene_flow(kind: str, frames: int, size: tuple[int, int], seed: int, fps: float) -> Iterator[np.ndarray]:
    """The exact flow from each frame of a scene to the one before it, ``(H, W, 2)``; NaN for the first frame."""
    renderer = SceneRenderer(kind, size, seed, fps=fps)
    yield np.full((*size, 2), np.nan, np.float32)
    for t in range(frames - 1):
        yield renderer.frame(t).flow_backward


def scene_depth(kind: str, frames: int, size: tuple[int, int], seed: int, fps: float) -> Iterator[np.ndarray]:
    """The depth of every frame of a scene in metres, float16 ``(H, W)``."""
    renderer = SceneRenderer(kind, size, seed, fps=fps)
    return (renderer.frame(t, flow=False).depth.astype(np.float16) for t in range(frames))


def scene_code() -> list[bytes]:
    """The code of the scenes: what was cached by other code must not be met again."""
    return [path.read_bytes() for path in sorted(Path(synthesis.__file__).parent.glob('scene*.py'))]


def _decode(video: Path, height: int) -> Iterator[np.ndarray]:
    """The frames of a video file or of a folder, RGB, scaled to a height."""
    if video.is_dir():
        for name in list_frames(video):
            yield _scale(read_frame(video / name), height)
        return
    try:
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                yield _scale(frame.to_ndarray(format='rgb24'), height)
    except (av.FFmpegError, IndexError) as error:
        raise UserError(f'{video} is no readable video: leave it out of "videos" of the dataset') from error


def _scale(frame: np.ndarray, height: int) -> np.ndarray:
    width = round(frame.shape[1] * height / frame.shape[0])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
