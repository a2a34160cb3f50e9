"""Single images from disk: hazy and clear ones that belong together, and hazy ones alone."""
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.synthesis.domains import DOMAINS

from .base import ClipDataset
from .check import DatasetReport, Problem
from .frames import image_size, is_whole, list_frames, natural_key, read_frame
from .synthetic_domains import NO_DOMAIN

__all__ = ['LABELS', 'PairedImages', 'UnlabelledImages']

#: What `mmweather synth domains` calls its labels.
LABELS = 'labels.jsonl'


class ImageDataset(ClipDataset):
    """What the datasets of single images share: a random square in training, the whole image in testing.

    Args:
        data_root (str): The folder.
        crop_size (int, optional): Side of the random square crops in training; smaller images are scaled up to it.
            None takes whole images, which then go into batches of one only. Defaults to 256.
        flip (bool): Mirror half of the training samples. Defaults to True.
        **kwargs: See :class:`ClipDataset`.
    """

    def __init__(self, data_root: str, crop_size: int | None = 256, flip: bool = True, **kwargs) -> None:
        self.crop_size = crop_size
        self.flip = flip
        super().__init__(data_root=data_root, **kwargs)

    def augmented(self, images: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
        """The same crop and the same flip of images of one size; whole images in testing.

        Args:
            images (Sequence[np.ndarray]): uint8 RGB ``(H, W, 3)``.
            rng (np.random.Generator): The sample's own source of randomness.

        Returns:
            list[np.ndarray]: Clips of one frame, uint8 ``(1, h, w, 3)``.
        """
        if not self.test_mode and self.crop_size:
            side, (height, width) = self.crop_size, images[0].shape[:2]
            if min(height, width) < side:
                scale = side / min(height, width)
                height, width = max(side, round(height * scale)), max(side, round(width * scale))
                images = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in images]
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            images = [image[top:top + side, left:left + side] for image in images]
        if not self.test_mode and self.flip and rng.random() < 0.5:
            images = [image[:, ::-1] for image in images]
        return [np.ascontiguousarray(image)[None] for image in images]


@DATASETS.register_module()
class UnlabelledImages(ImageDataset):
    """A folder of photographs of which no clear version exists: the target of an adaptation, or a test set.

    Samples are clips of one frame with ``lq``, ``labelled`` (False) and ``domain`` (-1). In training ``gt`` is the
    photograph itself, so that samples of this and of labelled datasets fit into one batch; in testing there is none.

    Args:
        data_root (str): The folder, searched recursively.
        **kwargs: See :class:`ImageDataset`.

    Raises:
        UserError: If it is no folder or holds no images.
    """

    METAINFO = dict(dataset_name='UnlabelledImages')

    def load_data_list(self) -> list[dict]:
        """Find the images.

        Returns:
            list[dict]: For each image its ``path`` and its ``name`` relative to the folder.
        """
        root = Path(self.data_root)
        if not root.is_dir():
            raise UserError(f'{root} is no folder: give a folder of photographs as data_root')
        folders = sorted((path for path in (root, *root.rglob('*')) if path.is_dir()), key=lambda path: str(path))
        images = [folder / name for folder in folders for name in list_frames(folder)]
        if not images:
            raise UserError(f'{root} holds no images: give a folder of PNG or JPEG photographs as data_root')
        return [dict(path=str(path), name=path.relative_to(root).as_posix()) for path in images]

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Read an image; see :meth:`ClipDataset.draw_sample`."""
        info = self.get_data_info(index)
        lq, = self.augmented([read_frame(info['path'])], rng)
        target = {} if self.test_mode else dict(gt=lq.copy())
        return dict(target, lq=lq, domain=NO_DOMAIN, labelled=False, key=info['name'], video='unlabelled',
                    names=[Path(info['name']).name], ori_shape=lq.shape[1:3])


@DATASETS.register_module()
class PairedImages(ImageDataset):
    """Hazy images with their clear versions, one clear image for one hazy image or for many.

    Folders, of which the first pair that is there is taken: ``hazy`` and ``clear`` (RESIDE), ``hazy`` and ``gt`` (its
    test sets), ``lq`` and ``gt``, ``input`` and ``target``; below ``<split>/`` if there is such a folder. A hazy image
    belongs to the clear one of the same name, or of the longest name that is its beginning up to an underscore: RESIDE
    calls the hazy versions of ``0001.png`` ``0001_0.8_0.2.jpg`` and so on. Suffixes do not matter. Where a
    ``labels.jsonl`` lies beside the folders, as ``mmweather synth domains`` writes it, the pairs and their domains come
    from there.

    Samples are clips of one frame with ``lq``, ``gt``, ``labelled`` (True) and ``domain`` (an index in ``DOMAINS``, -1
    without labels).

    Args:
        data_root (str): The folder that holds both.
        split (str): Name of a folder in between, such as ``'train'``. Defaults to '': none.
        data_prefix (dict[str, str], optional): Folders of other names, ``dict(lq='foggy', gt='sunny')``. Defaults to
            None.
        **kwargs: See :class:`ImageDataset`.

    Raises:
        UserError: If there are no such folders, a hazy image has no clear one, or their sizes differ.
    """

    METAINFO = dict(dataset_name='PairedImages', domains=DOMAINS)

    FOLDERS = (('hazy', 'clear'), ('hazy', 'gt'), ('lq', 'gt'), ('input', 'target'))

    def __init__(self, data_root: str, split: str = '', data_prefix: dict | None = None, **kwargs) -> None:
        self.split = split
        self.folders = data_prefix
        super().__init__(data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Pair the images.

        Returns:
            list[dict]: For each hazy image ``lq`` and ``gt`` (paths), ``name`` and ``domain``.
        """
        lq, gt = self.find_folders(self.data_root, self.split, self.folders)
        entries = []
        for name, (partner, domain) in self.pairs(lq, gt).items():
            if partner is None:
                raise UserError(f'{lq / name} has no clear version in {gt}: restore it, or run `mmweather data check '
                                f'--dataset pairedimages` to see all that is missing')
            entries.append(dict(lq=str(lq / name), gt=str(gt / partner), name=name, domain=domain))
        if not entries:
            raise UserError(f'{lq} holds no images: put the hazy images there')
        return entries

    def draw_sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Read a pair; see :meth:`ClipDataset.draw_sample`."""
        info = self.get_data_info(index)
        hazy = read_frame(info['lq'])
        clear = read_frame(info['gt'])
        if hazy.shape != clear.shape:
            raise UserError(f'{info["lq"]} is {hazy.shape[1]}x{hazy.shape[0]} but {info["gt"]} is {clear.shape[1]}x'
                            f'{clear.shape[0]}: replace one of them, or run `mmweather data check` to see every such '
                            f'pair')
        lq, gt = self.augmented([hazy, clear], rng)
        domain = DOMAINS[info['domain']] if info['domain'] != NO_DOMAIN else 'paired'
        return dict(lq=lq, gt=gt, domain=info['domain'], labelled=True, key=info['name'], video=domain,
                    names=[info['name']], ori_shape=lq.shape[1:3])

    @classmethod
    def find_folders(cls, root: str | Path, split: str = '', folders: dict | None = None) -> tuple[Path, Path]:
        """The folders of the hazy and of the clear images.

        Args:
            root (str | Path): The folder that holds both.
            split (str): Name of a folder in between. Defaults to ''.
            folders (dict[str, str], optional): ``lq`` and ``gt`` of other names. Defaults to None.

        Returns:
            tuple[Path, Path]: Hazy and clear.

        Raises:
            UserError: If they are not there.
        """
        root = Path(root)
        if not root.is_dir():
            raise UserError(f'{root} is no folder: give the folder that holds the hazy and the clear images')
        root = root / split
        pairs = [(folders['lq'], folders['gt'])] if folders else cls.FOLDERS
        for lq, gt in pairs:
            if (root / lq).is_dir() and (root / gt).is_dir():
                return root / lq, root / gt
        wanted = ' or '.join(f'{lq}/ and {gt}/' for lq, gt in pairs)
        raise UserError(f'{root} holds no pairs of images: expected the folders {wanted}')

    @classmethod
    def pairs(cls, lq: Path, gt: Path) -> dict[str, tuple[str | None, int]]:
        """Which hazy image belongs to which clear one.

        Args:
            lq (Path): Folder of the hazy images.
            gt (Path): Folder of the clear images.

        Returns:
            dict[str, tuple[str | None, int]]: For each hazy image, in natural order, the name of the clear one (None
            if there is none) and the index of its domain.
        """
        clear = {Path(name).stem: name for name in list_frames(gt)}
        labels = read_labels(lq.parent / LABELS)
        found = {}
        for name in list_frames(lq):
            if name in labels:
                partner, domain = labels[name]['gt'], DOMAINS.index(labels[name]['domain'])
                found[name] = (partner if partner in clear.values() else None), domain
            else:
                found[name] = clear.get(_clear_stem(Path(name).stem, clear)), NO_DOMAIN
        return found

    @classmethod
    def check(cls, root: str | Path, splits: Sequence[str] | None = None, deep: bool = False,
              track: Callable[[Iterable, int], Iterable] = lambda items, total: items) -> DatasetReport:
        """Count the pairs and find what is wrong with them; see :func:`mmweather.datasets.check.check_dataset`.

        Args:
            root (str | Path): The folder.
            splits (Sequence[str], optional): The splits that must be there. Defaults to None: ``train`` and ``test``
                as far as there are such folders, else the folder itself.
            deep (bool): Decode every image. Defaults to False.
            track (Callable): Wraps the iteration to show progress; called with an iterable and its length.

        Returns:
            DatasetReport: The counts and the problems; ``videos`` of a row counts nothing here and is 1.

        Raises:
            UserError: If the folder holds no pairs.
        """
        root = Path(root)
        splits = splits or [split for split in ('train', 'test') if (root / split).is_dir()] or ['']
        report = DatasetReport(cls.__name__, str(root))
        for split in splits:
            lq, gt = cls.find_folders(root, split)
            pairs = cls.pairs(lq, gt)
            sizes = {'lq': Counter(), 'gt': Counter()}
            clear = list_frames(gt)
            known = {}
            for name in track(clear, len(clear)):
                known[name] = _look(gt / name, deep)
            used = {partner for partner, _ in pairs.values()}
            for name in sorted(set(clear) - used, key=natural_key):
                report.problems.append(Problem('extra', split, 'gt', str(gt / name), 'no hazy image belongs to it'))
            for name, (partner, _) in track(pairs.items(), len(pairs)):
                size, fault = _look(lq / name, deep)
                if fault:
                    report.problems.append(Problem('unreadable', split, 'lq', str(lq / name), fault))
                else:
                    sizes['lq'][size] += 1
                if partner is None:
                    report.problems.append(Problem('missing', split, 'gt', str(lq / name), 'it has no clear version'))
                elif size and known[partner][0] and size != known[partner][0]:
                    (height, width), (clear_height, clear_width) = size, known[partner][0]
                    report.problems.append(Problem('size', split, 'lq', str(lq / name), f'{width}x{height} instead of '
                                                   f'{clear_width}x{clear_height}, the size of {partner}'))
            for name, (size, fault) in known.items():
                if fault:
                    report.problems.append(Problem('unreadable', split, 'gt', str(gt / name), fault))
                else:
                    sizes['gt'][size] += 1
            for key, folder in (('lq', lq), ('gt', gt)):
                report.rows.append(dict(
                    split=split or 'all', layout=f'{lq.name}/{gt.name}', key=key, folder=str(folder.relative_to(root)),
                    videos=1, frames=len(list_frames(folder)),
                    sizes={f'{width}x{height}': count for (height, width), count in sizes[key].most_common()}))
        return report


def read_labels(path: Path) -> dict[str, dict]:
    """Read the labels that `mmweather synth domains` writes.

    Args:
        path (Path): The file of JSON lines; it need not exist.

    Returns:
        dict[str, dict]: The labels by the name of the hazy image; empty without a file.

    Raises:
        UserError: If a line is no label.
    """
    if not path.is_file():
        return {}
    labels = {}
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        try:
            label = json.loads(line)
            known = label['domain'] in DOMAINS and isinstance(label['gt'], str)
            labels[label['lq']] = label
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise UserError(f'{path} has no label in line {number}: write it again with `mmweather synth domains`')
    return labels


def _clear_stem(stem: str, clear: dict[str, str]) -> str | None:
    """The longest beginning of a hazy image's name, up to an underscore, that names a clear one."""
    while stem and stem not in clear:
        stem = stem.rpartition('_')[0]
    return stem or None


def _look(path: Path, deep: bool) -> tuple[tuple[int, int] | None, str | None]:
    """Size and fault of an image."""
    try:
        size = image_size(path)
        if not is_whole(path):
            return None, 'the file is truncated'
        if deep:
            read_frame(path)
    except UserError:
        return None, 'the file is empty' if path.stat().st_size == 0 else 'the file is damaged or no image'
    return size, None
