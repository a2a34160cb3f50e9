"""DVD and GoPro: videos from high-frame-rate cameras, blurred by averaging neighbouring frames.

Su et al., "Deep Video Deblurring for Hand-held Cameras", CVPR 2017 (DVD: 61 videos to train, 10 to test), and Nah et
al., "Deep Multi-scale Convolutional Neural Network for Dynamic Scene Deblurring", CVPR 2017 (GoPro, "nah" in PVDNet's
files: 22 and 11 videos). The layouts are those of PVDNet's published code, and GoPro's own.
"""
from collections.abc import Sequence

import numpy as np

from mmweather.registry import DATASETS

from .base import Layout, PairedClipDataset

__all__ = ['DVD', 'DeblurringDataset', 'GoPro']


class DeblurringDataset(PairedClipDataset):
    """Blurred and sharp clips for recurrent networks: ``num_frames`` targets and context around them.

    Args:
        data_root (str): The dataset's root folder.
        num_frames (int, optional): Targets per clip in training; None for whole videos in testing. Defaults to 13.
        context (int): Frames that are read before and after the targets of a training clip; beyond the ends of a video
            its first or last frame is repeated. Defaults to 1.
        starts (str): Where training clips begin: ``'grid'`` cuts every video into clips of ``num_frames`` that do not
            overlap, as published, and leaves out a shorter rest; ``'random'`` begins anywhere. Defaults to 'grid'.
        **kwargs: See :class:`PairedClipDataset`.
    """

    def __init__(self, data_root: str, num_frames: int | None = 13, context: int = 1, starts: str = 'grid',
                 **kwargs) -> None:
        if starts not in ('grid', 'random'):
            raise ValueError(f"starts must be 'grid' or 'random', got {starts!r}")
        self.context = context
        self.starts = starts
        super().__init__(data_root, num_frames=num_frames, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Scan the folders; see :meth:`PairedClipDataset.load_data_list`."""
        entries = super().load_data_list()
        if self.test_mode or self.starts == 'random':
            return entries
        span = self._span
        return [dict(entry, start=start)
                for entry in entries for start in range(0, len(entry['frame_names']['lq']) - span + 1, span)]

    def choose_frames(self, info: dict, rng: np.random.Generator) -> Sequence[int]:
        """Choose the targets and the context around them."""
        if self.test_mode:
            return super().choose_frames(info, rng)
        length = len(info['frame_names']['lq'])
        start = info['start'] if self.starts == 'grid' else int(rng.integers(length - self._span + 1))
        numbers = range(-self.context, self.num_frames + self.context)
        return [min(max(start + number * self.interval, 0), length - 1) for number in numbers]

    @property
    def _span(self):
        return (self.num_frames - 1) * self.interval + 1


@DATASETS.register_module()
class DVD(DeblurringDataset):
    """The DVD dataset, ``train_DVD|test_DVD/<video>/{input,GT}/*.jpg``.

    Keys: ``lq`` (blurred) and ``gt`` (sharp).

    Args:
        data_root (str): The folder that holds ``train_DVD`` and ``test_DVD``.
        **kwargs: See :class:`DeblurringDataset`.
    """

    METAINFO = dict(dataset_name='DVD')

    HOME = ('download DVD from https://www.cs.ubc.ca/labs/imager/tr/2017/DeepVideoDeblurring/ and give the folder that '
            'holds train_DVD and test_DVD, each with <video>/input and <video>/GT')

    LAYOUTS = (Layout('published', {
        split: dict(lq=f'{split}_DVD/{{video}}/input', gt=f'{split}_DVD/{{video}}/GT') for split in ('train', 'test')
    }), )


@DATASETS.register_module()
class GoPro(DeblurringDataset):
    """The GoPro dataset.

    Keys: ``lq`` (blurred) and ``gt`` (sharp). Three layouts are recognised, in this order:

    - published: ``train_nah|test_nah/<video>/{blur_gamma,sharp}/*.png``;
    - original: ``train|test/<video>/{blur_gamma,sharp}/*.png``, as GOPRO_Large is distributed;
    - original without gamma: ``train|test/<video>/{blur,sharp}/*.png``. GOPRO_Large has both; to read ``blur`` there,
      set ``data_prefix=dict(lq='train/{video}/blur')``.

    Args:
        data_root (str): The folder that holds the splits.
        **kwargs: See :class:`DeblurringDataset`.
    """

    METAINFO = dict(dataset_name='GoPro')

    HOME = ('download GOPRO_Large from https://seungjunnah.github.io/Datasets/gopro and give the folder that holds '
            'train and test, or make one of your own film with tools/dataset_converters/gopro.py')

    LAYOUTS = tuple(
        Layout(name, {split: dict(lq=f'{split}{suffix}/{{video}}/{blurred}', gt=f'{split}{suffix}/{{video}}/sharp')
                      for split in ('train', 'test')})
        for name, suffix, blurred in (('published', '_nah', 'blur_gamma'), ('original', '', 'blur_gamma'),
                                      ('original without gamma', '', 'blur')))
