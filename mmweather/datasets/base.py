"""The base of every dataset on disk: folders of frames that belong together, read as clips.

A dataset class only declares its layouts: which folder holds what. Scanning, clips, reproducible randomness, error
texts and the checker behind ``mmweather data check`` come from here.
"""
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch
from mmengine.dataset import BaseDataset

from mmweather.errors import UserError
from mmweather.registry import TRANSFORMS

from .frames import image_size, list_frames, natural_key

__all__ = ['ClipDataset', 'Layout', 'PairedClipDataset']

# a draw of the sampler: index of the sample, number of the draw since training began
Draw = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """One way in which a dataset is laid out on disk.

    Args:
        name (str): What the layout is called in messages, such as ``'published'``.
        splits (dict[str, dict[str, str]]): For each split the folder of each key, relative to the dataset's root, with
            ``{video}`` where the name of the video stands: ``dict(train=dict(lq='lq/{video}', gt='gt/{video}'))``.
    """

    name: str
    splits: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class FrameFolder:
    """The frames of one key of one video: a folder of images, or a ``.npy`` file written by ``mmweather data cache``.

    Args:
        path (Path): The folder, or the array file of shape ``(T, H, W, C)``.
        names (list[str]): Names of the frames in order.
    """

    path: Path
    names: list

    @property
    def cached(self) -> bool:
        """bool: Whether the frames are a cached array."""
        return self.path.suffix == '.npy'

    @classmethod
    def open(cls, path: Path) -> Optional['FrameFolder']:
        """Look for frames under ``path`` or in ``path + '.npy'``; None if there is neither."""
        array = path.with_name(f'{path.name}.npy')
        if array.is_file():
            try:
                return cls(array, array.with_suffix('.txt').read_text(encoding='utf-8').splitlines())
            except OSError as error:
                raise UserError(f'{array} has lost its list of frame names, {array.stem}.txt ({error.strerror}): '
                                f'delete it and run `mmweather data cache` again') from error
        if path.is_dir():
            return cls(path, list_frames(path))
        return None


class ClipDataset(BaseDataset):
    """What datasets from disk and synthesised ones share: reproducible draws, and a pipeline of our transforms.

    Randomness never touches the global states. A sampler that yields ``(index, draw)`` pairs, with ``draw`` counting up
    over the whole training, makes every sample reproducible: all random decisions of the sample come from
    ``numpy.random.default_rng([seed, draw])``, which the transforms find as ``results['rng']``, so a resumed run sees
    what the uninterrupted run would have seen. With a plain integer index the draw is taken from PyTorch's generator,
    which the data loader seeds per worker and epoch. In testing it is the index itself.

    Subclasses implement ``load_data_list`` and :meth:`draw_sample`.

    Args:
        pipeline (Sequence[dict | Callable]): The transforms. Defaults to ().
        test_mode (bool): No randomness but what the seed and the index decide. Defaults to False.
        seed (int): Seed of all random decisions. Defaults to 0.
        **kwargs: See MMEngine's ``BaseDataset``.
    """

    def __init__(self,
                 pipeline: Sequence[dict | Callable] = (),
                 test_mode: bool = False,
                 seed: int = 0,
                 **kwargs) -> None:
        self.seed = seed
        # through our own node: MMEngine's Compose looks in the root registry when no default scope is set
        pipeline = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(pipeline=pipeline, test_mode=test_mode, data_prefix=dict(), **kwargs)

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Make the sample that enters the pipeline.

        Args:
            index (int): Index below ``len(self)``.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            dict: The sample; ``rng`` is added by the caller.
        """
        raise NotImplementedError(f'{type(self).__name__} has no draw_sample method')

    def __getitem__(self, idx: int | Draw) -> Any:
        """Get one sample, through the pipeline.

        Unlike MMEngine's base this never replaces a sample that cannot be read by another one: the fault is raised.

        Args:
            idx (int | tuple[int, int]): The index, or ``(index, draw)``.

        Returns:
            dict: The sample.
        """
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(idx)

    def prepare_data(self, idx: int | Draw) -> Any:
        """Draw one sample and send it through the pipeline; see :meth:`__getitem__`."""
        if isinstance(idx, (tuple, list)):
            index, draw = (int(number) for number in idx)
        else:
            index = int(idx)
            draw = index if self.test_mode else torch.randint(2**62, ()).item()
        if not 0 <= index < len(self):
            # iterating over the dataset ends by this
            raise IndexError(f'index {index} is outside a dataset of {len(self)} samples')
        rng = np.random.default_rng([self.seed, draw])
        return self.pipeline({**self.draw_sample(index, rng), 'rng': rng})


class PairedClipDataset(ClipDataset):
    """Clips of consecutive frames from paired folders.

    In training (``test_mode=False``) a sample is one video of the split, from which ``num_frames`` frames are taken at
    a random start. In testing a sample is a whole video, or with ``num_frames`` one of the windows that cover it
    without overlap (the last one may be shorter), so that every frame is scored once.

    The samples that reach the pipeline are dicts: ``sources`` (for each key the path, the gray flag and the frames to
    read), ``video``, ``names``, ``key``, ``ori_shape`` and ``rng``.

    Args:
        data_root (str): The dataset's root folder.
        split (str): ``'train'`` or ``'test'``. Defaults to 'train'.
        num_frames (int, optional): Frames per clip. None means the whole video, for testing only. Defaults to 5.
        interval (int): Distance between the frames of a clip. Defaults to 1.
        times (int): How often the split is repeated per epoch, without a longer index. To be used instead of MMEngine's
            ``RepeatDataset``, which knows no ``(index, draw)`` pairs. Defaults to 1.
        keys (Sequence[str], optional): The keys to read, at least ``'lq'``. Defaults to None: all keys of the split.
        data_prefix (dict[str, str], optional): Folders that differ from the declared layouts, per key, for example
            ``dict(lq='rainy', gt='sunny/{video}/frames')``. ``/{video}`` is appended where it is missing. Defaults to
            None.
        ann_file (str): A text file with the names of the videos to use, one per line, relative to ``data_root``.
            Defaults to '': all videos.
        pipeline (Sequence[dict | Callable]): The transforms. Defaults to ().
        test_mode (bool): Whole videos or fixed windows, no random start. Defaults to False.
        seed (int): Seed of all random decisions. Defaults to 0.
        lazy_init (bool): Scan the folders at the first use only. Defaults to False.

    Raises:
        UserError: If ``data_root`` is no such dataset, if the frames of a video do not pair up, or if a video is
            shorter than a clip.
    """

    LAYOUTS: tuple[Layout, ...] = ()
    # keys that are stored as one channel
    GRAY_KEYS: tuple[str, ...] = ('mask', 'streak')
    # where the dataset comes from, for messages: completes the sentence "... : {HOME}"
    HOME: str = ''

    def __init__(self,
                 data_root: str,
                 split: str = 'train',
                 num_frames: int | None = 5,
                 interval: int = 1,
                 times: int = 1,
                 keys: Sequence[str] | None = None,
                 data_prefix: dict | None = None,
                 ann_file: str = '',
                 pipeline: Sequence[dict | Callable] = (),
                 test_mode: bool = False,
                 seed: int = 0,
                 lazy_init: bool = False) -> None:
        if num_frames is None and not test_mode:
            raise ValueError('num_frames=None (the whole video) is for test_mode=True; training needs a clip length')
        if min(num_frames or 1, interval, times) < 1:
            raise ValueError('num_frames, interval and times must be at least 1, '
                             f'got {num_frames}, {interval}, {times}')
        if num_frames is None and interval != 1:
            raise ValueError('interval has no meaning for whole videos: leave it at 1')
        self.split = split
        self.num_frames = num_frames
        self.interval = interval
        self.times = times
        self.keys = keys
        self.folders = {key: folder if '{video}' in folder else f'{folder}/{{video}}'
                        for key, folder in (data_prefix or {}).items()}
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            pipeline=pipeline,
            test_mode=test_mode,
            seed=seed,
            lazy_init=lazy_init)

    def load_data_list(self) -> list[dict]:
        """Scan the folders.

        Returns:
            list[dict]: One entry per sample: ``video``, ``names``, ``folders`` (key to path), ``frame_names`` (key to
            names) and, in testing, ``start`` and ``stop`` of the window.
        """
        entries = []
        for video, frames in self.scan().items():
            self._check_pairs(frames)
            entry = dict(
                video=video,
                folders={key: str(folder.path) for key, folder in frames.items()},
                frame_names={key: folder.names for key, folder in frames.items()})
            length = len(frames['lq'].names)
            if not self.test_mode:
                span = (self.num_frames - 1) * self.interval + 1
                if length < span:
                    raise UserError(f'{frames["lq"].path} holds {length} frames, but a clip spans {span}: '
                                    f'lower num_frames or interval, or leave the video out with ann_file')
                entries.append(entry)
            else:
                entries.extend(dict(entry, start=start, stop=stop) for start, stop in self._windows(length))
        return entries

    def scan(self) -> dict[str, dict[str, FrameFolder]]:
        """Find the videos of the split.

        Returns:
            dict[str, dict[str, FrameFolder]]: For each video, in natural order, the frames of each key.

        Raises:
            UserError: If there is no such folder, no video in it, or a key of a video is missing.
        """
        root = Path(self.data_root)
        layout = self.find_layout(root, self.split, self.folders)
        folders = layout.splits[self.split]
        keys = list(folders) if self.keys is None else list(self.keys)
        unknown = [key for key in keys if key not in folders]
        if 'lq' not in keys or unknown:
            raise UserError(f'the {self.split} split of {type(self).__name__} in {root} cannot be read with the keys '
                            f'{", ".join(keys)}: choose from {", ".join(folders)}, lq among them')
        videos = self.list_videos(root, folders['lq'])
        if self.ann_file:
            videos = self._listed_videos(videos)
        inventory = self.inventory(root, {key: folders[key] for key in keys})
        for video in videos:
            for key, frames in inventory[video].items():
                if frames is None:
                    raise UserError(f'{root / folders[key].format(video=video)} is missing although '
                                    f'{inventory[video]["lq"].path} is there: run `mmweather data check` to see all '
                                    f'that is missing')
        return {video: inventory[video] for video in videos}

    @classmethod
    def inventory(cls, root: Path, folders: Mapping[str, str]) -> dict[str, dict[str, FrameFolder | None]]:
        """Look what is there, without judging.

        Args:
            root (Path): The dataset's root folder.
            folders (dict[str, str]): Folder template of each key.

        Returns:
            dict[str, dict[str, FrameFolder | None]]: For every video that at least one key has, in natural order, the
            frames of each key, None where they are missing.
        """
        videos = {video for template in folders.values() for video in cls.list_videos(root, template)}
        return {video: {key: FrameFolder.open(root / template.format(video=video)) for key, template in folders.items()}
                for video in sorted(videos, key=natural_key)}

    @classmethod
    def find_layout(cls, root: str | Path, split: str, folders: dict | None = None) -> Layout:
        """Recognise the layout of a folder by the videos in its ``lq`` folder.

        Args:
            root (str | Path): The dataset's root folder.
            split (str): The split that must be there.
            folders (dict[str, str], optional): Folders that replace the declared ones. Defaults to None.

        Returns:
            Layout: The first declared layout of which the split is there.

        Raises:
            UserError: If none is; the text says what was looked for.
        """
        root = Path(root)
        if not root.is_dir():
            raise UserError(f'{root} is no folder: give the root folder of {cls.__name__} as data_root')
        candidates = [Layout(layout.name, {split: {**layout.splits[split], **(folders or {})}})
                      for layout in cls.layouts_of(split)]
        if not candidates:
            known = sorted({name for layout in cls.LAYOUTS for name in layout.splits})
            raise UserError(f'{cls.__name__} has no split {split!r}: choose one of {", ".join(known)}')
        for layout in candidates:
            if cls.list_videos(root, layout.splits[split]['lq']):
                return layout
        looked = dict.fromkeys(layout.splits[split]['lq'] for layout in candidates)
        # the folder above or below is easily given instead
        for near in (root.resolve().parent, *sorted(path for path in root.iterdir() if path.is_dir())):
            if any(cls.list_videos(near, template) for template in looked):
                raise UserError(f'{root} holds no {cls.__name__} {split} split, but {near} does: give that folder')
        raise UserError(f'{root} holds no {cls.__name__} {split} split (looked for '
                        f'{" or ".join(template.format(video="<video>") for template in looked)}): {cls.HOME}')

    @classmethod
    def layouts_of(cls, split: str) -> list[Layout]:
        """The layouts that have a split; a dataset whose splits cannot all be declared makes them here."""
        return [layout for layout in cls.LAYOUTS if split in layout.splits]

    @staticmethod
    def list_videos(root: Path, template: str) -> list[str]:
        """Names of the videos for which ``template`` is a folder of frames or a cached array, in natural order."""
        parent, _, rest = template.partition('{video}')
        parent, rest = root / parent, rest.strip('/')
        if not parent.is_dir():
            return []
        videos = set()
        for entry in parent.iterdir():
            if entry.name.startswith('.'):
                continue
            if entry.is_dir():
                if not rest or (entry / rest).is_dir() or (entry / f'{rest}.npy').is_file():
                    videos.add(entry.name)
            elif not rest and entry.suffix == '.npy':
                videos.add(entry.stem)
        return sorted(videos, key=natural_key)

    @classmethod
    def frame_id(cls, key: str, name: str) -> str:
        """What frames of different keys that belong together have in common: the file name without its suffix.

        Args:
            key (str): The key, such as ``'gt'``.
            name (str): The frame's file name.

        Returns:
            str: The identity of the frame within its video.
        """
        return name.rpartition('.')[0] or name

    @classmethod
    def remark(cls, video: str, folders: dict[str, FrameFolder | None]) -> str | None:  # noqa: ARG003
        """What `mmweather data check` should say about a whole video although nothing of it is to be mended.

        Args:
            video (str): Name of the video.
            folders (dict[str, FrameFolder | None]): The frames of each key.

        Returns:
            str | None: A sentence without a full stop, or None.
        """
        return None

    def _listed_videos(self, videos: list[str]) -> list[str]:
        try:
            listed = Path(self.ann_file).read_text(encoding='utf-8').split()
        except OSError as error:
            raise UserError(f'{self.ann_file} cannot be read ({error.strerror}): '
                            f'ann_file must be a text file with one video name per line') from error
        missing = [video for video in listed if video not in set(videos)]
        if missing or not listed:
            fault = f'names videos that are not in {self.data_root}: {", ".join(missing)}' if missing else 'is empty'
            raise UserError(f'{self.ann_file} {fault}; list one existing video per line')
        return listed

    def _check_pairs(self, frames: dict[str, FrameFolder]) -> None:
        wanted = [self.frame_id('lq', name) for name in frames['lq'].names]
        if not wanted:
            raise UserError(f'{frames["lq"].path} holds no frames: extract the video again or remove the folder')
        for key, folder in frames.items():
            have = [self.frame_id(key, name) for name in folder.names]
            if have != wanted:
                odd = sorted(set(wanted) ^ set(have), key=natural_key)
                raise UserError(f'{folder.path} does not pair up with {frames["lq"].path} (frame {odd[0]} is on one '
                                f'side only): run `mmweather data check` to see every missing and extra frame')

    def _windows(self, length: int) -> list[tuple[int, int]]:
        if self.num_frames is None:
            return [(0, length)]
        # the frames of a window are ``interval`` apart: the video is walked once per phase, so that each frame is in
        # exactly one window
        step = self.num_frames * self.interval
        return [(start + phase, min(start + step, length))
                for start in range(0, length, step) for phase in range(min(self.interval, length - start))]

    def __len__(self) -> int:
        """int: Samples per epoch, the repetitions included."""
        return super().__len__() * self.times

    def get_data_info(self, idx: int) -> dict:
        """Get the entry of one sample.

        Args:
            idx (int): Index below ``len(self)``.

        Returns:
            dict: A copy of the entry made by :meth:`load_data_list`.
        """
        return super().get_data_info(idx % (len(self) // self.times))

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Choose the frames of a sample; see :meth:`ClipDataset.draw_sample`."""
        info = self.get_data_info(index)
        video = info['video']
        indices = self.choose_frames(info, rng)
        sources = {
            key: dict(
                path=path,
                names=[info['frame_names'][key][i] for i in indices],
                indices=indices,
                gray=key in self.GRAY_KEYS)
            for key, path in info['folders'].items()}
        names = sources['lq']['names']
        return dict(
            key=f'{video}/{self.frame_id("lq", names[0])}',
            video=video,
            names=names,
            ori_shape=self.frame_size(sources['lq']),
            sources=sources)

    def choose_frames(self, info: dict, rng: np.random.Generator) -> Sequence[int]:
        """Choose which frames of a video make a sample.

        Args:
            info (dict): The entry made by :meth:`load_data_list`.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            Sequence[int]: Numbers of the frames, in the order in which they are wanted.
        """
        if self.test_mode:
            return range(info['start'], info['stop'], self.interval)
        span = (self.num_frames - 1) * self.interval + 1
        start = int(rng.integers(len(info['frame_names']['lq']) - span + 1))
        return range(start, start + span, self.interval)

    @staticmethod
    def frame_size(source: dict) -> tuple[int, int]:
        """Height and width of the first frame of a source, without decoding it."""
        if source['path'].endswith('.npy'):
            return np.load(source['path'], mmap_mode='r').shape[1:3]
        return image_size(Path(source['path']) / source['names'][0])
