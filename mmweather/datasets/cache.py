"""Frames as raw arrays: a crop costs microseconds instead of the decoding of whole PNG files.

A cached video is one ``.npy`` file per key, ``uint8 (T, H, W, C)``, beside a ``.txt`` file with the frames' names. The
folders are those of the dataset's layout, ``<video>.npy`` stands where the folder ``<video>/`` stood, so the datasets
read a cache as they read the original: give its folder as ``data_root``.

The price is disk space: 2.8 MB per 1280x720 RGB frame, about three times the PNG.
"""
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mmweather.errors import UserError

from .base import FrameFolder, PairedClipDataset
from .frames import list_frames, read_frame

__all__ = ['cache_frames']


def cache_frames(dataset: type[PairedClipDataset],
                 root: str | Path,
                 target: str | Path,
                 split: str = 'train',
                 keys: Sequence[str] | None = None,
                 workers: int = 4,
                 track: Callable[[Iterable, int], Iterable] = lambda items, total: items) -> int:
    """Rewrite the frames of a dataset as raw arrays.

    Videos that are already there are left alone, so an interrupted run is continued by the same call.

    Args:
        dataset (type[PairedClipDataset]): The dataset class.
        root (str | Path): The dataset's root folder.
        target (str | Path): The root folder of the cache; must not be ``root``.
        split (str): The split. Defaults to 'train'.
        keys (Sequence[str], optional): The keys. Defaults to None: all keys of the split.
        workers (int): Threads that decode. Defaults to 4.
        track (Callable): Wraps the iteration over the arrays to show progress; called with an iterable and its length.

    Returns:
        int: Number of arrays written.

    Raises:
        UserError: If ``root`` is no such dataset, a frame cannot be read, or the disk is full or too small.
    """
    root, target = Path(root), Path(target)
    if target.resolve() == root.resolve():
        raise UserError(f'{target} is the dataset itself: give another folder for the cache')
    source = dataset(str(root), split=split, num_frames=None, test_mode=True, keys=keys)
    jobs = []
    for index in range(len(source)):
        info = source.get_data_info(index)
        for key, folder in info['folders'].items():
            array = target / Path(folder).relative_to(root)
            array = array.with_name(f'{array.name}.npy')
            if FrameFolder(Path(folder), []).cached:
                raise UserError(f'{folder} is a cached array already: use {root} as it is')
            if len(list_frames(folder)) > len(info['frame_names'][key]):
                raise UserError(f'{folder} holds the frames of several videos, which cannot be cached: use a layout '
                                f'with a folder per video')
            if not array.exists():
                jobs.append((Path(folder), info['frame_names'][key], key in dataset.GRAY_KEYS, array))
    if jobs:
        _check_space(jobs, target)
    with ThreadPoolExecutor(workers) as pool:
        for folder, names, gray, array in track(jobs, len(jobs)):
            _write(folder, names, gray, array, pool)
    return len(jobs)


def _check_space(jobs, target: Path) -> None:
    """Refuse to begin what cannot be finished; sizes are taken from the first frame of each video."""
    need = 0
    for folder, names, gray, _ in jobs:
        need += len(names) * read_frame(folder / names[0], gray).nbytes
    existing = next(parent for parent in (target, *target.resolve().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if need > free:
        raise UserError(f'{target} needs {need / 1e9:.1f} GB but the disk has {free / 1e9:.1f} GB left: make room, '
                        f'choose another disk, or cache fewer keys')


def _write(folder: Path, names: list[str], gray: bool, array: Path, pool: ThreadPoolExecutor) -> None:
    first = read_frame(folder / names[0], gray)
    header = dict(descr='|u1', fortran_order=False, shape=(len(names), *first.shape))
    part = array.with_suffix('.npy.part')
    try:
        array.parent.mkdir(parents=True, exist_ok=True)
        with open(part, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, header)
            # a few frames at a time, so that memory does not grow with the video
            for begin in range(0, len(names), 16):
                for frame in pool.map(lambda name: read_frame(folder / name, gray, shape=first.shape[:2]),
                                      names[begin:begin + 16]):
                    file.write(frame)
        array.with_suffix('.txt').write_text('\n'.join(names) + '\n', encoding='utf-8')
        os.replace(part, array)
    except OSError as error:
        raise UserError(f'{array} cannot be written ({error.strerror}): make room or choose another folder') from error
    finally:
        if part.exists():
            part.unlink()
