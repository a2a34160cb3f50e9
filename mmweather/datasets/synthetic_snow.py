"""Snowy clips made while training reads them."""
from typing import Any

import numpy as np

from mmweather.registry import DATASETS
from mmweather.synthesis.rain import default_focal
from mmweather.synthesis.snow import SnowOn, random_snow

from .synthetic import SyntheticClips, scene_code, scene_depth

__all__ = ['SyntheticSnow']


@DATASETS.register_module()
class SyntheticSnow(SyntheticClips):
    """Snow and haze synthesised on procedural scenes and on clean videos of the user.

    Samples have the keys of RVSD (``lq, gt``) and the layers that RVSD lacks (``snow, transmission, airlight, mask``).
    Snow falls after the clean crop was flipped and toned: it always comes from above, unless a later transform turns
    it. The depth of scenes is known: it hides flakes, and the veil follows it. In testing it is the synthesis' default
    snow, which ``seed`` and the index decide.

    Args:
        clean_share (float): Share of samples without any snow, so that a network learns to leave clean frames alone.
            Defaults to 0.1.
        default_share (float): Share of samples with the synthesis' default snow at a strength of 0.5 to 1.4; the rest
            is varied in every respect (:func:`random_snow`). Defaults to 0.5.
        **kwargs: See :class:`SyntheticClips`.
    """

    METAINFO = dict(dataset_name='SyntheticSnow')

    def __init__(self, clean_share: float = 0.1, default_share: float = 0.5, **kwargs) -> None:
        self.clean_share = clean_share
        self.default_share = default_share
        super().__init__(**kwargs)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clean clip and snow on it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the source in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt``, ``snow`` (uint8 ``(T, H, W, 3)``), ``transmission``, ``mask`` (uint8
            ``(T, H, W, 1)``), ``airlight`` (uint8 ``(T, 1, 1, 3)``), ``key``, ``video``, ``names`` and ``ori_shape``.
        """
        if self.test_mode:
            source, start, first = self.get_data_info(index), 0, 0
            clip, depth = self._read(source, lambda frames: np.array(frames[:self.num_frames]))
            snower = SnowOn(clip.shape[1:3], seed=int(rng.integers(2**31)))
        else:
            crop = self._draw_crop(rng)
            source, start, first = crop.source, crop.start, int(rng.integers(10_000))
            clip, depth = self._read(source, crop.cut)
            clip = self.vary_tone(clip, rng) if self.augment else clip
            snower = self._random_snow(clip.shape[1:3], rng)
        frames = [snower(frame, first + t, None if depth is None else depth[t]) for t, frame in enumerate(clip)]
        return dict(
            {key: np.stack([frame[key] for frame in frames]) for key in frames[0]},
            key=f'{source["video"]}/{start:08d}',
            video=source['video'],
            names=[f'{start + t:08d}.png' for t in range(self.num_frames)],
            ori_shape=clip.shape[1:3])

    @staticmethod
    def _read(source, take):
        """A part of a source's frames, and of its depth in metres, None where that is not known."""
        depth = take(np.load(source['depth'], mmap_mode='r')).astype(np.float32) if 'depth' in source else None
        return take(np.load(source['path'], mmap_mode='r')), depth

    def _scene(self, index):
        scene = super()._scene(index)
        # half a float holds 10,000 m, the sky, and is exact to 0.05 %
        depth = self._cached(f'{scene["kind"]}_{scene["seed"]}_distance',
                             ('distance', self.scene_frames, self.scene_size, scene_code()),
                             lambda: scene_depth(scene['kind'], self.scene_frames, self.scene_size, scene['seed'], 25))
        return dict(scene, depth=depth)

    def _random_snow(self, size, rng):
        kind, seed = rng.random(), int(rng.integers(2**31))
        if kind < self.clean_share:
            return SnowOn(size, seed=seed, strength=0)
        if kind >= self.clean_share + self.default_share:
            return random_snow(size, rng)
        height = rng.uniform(200, 480)
        # a crop shows something near, something far, or the way from one to the other
        near, far = sorted(np.exp(rng.uniform(np.log(5.0), np.log(40.0), 2)))
        return SnowOn(size, seed=seed, strength=float(rng.uniform(0.5, 1.4)), distances=(far, near),
                      focal=default_focal((height, height * 1.78)))
