"""Blurred clips made while training reads them."""
from typing import Any

import numpy as np

from mmweather.registry import DATASETS
from mmweather.synthesis.blur import BlurOn, blur_stream, random_blur

from .synthetic import SyntheticClips

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
        **kwargs: See :class:`SyntheticClips`.
    """

    METAINFO = dict(dataset_name='SyntheticBlur')

    # how far the shake and the flow look beyond a crop, and how finely scenes are rendered in time
    MARGIN = 16
    MOMENTS = 6

    def __init__(self, sharp_share: float = 0.05, default_share: float = 0.4, samples: int = 11, **kwargs) -> None:
        self.sharp_share = sharp_share
        self.default_share = default_share
        self.samples = samples
        super().__init__(**kwargs)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clean clip and blur it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the source in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt`` (uint8 ``(T, H, W, 3)``), ``key``, ``video``, ``names`` and ``ori_shape``.
        """
        if self.test_mode:
            source = self.get_data_info(index)
            start, clip = 0, np.load(source['path'], mmap_mode='r')[:self.num_frames * source['moments']]
            blur = BlurOn(clip.shape[1:3], seed=int(rng.integers(2**31)), samples=self.samples)
            frames = self._blur(np.array(clip), source['moments'], blur, 0)
        else:
            source, start, clip = self.clean_crop(rng)
            clip = self.vary_tone(clip, rng) if self.augment else clip
            frames = self._random_blur(clip, source['moments'], rng)
            inside = slice(self.MARGIN, -self.MARGIN)
            frames = {key: np.ascontiguousarray(frame[:, inside, inside]) for key, frame in frames.items()}
        return dict(
            frames,
            key=f'{source["video"]}/{start:08d}',
            video=source['video'],
            names=[f'{start + t:08d}.png' for t in range(self.num_frames)],
            ori_shape=frames['gt'].shape[1:3])

    def _random_blur(self, clip, moments, rng):
        size, start = clip.shape[1:3], int(rng.integers(10_000))
        kind = rng.random()
        if kind < self.sharp_share:
            sharp = clip[::moments]
            return dict(lq=sharp.copy(), gt=sharp)
        if kind < self.sharp_share + self.default_share:
            focal = 0.8 * 1.78 * rng.uniform(200, 480)
            blur = BlurOn(size, seed=int(rng.integers(2**31)), focal=focal, samples=self.samples)
        else:
            blur = random_blur(size, rng, samples=self.samples)
        return self._blur(clip, moments, blur, start)

    @staticmethod
    def _blur(clip, moments, blur, start):
        if moments == 1:
            frames = list(blur_stream(clip, blur, start))
        else:
            def moment_at(t):
                # the sharp frame is a moment; exposures at the ends of the clip are cut short
                return lambda offset: clip[min(max(round((t + offset) * moments), 0), len(clip) - 1)]

            frames = [blur.expose(moment_at(t), start + t) for t in range(len(clip) // moments)]
        return {key: np.stack([frame[key] for frame in frames]) for key in ('lq', 'gt')}
