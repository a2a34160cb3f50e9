"""Snowy videos on disk in the layout of the RVSD dataset ("Snow Removal in Video", ICCV 2023).

The authors' evaluation script reads ``test_video/clean/<video>/%05d.jpg``; ``snow`` beside ``clean`` and
``train_video`` beside ``test_video`` are taken to go on in the same manner.
"""
from .dataset_video import DatasetVideo

__all__ = ['FOLDERS', 'RVSDVideo', 'write_rvsd']

#: Folder of each part of a frame, by split. The snowy folder comes last: a video that is listed there is whole.
FOLDERS = {split: {'gt': f'{split}_video/clean', 'lq': f'{split}_video/snow'} for split in ('train', 'test')}


class RVSDVideo(DatasetVideo):
    """One video of an RVSD folder in the making; see :class:`DatasetVideo`.

    A frame's parts are ``lq`` and ``gt``, uint8 RGB ``(H, W, 3)``.
    """

    NAME = '{:05d}.jpg'

    @staticmethod
    def folders(name, split):
        return {part: f'{folder}/{name}' for part, folder in FOLDERS[split].items()}


def write_rvsd(root, name, frames, split='train'):
    """Write one video into an RVSD folder; whole or not at all.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, with its parents.
        name (str): Name of the video.
        frames (Iterable[dict]): The frames as :class:`mmweather.synthesis.SnowOn` returns them.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Returns:
        int: Number of frames.

    Raises:
        UserError: If the video is there already or cannot be written.
    """
    return RVSDVideo(root, name, split).write_all(frames)
