"""Haze laid over stereo scenes with exact depth while training reads them."""
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmweather import synthesis
from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.synthesis.fog import estimate_airlight
from mmweather.synthesis.haze import HazeOn, random_haze, scatter
from mmweather.synthesis.scenes import SceneRenderer

from .synthetic import SyntheticClips

__all__ = ['SyntheticHaze']

# one pixel of a cached scene; half a float holds 10,000 m, the sky, and is exact to 0.05 %
_PIXEL = np.dtype([('frame', np.uint8, 3), ('depth', np.float16)])


@DATASETS.register_module()
class SyntheticHaze(SyntheticClips):
    """Haze synthesised on procedural stereo scenes.

    Samples have the keys of :class:`SFVC`, ``lq`` and ``gt``, both views in one array, and go through the same
    transforms; in training also what the haze was made with, ``transmission`` and ``airlight``, and the true
    ``disparity``. Everything about a sample follows from ``seed`` and the number of its draw. With ``test_mode=True``
    there is one sample per scene instead, its first ``num_frames`` whole frames in haze that ``seed`` and the index
    decide, with the ``betas`` in turn.

    Args:
        scenes (int): Number of procedural scenes, drives and walks in turn. Defaults to 32.
        scene_frames (int): Frames per scene. Defaults to 8.
        scene_size (tuple[int, int]): Height and width of a scene. Defaults to (256, 512).
        baselines (Sequence[float]): Distances of the cameras in metres that the scenes are rendered with in turn;
            0.22 is that of Cityscapes, 0.54 that of KITTI. Defaults to (0.22, 0.54).
        crop_size (tuple[int, int]): Height and width of the crops in training, at the same place in both views.
            Defaults to (128, 256).
        betas (Sequence[float]): Extinction coefficients in 1/m of the default haze, even and without a ceiling.
            Defaults to (0.005, 0.01, 0.02), those of SFVC.
        default_share (float): Share of samples in default haze; the rest is varied in every respect
            (:func:`mmweather.synthesis.haze.random_haze`). Defaults to 0.6.
        clean_share (float): Share of samples without haze, so that a network learns to leave clear frames alone.
            Defaults to 0.05.
        airlight (str): ``'scene'`` takes the colour of the default haze, and of half of the other, from the clear left
            frame in the middle of the clip, as the fog of SFVC does
            (:func:`mmweather.synthesis.fog.estimate_airlight`); ``'random'`` draws it
            (:func:`mmweather.synthesis.haze.random_airlight`), and then nothing tells what colour the sky behind it
            has. Defaults to 'scene'.
        **kwargs: ``num_frames``, ``augment`` (tone), ``length``, ``pipeline``, ``test_mode``, ``seed``, ``cache_dir``
            and ``lazy_init`` of :class:`SyntheticClips`.

    Raises:
        UserError: If a scene is shorter than a clip or smaller than a crop.
        ValueError: For another kind of airlight.
    """

    METAINFO = dict(dataset_name='SyntheticHaze')

    def __init__(self,
                 scenes: int = 32,
                 scene_frames: int = 8,
                 scene_size: tuple[int, int] = (256, 512),
                 baselines: Sequence[float] = (0.22, 0.54),
                 crop_size: tuple[int, int] = (128, 256),
                 betas: Sequence[float] = (0.005, 0.01, 0.02),
                 default_share: float = 0.6,
                 clean_share: float = 0.05,
                 airlight: str = 'scene',
                 **kwargs) -> None:
        if airlight not in ('scene', 'random'):
            raise ValueError(f"airlight: expected 'scene' or 'random', got {airlight!r}")
        self.baselines = tuple(baselines)
        self.betas = tuple(betas)
        self.default_share = default_share
        self.clean_share = clean_share
        self.airlight = airlight
        super().__init__(scenes=scenes, scene_frames=scene_frames, scene_size=scene_size, crop_size=crop_size, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Prepare the scenes.

        Returns:
            list[dict]: For each scene its name, ``video``, the ``path`` of its array of pixels ``(T, 2, H, W)`` with
            the fields ``frame`` and ``depth``, its ``baseline`` and its ``intrinsics``.
        """
        if self.scene_frames < self.num_frames:
            raise UserError(f'the scenes have {self.scene_frames} frames, but a clip takes {self.num_frames}: lower '
                            'num_frames or raise scene_frames of the dataset')
        if not self.test_mode and any(side < crop for side, crop in zip(self.scene_size, self.crop_size)):
            raise UserError(f'the scenes are {self.scene_size[1]}x{self.scene_size[0]}, smaller than crops of '
                            f'{self.crop_size[1]}x{self.crop_size[0]}: lower crop_size or raise scene_size')
        return [self._stereo_scene(index) for index in range(self.scenes)]

    def _stereo_scene(self, index: int) -> dict:
        kind = ('drive', 'walk')[index % 2]
        seed = self.seed * 100_003 + index
        baseline = self.baselines[index // 2 % len(self.baselines)]
        renderer = SceneRenderer(kind, self.scene_size, seed, stereo=True, baseline=baseline)

        def make() -> Iterator[np.ndarray]:
            for t in range(self.scene_frames):
                rendered = renderer.frame(t, flow=False)
                pixels = np.empty((2, *self.scene_size), _PIXEL)
                pixels['frame'] = rendered.frame, rendered.right
                pixels['depth'] = rendered.depth, rendered.right_depth
                yield pixels

        # a scene cached by other code must not be met again
        code = [path.read_bytes() for path in sorted(Path(synthesis.__file__).parent.glob('scene*.py'))]
        path = self._cached(f'stereo_{kind}_{seed}', ('stereo', self.scene_frames, self.scene_size, baseline, code),
                            make)
        return dict(video=f'{kind}{index}', path=path, baseline=baseline, intrinsics=renderer.intrinsics)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clear stereo clip and lay haze over it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the scene in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt`` (uint8 ``(T, 2, H, W, 3)``, view 0 left), ``key``, ``video``, ``names`` and
            ``ori_shape``; in training also ``transmission`` (uint8 ``(T, 2, H, W, 1)``), ``airlight`` (uint8
            ``(T, 2, 1, 1, 3)``) and ``disparity`` (float32 ``(T, 2, H, W, 1)``, pixels).
        """
        source = self.get_data_info(index if self.test_mode else int(rng.integers(self.scenes)))
        pixels = np.load(source['path'], mmap_mode='r')
        size = pixels.shape[2:] if self.test_mode else self.crop_size
        start = top = left = 0
        if not self.test_mode:
            start = int(rng.integers(len(pixels) - self.num_frames + 1))
            top, left = (int(rng.integers(side - crop + 1)) for side, crop in zip(pixels.shape[2:], size))
        pixels = pixels[start:start + self.num_frames]
        frames = np.array(pixels['frame'])
        if self.augment and not self.test_mode:
            frames = self.vary_tone(frames.reshape(-1, *frames.shape[3:]), rng).reshape(frames.shape)
        # of the whole frame: a crop may show neither sky nor anything as bright
        airlight = estimate_airlight(frames[len(frames) // 2, 0])
        window = (..., slice(top, top + size[0]), slice(left, left + size[1]))
        frames, depth = np.ascontiguousarray(frames[(*window, slice(None))]), pixels['depth'][window].astype(np.float32)
        camera = dict(source['intrinsics'], cx=source['intrinsics']['cx'] - left, cy=source['intrinsics']['cy'] - top)
        air = self._air(index, size, camera, airlight, rng)
        if air is None:
            hazy, transmission = frames.copy(), np.ones(depth.shape, np.float32)
        else:
            first, offsets = int(rng.integers(10_000)), (0.0, source['baseline'])
            transmission = np.stack([
                [air.transmission(first + t, depth[t, view], offsets[view]) for view in range(2)]
                for t in range(len(frames))])
            airlight = air.airlight
            hazy = np.stack([[scatter(*view, airlight) for view in zip(*pair)] for pair in zip(frames, transmission)])
        truth = {} if self.test_mode else dict(
            disparity=np.float32(camera['fx'] * source['baseline']) / depth[..., None],
            transmission=np.rint(transmission[..., None] * 255).astype(np.uint8),
            airlight=np.broadcast_to(np.rint(airlight * 255).astype(np.uint8), (len(frames), 2, 1, 1, 3)))
        return dict(
            lq=hazy,
            gt=frames,
            **truth,
            key=f'{source["video"]}/{start:08d}',
            video=source['video'],
            names=[f'{start + t:08d}.png' for t in range(self.num_frames)],
            ori_shape=size)

    def _air(self, index, size, camera, airlight, rng) -> HazeOn | None:
        """The haze of one sample, None for none."""
        kind = 1.0 if self.test_mode else rng.random()
        if kind < self.clean_share:
            return None
        airlight = airlight if self.airlight == 'scene' else None
        if self.test_mode or kind < self.clean_share + self.default_share:
            beta = self.betas[index % len(self.betas)] if self.test_mode else float(rng.choice(self.betas))
            return HazeOn(size, seed=int(rng.integers(2**31)), beta=beta, airlight=airlight, intrinsics=camera)
        return random_haze(size, rng, camera, airlight if rng.random() < 0.5 else None)
