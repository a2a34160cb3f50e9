"""Hazy images of many domains on disk, with labels: what ``mmweather synth domains`` writes.

``hazy/<name>_<domain>.png`` (``_<domain>-2`` and so on where there are several), ``clear/<name>.png`` and
``labels.jsonl``, one line per hazy image with its domain, seed and all parameters. An image follows from the user's
seed, its name, the domain and the number alone: neither other images nor the number of workers change it.
"""
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmweather.errors import UserError

from .depth import estimate_depth
from .domains import degrade, depth_range
from .randomness import generator

__all__ = ['LABELS', 'ClearImage', 'read_depth', 'write_domains']

#: Name of the file of labels.
LABELS = 'labels.jsonl'


@dataclass(frozen=True)
class ClearImage:
    """A clear image that is read when its turn comes.

    Args:
        name (str): Name without suffix.
        read (Callable): Returns the image, uint8 RGB ``(H, W, 3)``, and its depth in metres ``(H, W)``, or None where
            that is to be estimated.
    """
    name: str
    read: Callable


def write_domains(images, root, domains, per_image=1, seed=0, workers=2, progress=lambda done, total: None):
    """Degrade clear images and write them with their labels; a run that was interrupted is continued.

    Args:
        images (Sequence[ClearImage]): The clear images.
        root (Path): The folder; made if it is not there, but not its parents.
        domains (Sequence[str]): Names of domains.
        per_image (int): Images per clear image and domain. Defaults to 1.
        seed (int): Seed. Defaults to 0.
        workers (int): Threads. Defaults to 2.
        progress (Callable): Called with the hazy images done and those in all.

    Returns:
        tuple[int, int]: Images written, and images that were there already.

    Raises:
        UserError: If two images have one name, the folder holds images of another seed, or it cannot be written to.
    """
    root = Path(root)
    names = [image.name for image in images]
    twins = {name for name in names if names.count(name) > 1}
    if twins:
        raise UserError(f'{sorted(twins)[0]} is the name of two images: rename one of them')
    known = _prepare(root)
    wanted = {image.name: _wanted(image.name, domains, per_image, seed) for image in images}
    kept = {}
    for name, entries in wanted.items():
        for entry in entries:
            label = known.get(entry['lq'])
            if label and label['seed'] != entry['seed']:
                raise UserError(f'{root} holds {entry["lq"]} made with another seed: choose another folder')
            if label and (root / 'hazy' / entry['lq']).is_file() and (root / 'clear' / f'{name}.png').is_file():
                kept[entry['lq']] = label
    total = sum(map(len, wanted.values()))
    labels = dict(known, **kept)
    done = len(kept)
    progress(done, total)
    try:
        with open(root / LABELS, 'a', encoding='utf-8') as file, ThreadPoolExecutor(workers) as pool:
            try:
                jobs = ((image, [entry for entry in wanted[image.name] if entry['lq'] not in kept])
                        for image in images)
                for made in _as_completed(pool, 2 * workers, ((root, *job) for job in jobs if job[1])):
                    for label in made:
                        # a line at a time, so that a killed run loses nothing but the image in the making
                        file.write(json.dumps(label) + '\n')
                        labels[label['lq']] = label
                        done += 1
                    file.flush()
                    progress(done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _write_labels(root, labels)
    except OSError as error:
        raise UserError(f'{root} cannot be written to ({error.strerror.lower()}): make room or choose another '
                        'folder') from error
    return total - len(kept), len(kept)


def read_depth(path, size):
    """Read a depth map.

    Args:
        path (Path): ``.npy`` or ``.npz`` (its ``depth``) in metres, or a 16-bit image in millimetres.
        size (tuple[int, int]): Height and width that it must have.

    Returns:
        numpy.ndarray: float32 ``(H, W)``, metres.

    Raises:
        UserError: If it is no such file, of another size, or not positive and finite.
    """
    try:
        if path.suffix in ('.npy', '.npz'):
            depth = np.load(path, allow_pickle=False)
            depth = depth['depth'] if path.suffix == '.npz' else depth
        else:
            depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if depth is None or depth.dtype != np.uint16:
                raise ValueError('expected 16 bits')
            depth = depth / 1000
        depth = np.asarray(depth, np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{path} is no depth map: give metres as .npy or millimetres as 16-bit .png') from error
    if depth.shape != tuple(size):
        raise UserError(f'{path} has the shape {depth.shape} but its image is {size[1]}x{size[0]}: scale it to that')
    if not (np.isfinite(depth).all() and (depth > 0).all()):
        raise UserError(f'{path} has depths that are not positive and finite: fill them, the sky with 10000')
    return depth


def _prepare(root):
    """Make the folders, and read the labels of an earlier run as far as they are whole."""
    try:
        for folder in (root, root / 'hazy', root / 'clear'):
            folder.mkdir(parents=True, exist_ok=True)
        if not (root / LABELS).exists():
            return {}
        labels = {}
        for line in (root / LABELS).read_text(encoding='utf-8').splitlines():
            try:
                label = json.loads(line)
                labels[label['lq']] = dict(label, seed=int(label['seed']))
            except (ValueError, KeyError, TypeError):
                # the line that was being written when the run was killed: its image is made again
                continue
        _write_labels(root, labels)
        return labels
    except OSError as error:
        raise UserError(f'{root} cannot be written to ({error.strerror.lower()}): choose another folder') from error


def _wanted(name, domains, per_image, seed):
    """For each image to be made its name, domain and seed."""
    entries = []
    for domain in domains:
        for number in range(per_image):
            own = int(generator(seed, 'domains', name, domain, number).integers(2**31))
            suffix = f'-{number + 1}' if number else ''
            entries.append(dict(lq=f'{name}_{domain}{suffix}.png', gt=f'{name}.png', domain=domain, seed=own))
    return entries


def _degrade_image(root, image, entries):
    """Make the images of one clear image; returns their labels."""
    clear, depth = image.read()
    source = 'given' if depth is not None else 'estimated'
    depth = estimate_depth(clear) if depth is None else depth
    limits = depth_range(depth)
    if not (root / 'clear' / entries[0]['gt']).is_file():
        _write_image(root / 'clear' / entries[0]['gt'], clear)
    labels = []
    for entry in entries:
        made = degrade(clear, depth, entry['domain'], entry['seed'], limits)
        _write_image(root / 'hazy' / entry['lq'], made.lq)
        labels.append(dict(entry, depth=source, limits=[float(limit) for limit in limits], params=made.params))
    return labels


def _as_completed(pool, most, jobs: Iterable):
    """Labels as they come; at most so many jobs wait at any time, since images are large."""
    waiting = set()
    for job in jobs:
        waiting.add(pool.submit(_degrade_image, *job))
        if len(waiting) >= most:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    while waiting:
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in finished)


def _write_image(path, image):
    _, data = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    part = path.with_name(f'.{path.name}.part')
    try:
        part.write_bytes(data.tobytes())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _write_labels(root, labels):
    part = root / f'.{LABELS}.part'
    part.write_text(''.join(json.dumps(labels[name]) + '\n' for name in sorted(labels)), encoding='utf-8')
    os.replace(part, root / LABELS)
