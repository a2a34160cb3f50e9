"""Rainy videos on disk in the layout of the VRDS dataset (Wu et al., ACM MM 2023), as its published training reads it.

Each folder holds ``<video>/%08d.png`` from 00000000 on: ``lq`` (rainy), ``gt`` (clean), ``01drop`` (raindrop mask,
gray), ``drop`` (raindrops without streaks), ``mstreak`` (streak intensity, gray); the test split is ``testlq`` and
``testgt``.
"""
from .dataset_video import DatasetVideo

__all__ = ['FOLDERS', 'VRDSVideo', 'write_vrds']

#: Folder of each part of a frame, by split. The rainy folder comes last: a video that is listed there is whole.
FOLDERS = {
    'train': {'gt': 'gt', 'mask': '01drop', 'drop': 'drop', 'streak': 'mstreak', 'lq': 'lq'},
    'test': {'gt': 'testgt', 'lq': 'testlq'},
}


class VRDSVideo(DatasetVideo):
    """One video of a VRDS folder in the making; see :class:`DatasetVideo`.

    A frame's parts are ``lq``, ``gt`` and for training ``drop`` (uint8 RGB ``(H, W, 3)``), ``mask`` and ``streak``
    (uint8 ``(H, W, 1)``), as :class:`mmweather.synthesis.RainOn` returns them.
    """

    @staticmethod
    def folders(name, split):
        return {part: f'{folder}/{name}' for part, folder in FOLDERS[split].items()}


def write_vrds(root, name, frames, split='train'):
    """Write one video into a VRDS folder; whole or not at all.

    Args:
        root (str or Path): The dataset's folder; it is made if it is not there, with its parents.
        name (str): Name of the video.
        frames (Iterable[dict]): The frames as :class:`mmweather.synthesis.RainOn` returns them.
        split (str): ``'train'`` or ``'test'``. Defaults to ``'train'``.

    Returns:
        int: Number of frames.

    Raises:
        UserError: If the video is there already or cannot be written.
    """
    return VRDSVideo(root, name, split).write_all(frames)
