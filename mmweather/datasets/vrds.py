"""VRDS: rain streaks and raindrops on driving videos.

Wu et al., "Mask-Guided Progressive Network for Joint Raindrop and Rain Streak Removal in Videos", ACM MM 2023. 102
synthetic videos of 1280x720 with the clean frames, the raindrop mask, the streak-free frames and the streak intensity.
"""
from mmweather.registry import DATASETS

from .base import Layout, PairedClipDataset

__all__ = ['VRDS']


@DATASETS.register_module()
class VRDS(PairedClipDataset):
    """The VRDS dataset.

    Keys: ``lq`` (rainy), ``gt`` (clean), ``mask`` (raindrop mask, gray), ``drop`` (raindrops without streaks) and
    ``streak`` (streak intensity, gray); the test split has ``lq`` and ``gt``. Two layouts are recognised, each with the
    frames ``<video>/%08d.png``:

    - published: ``lq, gt, 01drop, drop, mstreak`` for training, ``testlq, testgt`` for testing;
    - RainMamba's: ``lq, gt`` for training, ``test/lq, test/gt`` for testing.

    The published training reads 5 consecutive frames from a random start and repeats the split 1000 times per epoch
    (``times=1000``).

    Args:
        data_root (str): The folder that holds ``lq``, ``gt`` and the others.
        **kwargs: See :class:`PairedClipDataset`.

    Examples:
        >>> dataset = VRDS('data/VRDS', split='test', num_frames=None, test_mode=True)  # one sample per test video
    """

    METAINFO = dict(dataset_name='VRDS')

    HOME = ('download VRDS from https://github.com/TonyHongtaoWu/ViMP-Net and give the folder that holds lq and gt, or '
            'write a synthetic one with `mmweather synth rain --layout vrds`')

    _TRAIN = dict(
        lq='lq/{video}', gt='gt/{video}', mask='01drop/{video}', drop='drop/{video}', streak='mstreak/{video}')

    LAYOUTS = (
        Layout('published', dict(train=_TRAIN, test=dict(lq='testlq/{video}', gt='testgt/{video}'))),
        Layout('RainMamba', dict(train=_TRAIN, test=dict(lq='test/lq/{video}', gt='test/gt/{video}'))),
    )
