"""SFVC, Stereo Foggy Video Cityscapes: foggy stereo clips of driving and their clear partners.

The data set of PMCN: clips of 7 frames of 2048x1024 from Cityscapes' sequences, 2973 to train and 453 to test, in fog
of three densities. It was published by list files; ``tools/dataset_converters/sfvc.py`` makes the fog anew.
"""
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.synthesis.sfvc import IMAGES, LISTS, PLAIN, lists_folder

from .base import FrameFolder, Layout, PairedClipDataset
from .frames import natural_key

__all__ = ['SFVC']

#: From our keys to the view and the kind that they hold.
_KEYS = dict(lq=('left', 'hazy'), right_lq=('right', 'hazy'), gt=('left', 'clear'), right_gt=('right', 'clear'))
_SPLITS = dict(train='train', test='val')
#: Cityscapes' names: city, sequence and frame number, then view and kind.
_NAME = re.compile(r'(?P<sequence>.+)_(?P<frame>\d+)_(?:left|right)Img8bit')


def _published(beta: float, split: str) -> dict[str, str]:
    """Templates of list files; what follows the colon stands for a clip in the list."""
    return {key: f'{lists_folder(beta)}/{LISTS[part]}:{_SPLITS[split]}/{{video}}' for key, part in _KEYS.items()}


def _plain(split: str, suffix: str = '') -> dict[str, str]:
    return {key: PLAIN.format(split=split, view=view, kind=kind if kind == 'clear' else kind + suffix,
                              sequence='{video}') for key, (view, kind) in _KEYS.items()}


def _layouts(betas: Sequence[float]) -> tuple[Layout, ...]:
    """All layouts; a split with a density in its name is what shares its root with other densities."""
    return (
        Layout('published', {f'{split}_{beta:g}': _published(beta, split) for beta in betas for split in _SPLITS}),
        Layout('plain', {f'{split}_{beta:g}': _plain(split, f'_{beta:g}') for beta in betas for split in _SPLITS}),
        Layout('plain, one density', {split: _plain(split) for split in _SPLITS}),
        Layout('plain, one split', {split: {key: folder.lstrip('./') for key, folder in _plain('.').items()}
                                    for split in _SPLITS}),
    )


@DATASETS.register_module()
class SFVC(PairedClipDataset):
    """The SFVC dataset, left and right view together.

    Keys: ``lq`` and ``right_lq`` (foggy), ``gt`` and ``right_gt`` (clear); :class:`StackViews` makes stereo clips of
    them. Layouts, of which the first that is there is read:

    - published: ``lists_file_names_<beta>/`` with four list files whose lines are paths below
      ``Stereo_Foggy_Video_Cityscapes/``. A line belongs to the split that its path names (``train``, ``val``), and
      frames that follow each other in number are a clip, called after its middle frame;
    - plain: ``{train,test}/{left,right}_{hazy_<beta>,clear}/<sequence>/<frame>``;
    - plain, one density: the same without ``_<beta>``, as ``mmweather synth haze`` writes it; or without the split's
      folder, if the folder is one split.

    Args:
        data_root (str): The folder.
        split (str): ``'train'`` or ``'test'``. Defaults to 'train'.
        beta (float | Sequence[float], optional): Density of the fog in 1/m, or several, whose clips then follow each
            other. None for a folder of one density that does not name it. Defaults to 0.01.
        num_frames (int, optional): Frames per clip; None for whole clips in testing. Defaults to 7.
        **kwargs: See :class:`PairedClipDataset`.

    Examples:
        >>> dataset = SFVC('data/SFVC', split='test', beta=0.005, num_frames=None, test_mode=True)
    """

    METAINFO = dict(dataset_name='SFVC')

    HOME = ('make it from Cityscapes with tools/dataset_converters/sfvc.py, or write a synthetic one with `mmweather '
            'synth haze --layout sfvc`, and give the folder that holds lists_file_names_<beta>, train or left_hazy')

    LAYOUTS = _layouts((0.005, 0.01, 0.02))

    def __init__(self, data_root: str, split: str = 'train', beta: float | Sequence[float] | None = 0.01,
                 num_frames: int | None = 7, **kwargs) -> None:
        if split not in _SPLITS:
            raise ValueError(f'split: expected one of {", ".join(_SPLITS)}, got {split!r}')
        self.betas = (beta, ) if beta is None or isinstance(beta, (int, float)) else tuple(beta)
        super().__init__(data_root, split=split, num_frames=num_frames, **kwargs)

    def scan(self) -> dict[str, dict[str, FrameFolder]]:
        """Find the clips of the split; with several densities their names begin with the density."""
        found, split = {}, self.split
        for beta in self.betas:
            self.split = split if beta is None else f'{split}_{beta:g}'
            for video, frames in super().scan().items():
                found[f'{beta:g}/{video}' if len(self.betas) > 1 else video] = frames
        self.split = split
        return found

    @classmethod
    def layouts_of(cls, split: str) -> list[Layout]:
        """The layouts of a split, such as ``'train_0.03'``: the converter makes any density."""
        beta = split.partition('_')[2]
        return [layout for layout in _layouts([float(beta)] if beta else []) if split in layout.splits]

    @staticmethod
    def list_videos(root: Path, template: str) -> list[str]:
        """Names of the clips in a list file, or of the folders; see :meth:`PairedClipDataset.list_videos`."""
        if '.txt:' in template:
            return list(_read_list(root, template))
        return PairedClipDataset.list_videos(root, template)

    @classmethod
    def inventory(cls, root: Path, folders: Mapping[str, str]) -> dict[str, dict[str, FrameFolder | None]]:
        """Look what is there, without judging; see :meth:`PairedClipDataset.inventory`."""
        if not all('.txt:' in template for template in folders.values()):
            return super().inventory(root, folders)
        lists = {key: _read_list(root, template) for key, template in folders.items()}
        videos = {video for clips in lists.values() for video in clips}
        return {video: {key: clips.get(video) for key, clips in lists.items()}
                for video in sorted(videos, key=natural_key)}

    @classmethod
    def frame_id(cls, key: str, name: str) -> str:
        """What frames of different keys have in common: Cityscapes' name up to the frame number, or the stem."""
        match = _NAME.match(name)
        return f'{match["sequence"]}_{match["frame"]}' if match else super().frame_id(key, name)


def _read_list(root: Path, template: str) -> dict[str, FrameFolder]:
    """The clips of one split in a list file.

    Args:
        root (Path): The dataset's root.
        template (str): ``<list file>:<split>/{video}``.

    Returns:
        dict[str, FrameFolder]: The clips by name; none if the list is not there.

    Raises:
        UserError: If the list cannot be read or a line is no name of Cityscapes.
    """
    file, _, wanted = template.partition(':')
    path = root / file
    if not path.is_file():
        return {}
    try:
        lines = path.read_text(encoding='utf-8').split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path} cannot be read ({error}): restore it from the original archive') from error
    split = wanted.partition('/')[0]
    clips, before = [], None
    for line in lines:
        if split not in line.split('/'):
            continue
        folder, _, name = line.rpartition('/')
        match = _NAME.match(name)
        if match is None:
            raise UserError(f'{path} has the line {line}, which is no name of Cityscapes such as '
                            'aachen_000000_000019_leftImg8bit.png: restore it from the original archive')
        place = folder, match['sequence'], int(match['frame'])
        if before is None or place != (*before[:2], before[2] + 1):
            clips.append((folder, []))
        clips[-1][1].append(name)
        before = place
    return {SFVC.frame_id('', names[len(names) // 2]): FrameFolder(root / IMAGES / folder, names)
            for folder, names in clips}
