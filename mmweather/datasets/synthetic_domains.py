"""Hazy images of many domains made while training reads them."""
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmweather import synthesis
from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.synthesis.depth import estimate_depth
from mmweather.synthesis.domains import DOMAINS, degrade, depth_range
from mmweather.synthesis.scenes import SceneRenderer

from .frames import image_size, list_frames, read_frame
from .synthetic import SyntheticClips

__all__ = ['SyntheticDomains']

#: Index of samples that belong to no domain: clear ones, and photographs of unknown haze.
NO_DOMAIN = -1
#: Estimates of depth that every worker keeps, some 0.3 MB each.
_REMEMBERED = 600


@DATASETS.register_module()
class SyntheticDomains(SyntheticClips):
    """Haze, low light, noise, colour casts, sand and night synthesised on clear images.

    The clear images are a folder of photographs, frames of videos and frames of procedural scenes. Scenes have exact
    depth; for the others it is estimated from the image (:func:`~mmweather.synthesis.depth.estimate_depth`). A training
    sample is a random square of a random scale, its depth scaled over the whole image, with freshly drawn degradation.

    Samples are clips of one frame with ``lq``, ``gt``, ``domain`` (index in ``DOMAINS``, -1 for a clear one) and
    ``labelled`` (True). With ``test_mode=True`` there is one whole image per source and domain, which ``seed`` and the
    index decide.

    Args:
        domains (Sequence[str], optional): The domains, drawn with equal probability. Defaults to None: all.
        images (str, optional): Folder of clear photographs, not searched recursively. Defaults to None.
        scene_share (float): Share of the samples that come from scenes when there are photographs or videos too, which
            share the rest evenly. Defaults to 0.5.
        scene_frames (int): Frames per scene. Defaults to 4.
        scene_step (int): Frames of the scene's 25 a second between two of them, so that they differ. Defaults to 30.
        scene_size (tuple[int, int]): Height and width of a scene. Defaults to (288, 512).
        heights (Sequence[int]): Heights to which the videos are scaled. Defaults to (360,).
        crop_size (int): Side of the square crops in training. Defaults to 256.
        min_scale (float): Crops come from the image scaled down at most by this factor, and never below the crop.
            Defaults to 0.5.
        max_scale (float): Crops come from the image scaled down at least by this factor. How much haze there is shows
            in the frame as a whole: where ``crop_size`` is about ``max_scale`` times the height, crops see most of it.
            Defaults to 1.0.
        clean_share (float): Share of samples without any degradation. Defaults to 0.04.
        hue_share (float): Share of samples whose clear image has other hues, see :meth:`vary_hue`, where ``augment`` is
            set. Scenes are of grey streets and blue skies; without it a court of red clay counts as sand in the air.
            Defaults to 0.0.
        **kwargs: See :class:`SyntheticClips`.

    Raises:
        ValueError: If a domain is unknown.
        UserError: If the folder holds no images or they are smaller than a crop.
    """

    METAINFO = dict(dataset_name='SyntheticDomains', domains=DOMAINS)

    def __init__(self,
                 domains: Sequence[str] | None = None,
                 images: str | None = None,
                 videos: Sequence[str] = (),
                 scene_share: float = 0.5,
                 scenes: int = 16,
                 scene_frames: int = 4,
                 scene_step: int = 30,
                 scene_size: tuple[int, int] = (288, 512),
                 heights: Sequence[int] = (360, ),
                 crop_size: int = 256,
                 min_scale: float = 0.5,
                 max_scale: float = 1.0,
                 clean_share: float = 0.04,
                 hue_share: float = 0.0,
                 **kwargs) -> None:
        unknown = [domain for domain in domains or () if domain not in DOMAINS]
        if unknown:
            raise ValueError(f'domains: there is no {", ".join(unknown)}; choose from {", ".join(DOMAINS)}')
        self.domains = tuple(domains or DOMAINS)
        self.images = Path(images) if images else None
        self.scene_step = scene_step
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.clean_share = clean_share
        self.hue_share = hue_share
        # the base knows of no photographs: it would take scenes alone where there are no videos
        self._scene_share = scene_share
        self._estimates = {}
        super().__init__(videos=videos, scenes=scenes, scene_share=scene_share, scene_frames=scene_frames,
                         scene_size=scene_size, heights=heights, crop_size=crop_size, num_frames=1, **kwargs)

    def __len__(self) -> int:
        """int: ``length`` in training, sources times domains in testing."""
        return super().__len__() * len(self.domains) if self.test_mode else self.length

    def get_data_info(self, idx: int) -> dict:
        """Get a source; in testing, that of a sample."""
        return super().get_data_info(idx // len(self.domains) if self.test_mode else idx)

    def load_data_list(self) -> list[dict]:
        """Prepare the sources: scenes, videos, photographs.

        Returns:
            list[dict]: As the base's, and for scenes ``depth``, the path of their depth maps ``(T, H, W)``; of a
            photograph ``path`` is the image itself.
        """
        # without photographs the base says what is missing
        sources = super().load_data_list() if self.scenes or self.videos or not self.images else []
        filmed = len(sources) - self.scenes
        sources += self._photographs()
        # which sources are drawn with which probability
        groups = [(0, self.scenes), (self.scenes, filmed), (self.scenes + filmed, len(sources) - self.scenes - filmed)]
        others = sum(count > 0 for _, count in groups[1:])
        shares = self._scene_share, *(2 * [(1 - self._scene_share) / max(others, 1)])
        self._groups = [(start, count, share) for (start, count), share in zip(groups, shares) if count]
        return sources

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Take a clear image and degrade it; see :meth:`ClipDataset.draw_sample`.

        Args:
            index (int): Number of the source and domain in testing; of no meaning in training.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: ``lq``, ``gt`` (uint8 ``(1, H, W, 3)``), ``domain``, ``labelled``, ``key``, ``video``, ``names`` and
            ``ori_shape``.
        """
        if self.test_mode:
            source, domain = self.get_data_info(index), self.domains[index % len(self.domains)]
            # another frame for each domain, as far as there are some
            clear, depth, name = self._read(source, index % len(self.domains))
            limits = depth_range(depth)
        else:
            source = self._draw_source(rng)
            domain = self.domains[int(rng.integers(len(self.domains)))]
            clear, depth, name = self._read(source, int(rng.integers(2**31)))
            limits = depth_range(depth)
            clear, depth = self._crop(clear, depth, rng)
            if self.augment:
                clear = self.vary_tone(clear[None], rng)[0]
                clear = self.vary_hue(clear, rng) if rng.random() < self.hue_share else clear
        if not self.test_mode and rng.random() < self.clean_share:
            lq, domain_index = clear.copy(), NO_DOMAIN
        else:
            lq = degrade(clear, depth, domain, int(rng.integers(2**31)), limits).lq
            domain_index = DOMAINS.index(domain)
        return dict(
            lq=lq[None],
            gt=np.ascontiguousarray(clear)[None],
            domain=domain_index,
            labelled=True,
            key=f'{domain}/{source["video"]}/{name}',
            video=f'{domain}/{source["video"]}',
            names=[name],
            ori_shape=clear.shape[:2])

    @staticmethod
    def vary_tone(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Another exposure, a little, and alike in all channels.

        A tint of the clear image could not be told from a colour cast, nor much of another exposure from low light.

        Args:
            clip (np.ndarray): uint8 ``(T, H, W, 3)``.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            np.ndarray: uint8 of the same shape.
        """
        gamma, gain = np.exp(rng.normal(0, 0.06)), np.exp(rng.normal(0, 0.04))
        levels = np.linspace(0, 1, 256)**gamma * gain
        return cv2.LUT(clip, np.rint(np.clip(levels, 0, 1) * 255).astype(np.uint8))

    @staticmethod
    def vary_hue(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Other hues, and a little more or less saturation; what is grey stays grey, so this is no tint.

        Args:
            image (np.ndarray): uint8 RGB ``(H, W, 3)``.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            np.ndarray: uint8 of the same shape.
        """
        grey = np.full((3, 3), 1 / 3)
        # around the axis of the greys (Rodrigues' formula)
        rotation, _ = cv2.Rodrigues(rng.uniform(-np.pi, np.pi) * np.ones(3) / np.sqrt(3))
        return cv2.transform(image, grey + np.exp(rng.normal(0, 0.2)) * (rotation - grey))

    def _draw_source(self, rng):
        choice = rng.random() * sum(share for _, _, share in self._groups)
        for start, count, share in self._groups:
            if choice < share or (start, count, share) == self._groups[-1]:
                return self.get_data_info(int(start + rng.integers(count)))
            choice -= share

    def _read(self, source, number):
        """A frame of a source (any number), its depth in metres and its name."""
        if source['video'] == 'photographs':
            path = Path(source['path'])
            clear = read_frame(path)
            return clear, estimate_depth(clear), path.name
        frames = np.load(source['path'], mmap_mode='r')
        number %= len(frames)
        clear = np.array(frames[number])
        if 'depth' in source:
            depth = np.load(source['depth'], mmap_mode='r')[number].astype(np.float32)
        else:
            depth = self._estimated_depth(source['path'], number, clear)
        return clear, depth, f'{number:08d}.png'

    def _estimated_depth(self, path, number, clear):
        """The depth of a video's frame, remembered: the estimate takes as long as all the rest of a sample."""
        if (path, number) not in self._estimates:
            if len(self._estimates) == _REMEMBERED:
                self._estimates.clear()
            self._estimates[path, number] = estimate_depth(clear).astype(np.float16)
        return self._estimates[path, number].astype(np.float32)

    def _crop(self, clear, depth, rng):
        """A random square of the image at a random scale, mirrored in half of the cases if ``augment`` is set."""
        short = min(clear.shape[:2])
        least = max(self.min_scale, self.crop_size / short)
        side = self.crop_size / rng.uniform(least, max(self.max_scale, least))
        side = min(short, round(side))
        top, left = (int(rng.integers(extent - side + 1)) for extent in clear.shape[:2])
        step = -1 if self.augment and rng.random() < 0.5 else 1
        window = slice(top, top + side), slice(left, left + side)
        size = (self.crop_size, self.crop_size)
        return (cv2.resize(clear[window][:, ::step], size, interpolation=cv2.INTER_AREA),
                cv2.resize(depth[window][:, ::step], size, interpolation=cv2.INTER_NEAREST))

    def _photographs(self):
        if self.images is None:
            return []
        if not self.images.is_dir():
            raise UserError(f'{self.images} is no folder: give a folder of clear photographs as images')
        names = list_frames(self.images)
        if not names:
            raise UserError(f'{self.images} holds no images: put clear photographs there or leave images out')
        for name in () if self.test_mode else names:
            height, width = image_size(self.images / name)
            if min(height, width) < self.crop_size:
                raise UserError(f'{self.images / name} is {width}x{height}, smaller than crops of {self.crop_size}: '
                                f'lower crop_size or take it out')
        return [dict(video='photographs', path=str(self.images / name)) for name in names]

    def _scene(self, index):
        kind = ('drive', 'walk')[index % 2]
        seed = self.seed * 100_003 + index
        code = [path.read_bytes() for path in sorted(Path(synthesis.__file__).parent.glob('scene*.py'))]
        spec = (self.scene_frames, self.scene_step, self.scene_size, code)
        # frames and depth are two arrays of the cache but come from one rendering where neither is there
        views = []

        def render() -> list:
            if not views:
                renderer = SceneRenderer(kind, self.scene_size, seed)
                views.extend(renderer.frame(t * self.scene_step, flow=False) for t in range(self.scene_frames))
            return views

        def frames() -> Iterator[np.ndarray]:
            return (view.frame for view in render())

        def depths() -> Iterator[np.ndarray]:
            return (view.depth.astype(np.float16) for view in render())

        return dict(
            video=f'{kind}{index}', moments=1, origin=f'the scene {kind}{index}',
            path=self._cached(f'{kind}_{seed}_views', spec, frames),
            depth=self._cached(f'{kind}_{seed}_depth', spec, depths))
