"""Rainy clips made while training reads them: endless variety, nothing to download."""
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import Dataset

from mmweather.errors import UserError
from mmweather.registry import DATASETS, TRANSFORMS
from mmweather.synthesis.rain import default_focal
from mmweather.synthesis.rainy import RainOn, random_rain
from mmweather.synthesis.scenes import render_scene

__all__ = ['SyntheticRain']


@DATASETS.register_module()
class SyntheticRain(Dataset):
    """Rain streaks and raindrops synthesised on procedural scenes and on clean videos of the user.

    Samples have the keys of VRDS (``lq, gt, drop, mask, streak``) and go through the same transforms. Everything about
    a sample follows from ``seed`` and the number of its draw (see :class:`PairedClipDataset`), so a resumed training
    sees what an uninterrupted one would have seen. Rain falls after the clean crop was flipped and toned: it always
    comes from above.

    Args:
        videos (Sequence[str]): Clean video files. Defaults to (): scenes alone.
        scenes (int): Number of procedural scenes, drives and walks in turn. Defaults to 16.
        scene_frames (int): Frames per scene. Defaults to 12.
        scene_size (tuple[int, int]): Height and width of a scene. Defaults to (240, 432).
        scene_share (float): Share of the samples that come from scenes when there are videos too. Defaults to 0.35.
        heights (Sequence[int]): Heights to which the videos are scaled, their aspect kept. Defaults to (240, 360).
        num_frames (int): Frames per clip. Defaults to 5.
        crop_size (int): Side of the square crops. Defaults to 128.
        clean_share (float): Share of samples without any rain, so that a network learns to leave clean frames alone.
            Defaults to 0.08.
        default_share (float): Share of samples with the synthesis' default rain at a strength of 0.5 to 1.4; the rest
            is varied in every respect (:func:`random_rain`). Defaults to 0.4.
        augment (bool): Flip, tone and mirror time of the clean clips. Defaults to True.
        length (int): What ``len()`` says; a pass means nothing here. Defaults to 1000.
        pipeline (Sequence[dict | Callable]): Transforms. Defaults to ().
        seed (int): Seed. Defaults to 0.
        cache_dir (str, optional): Where rendered scenes and scaled videos are kept as memory-mapped arrays. Defaults to
            None: a folder in the system's temporary directory.

    Raises:
        UserError: If a video cannot be read or is shorter than a clip.
    """

    METAINFO = dict(dataset_name='SyntheticRain')

    def __init__(self,
                 videos: Sequence[str] = (),
                 scenes: int = 16,
                 scene_frames: int = 12,
                 scene_size: tuple[int, int] = (240, 432),
                 scene_share: float = 0.35,
                 heights: Sequence[int] = (240, 360),
                 num_frames: int = 5,
                 crop_size: int = 128,
                 clean_share: float = 0.08,
                 default_share: float = 0.4,
                 augment: bool = True,
                 length: int = 1000,
                 pipeline: Sequence[dict | Callable] = (),
                 seed: int = 0,
                 cache_dir: str | None = None) -> None:
        if not videos and not scenes:
            raise ValueError('videos, scenes: expected at least one clean video or one scene')
        self.num_frames = num_frames
        self.crop_size = crop_size
        self.clean_share = clean_share
        self.default_share = default_share
        self.augment = augment
        self.length = length
        self.seed = seed
        self.pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        self.metainfo = dict(self.METAINFO)
        self._cache = Path(cache_dir) if cache_dir else Path(tempfile.gettempdir()) / 'mmweather_synthetic'
        self._scenes = [self._scene(index, scene_frames, tuple(scene_size)) for index in range(scenes)]
        self._videos = [self._video(Path(video), height) for video in videos for height in heights]
        self.scene_share = (scene_share if videos else 1.0) if scenes else 0.0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        """Make one sample.

        Args:
            index (int | tuple[int, int]): The index, or (index, draw) as :class:`ResumableSampler` yields it.

        Returns:
            dict: ``lq``, ``gt``, ``drop`` (uint8 ``(T, H, W, 3)``), ``mask``, ``streak`` (uint8 ``(T, H, W, 1)``),
            ``key``, ``video``, ``names`` and ``rng``, or what the pipeline makes of it.
        """
        draw = index[1] if isinstance(index, (tuple, list)) else index
        rng = np.random.default_rng([self.seed, draw])
        name, clip = self._clean_clip(rng)
        results = dict(self._rain(clip, rng), key=f'{name}/{draw}', video=name, rng=rng,
                       names=[f'{frame:08d}.png' for frame in range(self.num_frames)], ori_shape=clip.shape[1:3])
        for step in self.pipeline:
            results = step(results)
        return results

    # ------------------------------------------------------------------------------------------------ clean clips

    def _clean_clip(self, rng):
        sources = self._scenes if rng.random() < self.scene_share else self._videos
        name, frames = sources[rng.integers(len(sources))]
        start = rng.integers(len(frames) - self.num_frames + 1)
        rows, columns = frames.shape[1:3]
        height, width = min(self.crop_size, rows), min(self.crop_size, columns)
        top, left = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        clip = np.array(frames[start:start + self.num_frames, top:top + height, left:left + width])
        return name, self._augment(clip, rng) if self.augment else clip

    @staticmethod
    def _augment(clip, rng):
        flips = rng.random(3)
        if flips[0] < 0.5:
            clip = clip[:, :, ::-1]
        if flips[1] < 0.15:
            clip = clip[:, ::-1]
        if flips[2] < 0.3:
            clip = clip[::-1]
        # One tone curve per channel: exposure, gamma and white balance of another camera and another hour.
        gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.06, 3))
        levels = np.linspace(0, 1, 256)[:, None]**gamma * gain
        table = np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(np.stack([table[clip[..., channel], channel] for channel in range(3)], axis=-1))

    def _rain(self, clip, rng):
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
        frames = [rainer(frame, start + t) for t, frame in enumerate(clip)]
        return {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}

    # ------------------------------------------------------------------------------------------------ the cache

    def _scene(self, index, frames, size):
        kind = ('drive', 'walk')[index % 2]
        name = f'{kind}_{self.seed}_{index}_{frames}_{size[0]}x{size[1]}'
        seed = self.seed * 100_003 + index

        def render():
            return render_scene(kind, frames=frames, size=size, seed=seed).frames

        return f'{kind}{index}', self._cached(name, render)

    def _video(self, path, height):
        if not path.is_file():
            raise UserError(f'{path}: there is no such video; check "videos" of SyntheticRain in the config')
        stamp = f'{path.resolve()}:{path.stat().st_size}:{path.stat().st_mtime_ns}:{height}'
        name = f'{path.stem}_{height}_{hashlib.sha256(stamp.encode()).hexdigest()[:12]}'
        frames = self._cached(name, lambda: self._decode(path, height))
        if len(frames) < self.num_frames:
            raise UserError(f'{path}: has {len(frames)} frames, but a clip takes {self.num_frames}; leave it out')
        return path.stem, frames

    @staticmethod
    def _decode(path, height):
        import av
        try:
            with av.open(str(path)) as container:
                frames = []
                for frame in container.decode(video=0):
                    image = frame.to_ndarray(format='rgb24')
                    width = round(image.shape[1] * height / image.shape[0])
                    frames.append(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
        except (av.FFmpegError, IndexError) as error:
            raise UserError(f'{path}: not a readable video; leave it out of "videos" of SyntheticRain') from error
        return np.stack(frames) if frames else np.empty((0, height, 1, 3), np.uint8)

    def _cached(self, name, make):
        """What ``make`` gives, memory-mapped, so that workers and ranks share one copy."""
        path = self._cache / f'{name}.npy'
        if not path.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f'.{os.getpid()}.part')
            with open(part, 'wb') as file:
                np.save(file, make())
            part.replace(path)
        return np.load(path, mmap_mode='r')
