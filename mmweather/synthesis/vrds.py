"""Rainy videos on disk in the layout of the VRDS dataset (Wu et al., ACM MM 2023), as its published training reads it.

Each folder holds ``<video>/%08d.png`` from 00000000 on: ``lq`` (rainy), ``gt`` (clean), ``01drop`` (raindrop mask,
gray), ``drop`` (raindrops without streaks), ``mstreak`` (streak intensity, gray); the test split is ``testlq`` and
``testgt``.
"""
import os
import shutil
from contextlib import suppress
from pathlib import Path

import cv2

from mmweather.errors import UserError

__all__ = ['FOLDERS', 'VRDSVideo', 'write_vrds', 'write_whole']

#: Folder of each part of a frame, by split. The rainy folder comes last: a video that is listed there is whole.
FOLDERS = {
    'train': {'gt': 'gt', 'mask': '01drop', 'drop': 'drop', 'streak': 'mstreak', 'lq': 'lq'},
    'test': {'gt': 'testgt', 'lq': 'testlq'},
}

_ENCODING = {
    # weather is noise to the encoder: harder compression takes thrice the time for a few percent
    '.png': [cv2.IMWRITE_PNG_COMPRESSION, 1],
    '.jpg': [cv2.IMWRITE_JPEG_QUALITY, 97],
}


class VRDSVideo:
    """One video of a VRDS folder in the making.

    A context manager: the video appears in all its folders when the block ends well, and in none when it does not.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, but not its parents.
        name (str): Name of the video.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Raises:
        UserError: If the video is there already or the folder cannot be written to.
    """

    #: Folder of each part by split, and the name of frame number n; datasets of the same kind differ in these.
    FOLDERS = FOLDERS
    NAME = '{:08d}.png'

    def __init__(self, root, name, split='train'):
        self.root, self.name = Path(root), name
        self._folders = {part: self.root / folder / name for part, folder in self.FOLDERS[split].items()}
        self._count = 0

    def __enter__(self):
        if not self.root.absolute().parent.is_dir():
            raise UserError(f'{self.root} cannot be made because the folder {self.root.parent} does not exist: create '
                            'it first')
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f'{self.root} is not a folder: give a folder for the dataset')
        for folder in self._folders.values():
            if folder.exists():
                raise UserError(f'{folder} exists already: choose another folder or remove it')
        try:
            for folder in self._folders.values():
                # what an earlier, killed run may have left
                shutil.rmtree(_unfinished(folder), ignore_errors=True)
                _unfinished(folder).mkdir(parents=True)
        except OSError as error:
            self._clean()
            raise self._fault(error) from error
        return self

    def write(self, parts):
        """Write the next frame.

        Args:
            parts (dict): ``lq``, ``gt`` and for training ``drop`` (uint8 RGB ``(H, W, 3)``), ``mask`` and ``streak``
                (uint8 ``(H, W, 1)``), as :class:`mmweather.synthesis.RainOn` returns them.

        Raises:
            UserError: If it cannot be written, for instance because the disk is full.
        """
        for part, folder in self._folders.items():
            image = parts[part]
            if image.shape[2] == 3:
                image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            path = _unfinished(folder) / self.NAME.format(self._count)
            _, data = cv2.imencode(path.suffix, image, _ENCODING[path.suffix])
            try:
                path.write_bytes(data.tobytes())
            except OSError as error:
                raise self._fault(error) from error
        self._count += 1

    def __exit__(self, kind, *exception):
        try:
            if kind is None:
                for folder in self._folders.values():
                    os.replace(_unfinished(folder), folder)
        except OSError as error:
            raise self._fault(error) from error
        finally:
            self._clean()

    def _clean(self):
        for folder in self._folders.values():
            shutil.rmtree(_unfinished(folder), ignore_errors=True)
            with suppress(OSError):  # only what is empty goes: folders made for a video that did not come to be
                for parent in folder.relative_to(self.root).parents:
                    (self.root / parent).rmdir()

    def _fault(self, error):
        reason = (error.strerror or str(error)).lower()
        return UserError(f'{self.root} cannot be written ({reason}): free some space or choose another place')


def _unfinished(folder):
    return folder.with_name(f'.{folder.name}.part')


def write_vrds(root, name, frames, split='train'):
    """Write one video into a VRDS folder; whole or not at all.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, but not its parents.
        name (str): Name of the video.
        frames (Iterable[dict]): The frames as :class:`mmweather.synthesis.RainOn` returns them.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Returns:
        int: Number of frames.

    Raises:
        UserError: If the video is there already or cannot be written.
    """
    return write_whole(VRDSVideo(root, name, split), frames)


def write_whole(video, frames):
    """Write all frames of one video; whole or not at all.

    Args:
        video (VRDSVideo): The video in the making.
        frames (Iterable[dict]): Its frames.

    Returns:
        int: Number of frames.
    """
    count = 0
    with video:
        for parts in frames:
            video.write(parts)
            count += 1
    return count
