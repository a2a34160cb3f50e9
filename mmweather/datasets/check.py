"""Is this folder the dataset, and is it whole? Behind ``mmweather data check``.

Works for every :class:`PairedClipDataset` by the layouts it declares.
"""
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmweather.errors import UserError

from .base import FrameFolder, Layout, PairedClipDataset
from .frames import image_size, is_whole, natural_key, read_frame

__all__ = ['DatasetReport', 'Problem', 'check_dataset']

# what to do about each kind of fault, for messages
REMEDIES = {
    'missing': 'restore it from the original archive, or remove its partners',
    'extra': 'remove it, or restore its partners from the original archive',
    'unreadable': 'replace it from the original archive',
    'size': 'what belongs together must have one size: replace it from the original archive',
    'gap': 'clips would jump there: restore the frames between, or split the video in two',
}


@dataclass(frozen=True)
class Problem:
    """One thing to mend.

    Args:
        kind (str): ``'missing'``, ``'extra'``, ``'unreadable'``, ``'size'`` or ``'gap'``.
        split (str): The split.
        key (str): The key, such as ``'gt'``.
        path (str): The file or folder.
        text (str): What is wrong with it.
    """

    kind: str
    split: str
    key: str
    path: str
    text: str

    @property
    def fix(self) -> str:
        """str: What to do."""
        return REMEDIES[self.kind]


@dataclass
class DatasetReport:
    """What :func:`check_dataset` found.

    Args:
        dataset (str): Name of the dataset class.
        root (str): The folder.
        rows (list[dict]): For each split and key: ``split, layout, key, folder, videos, frames, sizes``; ``sizes``
            counts the frames of each ``'<width>x<height>'``.
        problems (list[Problem]): What to mend.
        absent (list[str]): Splits that are not there at all, which is no fault: most people download what they need.
        remarks (list[str]): What is odd about videos but mended when they are read.
    """

    dataset: str
    root: str
    rows: list[dict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """bool: Whether there is nothing to mend."""
        return not self.problems

    def to_dict(self) -> dict:
        """dict: Everything, in types that JSON has."""
        return dict(dataset=self.dataset, root=self.root, ok=self.ok, splits_absent=self.absent, table=self.rows,
                    problems=[dict(vars(problem), fix=problem.fix) for problem in self.problems], remarks=self.remarks)


def check_dataset(dataset: type[PairedClipDataset],
                  root: str | Path,
                  splits: Sequence[str] | None = None,
                  deep: bool = False,
                  track: Callable[[Iterable, int], Iterable] = lambda items, total: items) -> DatasetReport:
    """Count the videos and frames of a dataset folder and find what is wrong with it.

    Files are judged by their first and last bytes, which finds empty, truncated and foreign files and wrong sizes.

    Args:
        dataset (type[PairedClipDataset]): The dataset class.
        root (str | Path): The folder.
        splits (Sequence[str], optional): The splits that must be there. Defaults to None: whichever are.
        deep (bool): Decode every frame, which finds damaged pixels too and takes about 20 ms per 1280x720 PNG and core.
            Defaults to False.
        track (Callable): Wraps the iteration over the videos to show progress; called with an iterable and its length.

    Returns:
        DatasetReport: The counts and the problems.

    Raises:
        UserError: If the folder is no such dataset; the text says what was looked for and where it can be had.
    """
    root = Path(root)
    report = DatasetReport(dataset.__name__, str(root))
    declared = list(dict.fromkeys(split for layout in dataset.LAYOUTS for split in layout.splits))
    work = []
    for split in splits or declared:
        found = _best_layout(dataset, root, split)
        if found is None:
            if splits:
                dataset.find_layout(root, split)  # raises and says why
            report.absent.append(split)
        else:
            work.append((split, *found))
    if not work:
        dataset.find_layout(root, declared[0])
    total = sum(len(videos) for _, _, videos in work)
    tasks = track(((split, layout, video, frames) for split, layout, videos in work
                   for video, frames in videos.items()), total)
    counts: dict[tuple[str, str], Counter] = {}
    sizes: dict[tuple[str, str], Counter] = {}
    with ThreadPoolExecutor(8) as pool:
        for split, layout, video, frames in tasks:
            checker = _VideoChecker(dataset, root, split, layout, video, frames, deep, pool)
            problems = checker.problems()
            report.problems.extend(problems)
            remark = None if problems else dataset.remark(video, frames)
            if remark:
                report.remarks.append(f'{split} {remark}')
            for key, found_sizes in checker.sizes.items():
                counts.setdefault((split, key), Counter()).update(videos=1, frames=len(frames[key].names))
                sizes.setdefault((split, key), Counter()).update(found_sizes)
    for split, layout, _ in work:
        for key, folder in layout.splits[split].items():
            count = counts.get((split, key), Counter())
            report.rows.append(dict(
                split=split, layout=layout.name, key=key, folder=folder.format(video='<video>'),
                videos=count['videos'], frames=count['frames'],
                sizes={f'{width}x{height}': number
                       for (height, width), number in sizes.get((split, key), Counter()).most_common()}))
    return report


def _best_layout(dataset, root: Path, split: str):
    """The layout of which most folders are there, with its videos; None if there is nothing of the split."""
    best = None
    for layout in dataset.LAYOUTS:
        videos = dataset.inventory(root, layout.splits[split]) if split in layout.splits else {}
        # a folder may serve two layouts: the one that explains more of them is meant
        present = len({key for frames in videos.values() for key, folder in frames.items() if folder is not None})
        if present and (best is None or present > best[0]):
            best = present, layout, videos
    return best and best[1:]


class _VideoChecker:
    """Checks all keys of one video."""

    def __init__(self, dataset: type[PairedClipDataset], root: Path, split: str, layout: Layout, video: str,
                 frames: dict[str, FrameFolder | None], deep: bool, pool: ThreadPoolExecutor) -> None:
        self.dataset, self.root, self.split, self.video = dataset, root, split, video
        self.folders = layout.splits[split]
        self.frames = frames
        self.deep = deep
        self.pool = pool
        # for each key how many of its frames have which (height, width)
        self.sizes: dict[str, Counter] = {}

    def problems(self) -> list[Problem]:
        return [*self._pairing(), *self._files()]

    def _problem(self, kind: str, key: str, path: Path, text: str) -> Problem:
        return Problem(kind, self.split, key, str(path), text)

    def _pairing(self):
        """Missing folders, missing and extra frames, holes in the numbering."""
        present = {key: folder for key, folder in self.frames.items() if folder is not None}
        ids = {key: [self.dataset.frame_id(key, name) for name in folder.names] for key, folder in present.items()}
        votes = Counter(frame for key in ids for frame in set(ids[key]))
        # what at least half of the keys have belongs to the video
        expected = sorted((frame for frame, count in votes.items() if 2 * count >= len(present)), key=natural_key)
        for key in self.frames:
            path = self.root / self.folders[key].format(video=self.video)
            if key not in present:
                yield self._problem('missing', key, path, 'the folder is missing')
                continue
            have, names = set(ids[key]), dict(zip(ids[key], present[key].names))
            if not have:
                yield self._problem('missing', key, path, 'the folder holds no frames')
                continue
            for frame in expected:
                if frame not in have:
                    name = f'{frame}{Path(present[key].names[0]).suffix}'
                    yield self._problem('missing', key, path / name, 'the frame is missing')
            for frame in sorted(have.difference(expected), key=natural_key):
                yield self._problem('extra', key, path / names[frame], 'no other folder has this frame')
            for frame, count in Counter(ids[key]).items():
                if count > 1:
                    yield self._problem('extra', key, path / names[frame], 'the frame is there more than once')
        yield from self._gaps(expected)

    def _gaps(self, expected):
        numbers = [int(frame) for frame in expected if frame.isdigit()]
        if len(numbers) != len(expected):
            return
        path = self.root / self.folders['lq'].format(video=self.video)
        for before, after in zip(numbers, numbers[1:]):
            if after != before + 1:
                yield self._problem('gap', 'lq', path, f'frames {before} and {after} follow each other')

    def _files(self):
        """Unreadable files and wrong sizes."""
        found = {}
        for key, folder in self.frames.items():
            if folder is not None:
                found[key] = self._cached(folder) if folder.cached else self._images(key, folder)
                self.sizes[key] = Counter(size for _, size, _ in found[key] if size)
        common = sum(self.sizes.values(), Counter()).most_common(1)
        for key, files in found.items():
            for path, size, fault in files:
                if fault:
                    yield self._problem('unreadable', key, path, fault)
                elif size != common[0][0]:
                    (height, width), (usual_height, usual_width) = size, common[0][0]
                    yield self._problem('size', key, path, f'{width}x{height} instead of {usual_width}x{usual_height}')

    def _images(self, key: str, folder: FrameFolder):
        def look(name):
            path = folder.path / name
            if not path.exists():
                return path, None, 'the file is missing'
            try:
                size = image_size(path)
                if not is_whole(path):
                    return path, None, 'the file is truncated'
                if self.deep:
                    read_frame(path, key in self.dataset.GRAY_KEYS)
            except UserError:
                empty = path.exists() and path.stat().st_size == 0
                return path, None, 'the file is empty' if empty else 'the file is damaged or no image'
            return path, size, None

        return list(self.pool.map(look, folder.names))

    @staticmethod
    def _cached(folder: FrameFolder):
        try:
            shape = np.load(folder.path, mmap_mode='r').shape
        except (OSError, ValueError):
            return [(folder.path, None, 'the array is truncated or none')]
        if len(shape) != 4 or shape[0] != len(folder.names):
            return [(folder.path, None, f'the array has the shape {shape} for {len(folder.names)} names')]
        return [(folder.path / name, shape[1:3], None) for name in folder.names]
