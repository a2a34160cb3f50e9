"""Stereo Foggy Video Cityscapes (SFVC) on disk: the published layout with its list files, and a plain one.

Published: per density a folder ``lists_file_names_<beta>`` with one list per view and kind, whose lines are paths below
``Stereo_Foggy_Video_Cityscapes``. The lists agree line by line, and every seven lines are a clip. Readers go by the
lists; how the images are sorted into folders below that one is ours, after Cityscapes.

Plain: ``<split>/{left,right}_{hazy,clear}/<sequence>/<frame>.png``; where several densities share a root, their folders
are ``{left,right}_hazy_<beta>``.
"""
from .dataset_video import DatasetVideo

__all__ = ['IMAGES', 'LISTS', 'PLAIN', 'SFVCSequence', 'image_path', 'lists_folder', 'write_sfvc']

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


class SFVCSequence(DatasetVideo):
    """One sequence of the plain layout in the making; see :class:`DatasetVideo`.

    A frame's parts are ``left_hazy``, ``right_hazy``, ``left_clear``, ``right_clear``, uint8 RGB ``(H, W, 3)``.
    """

    @staticmethod
    def folders(name, split):
        # the hazy folders come last: a sequence that is listed there is whole
        return {f'{view}_{kind}': PLAIN.format(split=split, view=view, kind=kind, sequence=name)
                for kind in ('clear', 'hazy') for view in ('right', 'left')}


def write_sfvc(root, name, frames, split='train'):
    """Write one sequence in the plain layout; whole or not at all.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, with its parents.
        name (str): Name of the sequence.
        frames (Iterable[dict]): The frames, see :class:`SFVCSequence`.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Returns:
        int: Number of frames.

    Raises:
        UserError: If the sequence is there already or cannot be written.
    """
    return SFVCSequence(root, name, split).write_all(frames)
