"""Blurred clips made while training reads them."""
from dataclasses import replace
from typing import Any

import numpy as np

from mmweather.registry import DATASETS
from mmweather.synthesis.blur import BlurOn, blur_stream, optical_flow, random_blur

from .synthetic import SyntheticClips, scene_code, scene_flow

__all__ = ['SyntheticBlur']


@DATASETS.register_module()
class SyntheticBlur(SyntheticClips):
    """Motion blur synthesised on procedural scenes and on clean videos of the user.

    Samples have the keys of DVD and GoPro (``lq, gt``). Of a scene several moments per frame are rendered and summed,
    which is exact; a video is blurred along its optical flow; the camera is shaken in both. In testing the blur is the
    synthesis' default, and ``seed`` and the index decide the shake.

    Args:
        sharp_share (float): Share of samples without any blur, so that a network learns to leave sharp frames alone.
            Defaults to 0.05.
        default_share (float): Share of samples with the synthesis' default blur; the rest is varied
            (:func:`random_blur`). Defaults to 0.4.
        samples (int): Moments that are summed per frame, odd. Defaults to 11.
        with_flow (bool): Add ``flow``. It is exact for scenes, which then are not mirrored in time, and as good as an
            estimate between the sharp frames can be for videos; the shake's part is exact in both. Defaults to False.
        **kwargs: See :class:`SyntheticClips`.
    """

    METAINFO = dict(dataset_name='SyntheticBlur')

    # how far the shake and the flow look beyond a crop, and how finely scenes are rendered in time
    MARGIN = 16
    MOMENTS = 6

    def __init__(self, sharp_share: float = 0.05, default_share: float = 0.4, samples: int = 11,
                 with_flow: bool = False, **kwargs) -> None:
        self.sharp_share = sharp_share
        self.default_share = default_share
        self.samples = samples
        self.with_flow = with_flow
        super().__init__(**kwargs)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clean clip and blur it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the source in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt`` (uint8 ``(T, H, W, 3)``), ``key``, ``video``, ``names`` and ``ori_shape``; with
            ``with_flow`` also ``flow`` (float32 ``(T, H, W, 2)``): from each sharp frame to the one before it, in
            pixels (dx, dy), NaN for the first frame and where it is not known.
        """
        if self.test_mode:
            source = self.get_data_info(index)
            start, clip = 0, np.array(np.load(source['path'], mmap_mode='r')[:self.num_frames * source['moments']])
            blur = BlurOn(clip.shape[1:3], seed=int(rng.integers(2**31)), samples=self.samples)
            frames = self._blur(clip, source['moments'], blur, 0)
            if self.with_flow:
                exact = 'flow' in source
                steady = np.load(source['flow'], mmap_mode='r')[1:self.num_frames] if exact else _estimated_flow(clip)
                frames['flow'] = self._shaken(np.array(steady), blur, 0)
        else:
            crop = self._draw_crop(rng)
            source = crop.source
            start, clip = crop.start // source['moments'], crop.cut(np.load(source['path'], mmap_mode='r'))
            clip = self.vary_tone(clip, rng) if self.augment else clip
            blur, first = self._random_blur(clip.shape[1:3], rng), int(rng.integers(10_000))
            frames = self._blur(clip, source['moments'], blur, first)
            if self.with_flow:
                steady = self._steady_flow(crop) if 'flow' in source else _estimated_flow(clip)
                frames['flow'] = self._shaken(steady, blur, first)
            inside = slice(self.MARGIN, -self.MARGIN)
            frames = {key: np.ascontiguousarray(frame[:, inside, inside]) for key, frame in frames.items()}
        return dict(
            frames,
            key=f'{source["video"]}/{start:08d}',
            video=source['video'],
            names=[f'{start + t:08d}.png' for t in range(self.num_frames)],
            ori_shape=frames['gt'].shape[1:3])

    def _draw_crop(self, rng):
        crop = super()._draw_crop(rng)
        if 'flow' not in crop.source:
            return crop
        # the flow is known between whole frames
        moments = crop.source['moments']
        return replace(crop, start=crop.start // moments * moments, reversed=False)

    def _random_blur(self, size, rng):
        """None for a sharp clip."""
        kind = rng.random()
        if kind < self.sharp_share:
            return None
        if kind < self.sharp_share + self.default_share:
            focal = 0.8 * 1.78 * rng.uniform(200, 480)
            return BlurOn(size, seed=int(rng.integers(2**31)), focal=focal, samples=self.samples)
        return random_blur(size, rng, samples=self.samples)

    def _scene(self, index):
        source = super()._scene(index)
        if self.with_flow:
            kind, seed = source['kind'], source['seed']
            source['flow'] = self._cached(f'{kind}_{seed}_flow', (self.scene_frames, self.scene_size, scene_code()),
                                          lambda: scene_flow(kind, self.scene_frames, self.scene_size, seed, 25))
        return source

    @staticmethod
    def _steady_flow(crop):
        """From each frame of a crop but the first to the one before it, float32 ``(T - 1, side, side, 2)``."""
        moments = crop.source['moments']
        corners = crop.path[::moments]
        frames = replace(crop, start=crop.start // moments + 1, path=corners[1:])
        flow = frames.cut(np.load(crop.source['flow'], mmap_mode='r'))
        # the crop itself has panned
        steps = np.diff(corners, axis=0)[:, None, None, ::-1]
        turns = [-1 if crop.mirrored else 1, -1 if crop.flipped else 1]
        return (flow + steps) * np.float32(turns)

    @staticmethod
    def _shaken(steady, blur, start):
        if blur is None:
            flows = list(steady)
        else:
            flows = [blur.flow(flow, start + 1 + t) for t, flow in enumerate(steady)]
        nothing = np.full((*steady.shape[1:3], 2), np.nan, np.float32)
        return np.stack([nothing, *flows]).astype(np.float32)

    @staticmethod
    def _blur(clip, moments, blur, start):
        if blur is None:
            sharp = clip[::moments]
            return dict(lq=sharp.copy(), gt=sharp)
        if moments == 1:
            frames = list(blur_stream(clip, blur, start))
        else:
            def moment_at(t):
                # the sharp frame is a moment; exposures at the ends of the clip are cut short
                return lambda offset: clip[min(max(round((t + offset) * moments), 0), len(clip) - 1)]

            frames = [blur.expose(moment_at(t), start + t) for t in range(len(clip) // moments)]
        return {key: np.stack([frame[key] for frame in frames]) for key in ('lq', 'gt')}


def _estimated_flow(clip):
    """From each frame of a sharp clip but the first to the one before it, float32 ``(T - 1, H, W, 2)``."""
    return np.stack([optical_flow(frame, previous) for previous, frame in zip(clip, clip[1:])])
