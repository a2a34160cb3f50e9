"""RVSD: snow and haze on rendered videos.

"Snow Removal in Video: A New Dataset and A Novel Method", ICCV 2023: 80 videos to train and 30 to test, rendered with
Unreal Engine 5, with the clean frames. In the training set as it was published, the first frames of clean and snowy
videos are not in the same order.
"""
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log

from mmweather.registry import DATASETS

from .base import FrameFolder, Layout, PairedClipDataset
from .frames import read_frame

__all__ = ['RVSD', 'first_frames_are_misordered']

# which clean frame belongs to each of the first snowy ones (issue 1 of the dataset's repository)
PUBLISHED_ORDER = (3, 1, 0, 2, 4)
# how much better, in correlation, that order must fit than the plain one; snow and haze cost both the same
MARGIN = 0.02
# width in pixels at which frames are compared: coarse enough that flakes are gone, fine enough to see motion
WIDTH = 192


def first_frames_are_misordered(snowy, clean):
    """Whether the first frames of a video are in the published, wrong order.

    Edges of snowy and clean frames are compared at low resolution, where snow and haze leave them their places. Only
    frames that the two orders pair differently are looked at. In a video that hardly moves the orders fit alike; then
    there is nothing to mend.

    Args:
        snowy (Sequence[numpy.ndarray]): The first five snowy frames, uint8 RGB ``(H, W, 3)``.
        clean (Sequence[numpy.ndarray]): The first five clean frames, likewise.

    Returns:
        bool: True if the published order fits better than the plain one, by a margin.
    """
    moved = [index for index, other in enumerate(PUBLISHED_ORDER) if index != other]
    snowy, clean = ({index: _edges(frames[index]) for index in moved} for frames in (snowy, clean))

    def fit(order):
        return np.mean([np.vdot(snowy[index], clean[order[index]]) for index in moved])

    return bool(fit(PUBLISHED_ORDER) > fit(range(len(PUBLISHED_ORDER))) + MARGIN)


def _edges(frame):
    """Gradients of a small gray version, of unit length as one vector."""
    height = max(1, round(frame.shape[0] * WIDTH / frame.shape[1]))
    small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (WIDTH, height), interpolation=cv2.INTER_AREA)
    # the median takes single flakes away and leaves edges
    small = cv2.medianBlur(small, 3).astype(np.float32)
    edges = np.stack([cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1)])
    return edges / max(float(np.linalg.norm(edges)), 1e-6)


@DATASETS.register_module()
class RVSD(PairedClipDataset):
    """The RVSD dataset.

    Keys: ``lq`` (snow and haze) and ``gt`` (clean); frames are ``<video>/%05d.jpg`` or ``.png``, also mixed. Two
    layouts are recognised:

    - published: ``{train,test}_video/{snow,clean}/<video>``, of which ``test_video/clean`` is what the authors' script
      reads and the rest its continuation; name other folders in ``data_prefix``;
    - TURTLE's: ``{train,test}/{blur,gt}/<video>``.

    In the published training set the clean partner of the snowy frames 0, 1, 2, 3, 4 is 3, 1, 0, 2, 4. Each video is
    looked at, and if its images say so its clean frames are read in that order.

    Args:
        data_root (str): The folder that holds the splits.
        repair_order (bool): Look for misordered first frames and read them in the right order. Defaults to True.
        **kwargs: See :class:`PairedClipDataset`.
    """

    METAINFO = dict(dataset_name='RVSD')

    HOME = ('download RVSD from https://github.com/haoyuc/VideoDesnowing and give the folder that holds train_video '
            'and test_video, or write a synthetic one with `mmweather synth snow --layout rvsd`')

    LAYOUTS = (
        Layout('published', {split: dict(lq=f'{split}_video/snow/{{video}}', gt=f'{split}_video/clean/{{video}}')
                             for split in ('train', 'test')}),
        Layout('TURTLE', {split: dict(lq=f'{split}/blur/{{video}}', gt=f'{split}/gt/{{video}}')
                          for split in ('train', 'test')}),
    )

    def __init__(self, data_root: str, repair_order: bool = True, **kwargs) -> None:
        self.repair_order = repair_order
        super().__init__(data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Scan the folders and find misordered videos; see :meth:`PairedClipDataset.load_data_list`.

        Returns:
            list[dict]: The entries, each also with ``misordered``.
        """
        entries = super().load_data_list()
        judged = {}
        for entry in entries:
            video = entry['video']
            if video not in judged:
                judged[video] = self.repair_order and self.is_misordered(
                    {key: FrameFolder(Path(path), entry['frame_names'][key])
                     for key, path in entry['folders'].items()})
            entry['misordered'] = judged[video]
        mended = [video for video, misordered in judged.items() if misordered]
        if mended:
            print_log(f'RVSD: the first clean frames of {len(mended)} of {len(judged)} videos are misordered and read '
                      f'in the right order ({", ".join(mended[:5])}{", ..." if len(mended) > 5 else ""})',
                      logger='current')
        return entries

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Choose the frames of a sample, the clean ones in the right order; see :meth:`ClipDataset.draw_sample`."""
        sample = super().draw_sample(index, rng)
        info = self.get_data_info(index)
        if info['misordered']:
            gt = sample['sources']['gt']
            gt['indices'] = [PUBLISHED_ORDER[number] if number < len(PUBLISHED_ORDER) else number
                             for number in gt['indices']]
            gt['names'] = [info['frame_names']['gt'][number] for number in gt['indices']]
        return sample

    @classmethod
    def is_misordered(cls, folders: dict[str, FrameFolder | None]) -> bool:
        """Whether the first frames of a video are in the published, wrong order.

        Args:
            folders (dict[str, FrameFolder | None]): The frames of ``lq`` and ``gt``.

        Returns:
            bool: False also for videos of less than five frames, and where a key is missing.
        """
        count = len(PUBLISHED_ORDER)
        lq, gt = folders.get('lq'), folders.get('gt')
        if lq is None or gt is None or min(len(lq.names), len(gt.names)) < count:
            return False
        return first_frames_are_misordered(*([_read(folder, index) for index in range(count)] for folder in (lq, gt)))

    @classmethod
    def remark(cls, video: str, folders: dict[str, FrameFolder | None]) -> str | None:
        """See :meth:`PairedClipDataset.remark`: misordered first frames are said, and no fault."""
        if cls.is_misordered(folders):
            return f'{video}: the first clean frames are misordered; they are read in the right order'
        return None


def _read(folder: FrameFolder, index: int) -> np.ndarray:
    if folder.cached:
        return np.load(folder.path, mmap_mode='r')[index]
    return read_frame(folder.path / folder.names[index])
