"""Stereo Foggy Video Cityscapes (SFVC) on disk: the published layout with its list files, and a plain one.

Published: per density a folder ``lists_file_names_<beta>`` with one list per view and kind, whose lines are paths below
``Stereo_Foggy_Video_Cityscapes``. The lists agree line by line, and every seven lines are a clip. Readers go by the
lists; how the images are sorted into folders below that one is ours, after Cityscapes.

Plain: ``<split>/{left,right}_{hazy,clear}/<sequence>/<frame>.png``; where several densities share a root, their folders
are ``{left,right}_hazy_<beta>``.
"""
import os
import shutil
from contextlib import suppress
from pathlib import Path

import cv2

from mmweather.errors import UserError

__all__ = ['IMAGES', 'LISTS', 'PLAIN', 'SFVCSequence', 'encode_png', 'image_path', 'lists_folder', 'write_sfvc']

#: Folder of the published layout that the lists' lines start from.
IMAGES = 'Stereo_Foggy_Video_Cityscapes'
#: Published list files, by view and kind.
LISTS = {
    ('left', 'clear'): 'leftImg8bit_trainval_refined_clean_filenames.txt',
    ('left', 'hazy'): 'leftImg8bit_trainval_fog_filenames.txt',
    ('right', 'clear'): 'rightImg8bit_trainval_refined_filenames.txt',
    ('right', 'hazy'): 'rightImg8bit_trainval_fog_filenames.txt',
}
#: Folder of the plain layout, below its root; the kind is ``clear``, ``hazy`` or ``hazy_<beta>``.
PLAIN = '{split}/{view}_{kind}/{sequence}'


def lists_folder(beta):
    """Folder of the lists of one density, below the root.

    Args:
        beta (float): Extinction coefficient in 1/m.

    Returns:
        str: Such as ``'lists_file_names_0.005'``.
    """
    return f'lists_file_names_{beta:g}'


def image_path(view, split, frame, beta=None):
    """Where a frame lies in the published layout.

    Args:
        view (str): ``'left'`` or ``'right'``.
        split (str): ``'train'`` or ``'val'``.
        frame (str): Cityscapes' name of the frame, such as ``'aachen_000000_000019'``.
        beta (float, optional): Extinction coefficient in 1/m, None for the clear frame. Defaults to None.

    Returns:
        str: The path below ``Stereo_Foggy_Video_Cityscapes``, as it stands in the lists.
    """
    kind, suffix = ('', '') if beta is None else ('_foggy', f'_foggy_beta_{beta:g}')
    return f'{view}Img8bit_sequence{kind}/{split}/{frame.partition("_")[0]}/{frame}_{view}Img8bit{suffix}.png'


def encode_png(image):
    """Encode a frame quickly; harder compression takes several times as long for a few percent.

    Args:
        image (numpy.ndarray): uint8 RGB ``(H, W, 3)``.

    Returns:
        bytes: The PNG file.
    """
    _, data = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return data.tobytes()


class SFVCSequence:
    """One sequence of the plain layout in the making.

    A context manager: the sequence appears in all its folders when the block ends well, and in none when it does not.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, but not its parents.
        name (str): Name of the sequence.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Raises:
        UserError: If the sequence is there already or the folder cannot be written to.
    """

    def __init__(self, root, name, split='train'):
        self.root, self.name = Path(root), name
        # the hazy folders come last: a sequence that is listed there is whole
        self._folders = {(view, kind): self.root / PLAIN.format(split=split, view=view, kind=kind, sequence=name)
                         for kind in ('clear', 'hazy') for view in ('right', 'left')}
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
            parts (dict): ``left_hazy``, ``right_hazy``, ``left_clear``, ``right_clear``, uint8 RGB ``(H, W, 3)``.

        Raises:
            UserError: If it cannot be written, for instance because the disk is full.
        """
        for (view, kind), folder in self._folders.items():
            try:
                (_unfinished(folder) / f'{self._count:08d}.png').write_bytes(encode_png(parts[f'{view}_{kind}']))
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
            # only what is empty goes: folders made for a sequence that did not come to be
            for parent in (folder.parent, folder.parent.parent):
                with suppress(OSError):
                    parent.rmdir()
        with suppress(OSError):
            self.root.rmdir()

    def _fault(self, error):
        reason = (error.strerror or str(error)).lower()
        return UserError(f'{self.root} cannot be written ({reason}): free some space or choose another place')


def _unfinished(folder):
    return folder.with_name(f'.{folder.name}.part')


def write_sfvc(root, name, frames, split='train'):
    """Write one sequence in the plain layout; whole or not at all.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, but not its parents.
        name (str): Name of the sequence.
        frames (Iterable[dict]): The frames, see :meth:`SFVCSequence.write`.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Returns:
        int: Number of frames.

    Raises:
        UserError: If the sequence is there already or cannot be written.
    """
    count = 0
    with SFVCSequence(root, name, split) as sequence:
        for parts in frames:
            sequence.write(parts)
            count += 1
    return count
