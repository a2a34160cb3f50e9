"""Videos of a dataset on disk: in all their folders when they are whole, in none before."""
import os
import shutil
from contextlib import suppress
from pathlib import Path

import cv2

from mmweather.errors import UserError

__all__ = ['DatasetVideo', 'encode_image']

_ENCODING = {
    # weather is noise to the encoder: harder compression takes several times as long for a few percent
    '.png': [cv2.IMWRITE_PNG_COMPRESSION, 1],
    '.jpg': [cv2.IMWRITE_JPEG_QUALITY, 97],
}


def encode_image(image, suffix='.png'):
    """Encode a frame quickly.

    Args:
        image (numpy.ndarray): uint8 RGB ``(H, W, 3)`` or gray ``(H, W, 1)``.
        suffix (str): ``'.png'`` or ``'.jpg'``. Defaults to ``'.png'``.

    Returns:
        bytes: The file.
    """
    if image.shape[2] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(suffix, image, _ENCODING[suffix])
    return data.tobytes()


class DatasetVideo:
    """One video of a dataset in the making; subclasses say which part of a frame lies where.

    A context manager: the video appears in all its folders when the block ends well, and in none when it does not.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, with its parents.
        name (str): Name of the video.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Raises:
        UserError: If the video is there already or the folder cannot be written to.
    """

    #: Name of frame number n.
    NAME = '{:08d}.png'

    def __init__(self, root, name, split='train'):
        self.root, self.name = Path(root), name
        self._folders = {part: self.root / folder for part, folder in self.folders(name, split).items()}
        self._count = 0

    @staticmethod
    def folders(name, split):
        """Where the parts of a video lie.

        Args:
            name (str): Name of the video.
            split (str): ``'train'`` or ``'test'``.

        Returns:
            dict[str, str]: The folder of each part, below the root. They appear in this order: a video that is there
            in the last one is whole.
        """
        raise NotImplementedError

    def __enter__(self):
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
            parts (dict): Every part that has a folder: uint8 RGB ``(H, W, 3)`` or gray ``(H, W, 1)``.

        Raises:
            UserError: If it cannot be written, for instance because the disk is full.
        """
        for part, folder in self._folders.items():
            path = _unfinished(folder) / self.NAME.format(self._count)
            data = encode_image(parts[part], path.suffix)
            try:
                path.write_bytes(data)
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

    def write_all(self, frames):
        """Write all frames of the video; whole or not at all.

        Args:
            frames (Iterable[dict]): The frames, see :meth:`write`.

        Returns:
            int: Number of frames.

        Raises:
            UserError: If the video is there already or cannot be written.
        """
        with self:
            for parts in frames:
                self.write(parts)
        return self._count

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
