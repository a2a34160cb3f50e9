"""Make Stereo Foggy Video Cityscapes (SFVC) from Cityscapes: foggy stereo clips and their clear partners.

    python tools/dataset_converters/sfvc.py data/cityscapes data/SFVC --beta 0.005 0.01 0.02 --workers 16

Needs the archives leftImg8bit_sequence, rightImg8bit_sequence and camera of Cityscapes, unpacked side by side.
Disparity comes from disparity_sequence where it holds all frames of a clip, and from semi-global matching elsewhere.
There is one clip around every annotated frame. Fog is laid as mmweather.synthesis.fog describes, with one airlight per
clip.

A run that was ended, however harshly, is taken up again by the same command: manifest.jsonl in the output says which
clips are whole and how they were made.
"""
import argparse
import json
import multiprocessing
import os
import shutil
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path

import cv2

from mmweather.errors import UserError
from mmweather.synthesis.dataset_video import encode_image
from mmweather.synthesis.sfvc import IMAGES, LISTS, PLAIN, image_path, lists_folder

MANIFEST = 'manifest.jsonl'
# of the frames' and disparities' files, by Cityscapes' folder
SEQUENCE = '{side}Img8bit_sequence/{split}/{city}/{frame}_{side}Img8bit.png'
DISPARITY = 'disparity_sequence/{split}/{city}/{frame}_disparity.png'
VIEWS = ('left', 'right')


@dataclass(frozen=True)
class Clip:
    """One clip to make.

    Args:
        root (Path): Cityscapes' folder.
        split (str): ``'train'`` or ``'val'``.
        name (str): Cityscapes' name of the annotated frame, around which the clip is.
        frames (tuple[str]): Cityscapes' names of the frames.
    """

    root: Path
    split: str
    name: str
    frames: tuple

    def source(self, pattern, frame, side=''):
        """A file of Cityscapes."""
        city = frame.partition('_')[0]
        return self.root / pattern.format(side=side, split=self.split, city=city, frame=frame)

    @property
    def camera(self):
        """Path: The camera file."""
        return camera_file(self.root, self.split, self.name)

    def missing(self):
        """Path or None: A frame that is not there."""
        files = (self.source(SEQUENCE, frame, side) for frame in self.frames for side in VIEWS)
        return next((file for file in files if not file.is_file()), None)


def main(argv=None):
    """Runs the conversion.

    Args:
        argv (list[str], optional): Arguments; those of the process by default.

    Returns:
        int: Exit code, 0 or 2.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('cityscapes', type=Path, metavar='CITYSCAPES_ROOT', help='folder of the unpacked archives')
    parser.add_argument('output', type=Path, metavar='OUT', help='folder of the new data set')
    parser.add_argument('--beta', type=float, nargs='+', default=[0.005, 0.01, 0.02], metavar='B',
                        help='densities of the fog in 1/m (0.005 0.01 0.02)')
    parser.add_argument('--layout', choices=['published', 'plain'], default='published',
                        help='list files and Cityscapes\' names, or <split>/{left,right}_{hazy_<beta>,clear}/<clip>')
    parser.add_argument('--splits', nargs='+', choices=['train', 'val'], default=['train', 'val'],
                        help='which to convert (train val); the plain layout calls val "test"')
    parser.add_argument('--frames', type=int, default=7, metavar='N', help='frames per clip, odd (7)')
    parser.add_argument('--limit', type=int, metavar='N', help='at most so many clips per split, for a trial')
    parser.add_argument('--copy', action='store_true',
                        help='copy the clear frames; without, they become hard links where the file system can')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N',
                        help='processes (one per core); each takes some 0.8 GB for frames of 1024x2048')
    parser.add_argument('--seed', type=int, default=0, help='of the depth completion (0)')
    parser.add_argument('-q', '--quiet', action='store_true', help='no progress')
    args = parser.parse_args(argv)
    try:
        print(convert(args))
    except UserError as error:
        print(f'sfvc.py: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def convert(args):
    """Converts what is not converted yet.

    Args:
        args (argparse.Namespace): See ``-h``.

    Returns:
        str: What was done, in a sentence.

    Raises:
        UserError: If an option does not fit, a file cannot be read or written, or OUT was made with other options.
    """
    check(args)
    clips, skipped = find_clips(args)
    manifest = Manifest(args)
    waiting = [clip for clip in clips if not manifest.is_whole(clip)]
    run(waiting, args, manifest)
    if args.layout == 'published':
        write_lists(args, manifest.clips.values())
    line = f'{args.output}: {len(clips)} clips, {len(waiting)} of them new'
    if skipped:
        line += f'; {len(skipped)} left out because frames are missing, first {skipped[0]}'
    return line


def check(args):
    """Refuses options that make no sense."""
    if args.frames < 1 or args.frames % 2 == 0:
        raise UserError(f'--frames {args.frames}: must be odd, since the annotated frame is the one in the middle')
    if args.workers < 1 or (args.limit is not None and args.limit < 1):
        raise UserError('--workers and --limit must be at least 1: give another number or leave them out')
    if not all(beta > 0 for beta in args.beta) or len({f'{beta:g}' for beta in args.beta}) < len(args.beta):
        raise UserError(f'--beta {" ".join(map(str, args.beta))}: must be positive densities that differ')
    if not args.cityscapes.is_dir():
        raise UserError(f'{args.cityscapes} is not a folder: give the one that holds leftImg8bit_sequence')
    for name in ('leftImg8bit_sequence', 'rightImg8bit_sequence', 'camera'):
        if not (args.cityscapes / name).is_dir():
            raise UserError(f'{args.cityscapes / name} does not exist: unpack {name}_trainvaltest.zip of Cityscapes '
                            f'into {args.cityscapes}')


def camera_file(root, split, frame):
    """The camera file of an annotated frame."""
    return root / 'camera' / split / frame.partition('_')[0] / f'{frame}_camera.json'


def find_clips(args):
    """The clips around the annotated frames, which are those that have a camera file.

    Returns:
        tuple[list[Clip], list[Path]]: The clips whose frames are there, and of every other one a frame that is not.
    """
    half = args.frames // 2
    clips, skipped = [], []
    for split in args.splits:
        found = 0
        for path in sorted((args.cityscapes / 'camera' / split).glob('*/*_camera.json')):
            name = path.name.removesuffix('_camera.json')
            sequence, _, number = name.rpartition('_')
            if not number.isdecimal():
                continue
            frames = tuple(f'{sequence}_{int(number) + step:06d}' for step in range(-half, half + 1))
            clip = Clip(args.cityscapes, split, name, frames)
            missing = clip.missing()
            if missing:
                skipped.append(missing)
                continue
            clips.append(clip)
            found += 1
            if found == args.limit:
                break
    if not clips:
        example = skipped[0] if skipped else args.cityscapes / 'camera' / args.splits[0]
        raise UserError(f'{args.cityscapes} holds no clip of {args.frames} frames in {" and ".join(args.splits)} '
                        f'(missing for example {example}): unpack leftImg8bit_sequence, rightImg8bit_sequence and '
                        'camera there')
    return clips, skipped


class Manifest:
    """Which clips are whole and how they were made: a line of settings, then a line per clip as it is done.

    A line is added when all files of its clip are in place, so whatever ends a run, no line lies. A last line that was
    cut off is dropped.

    Args:
        args (argparse.Namespace): See ``-h``.

    Attributes:
        clips (dict[str, dict]): The clips that are whole, by name.

    Raises:
        UserError: If the folder was made with other settings, or holds something else.
    """

    def __init__(self, args):
        self.path = args.output / MANIFEST
        self._args = args
        settings = {'beta': sorted(args.beta), 'frames': args.frames, 'layout': args.layout, 'seed': args.seed}
        self.clips = {}
        try:
            if self.path.is_file():
                self._read(settings)
            else:
                self._begin(args.output, settings)
        except OSError as error:
            raise UserError(f'{self.path} cannot be written ({error.strerror}): choose another OUT') from error

    def _read(self, settings):
        text = self.path.read_text(encoding='utf-8')
        lines = text[:text.rfind('\n') + 1].splitlines()
        try:
            records = [json.loads(line) for line in lines]
            there = records[0]['settings']
            self.clips = {record['clip']: record for record in records[1:]}
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise UserError(f'{self.path} is no manifest of this script: choose another OUT') from error
        for name, value in settings.items():
            if there.get(name) != value:
                raise UserError(f'{self.path} says that {name} was {there.get(name)} when this folder was begun, not '
                                f'{value}: repeat that or choose another OUT')
        if len(text) > text.rfind('\n') + 1:
            self._replace(lines)

    def _begin(self, folder, settings):
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f'{folder} is not empty and has no {MANIFEST}: choose an empty or new folder')
        folder.mkdir(parents=True, exist_ok=True)
        self._replace([json.dumps({'settings': settings})])

    def _replace(self, lines):
        part = self.path.with_name(f'.{self.path.name}.part')
        part.write_text(''.join(f'{line}\n' for line in lines), encoding='utf-8')
        os.replace(part, self.path)

    def is_whole(self, clip):
        """Whether a clip was made and nobody has removed its files since."""
        return clip.name in self.clips and all(path.is_file() for path in outputs(clip, self._args).values())

    def add(self, record):
        """Note that a clip is whole."""
        try:
            with self.path.open('a', encoding='utf-8') as file:
                file.write(f'{json.dumps(record)}\n')
        except OSError as error:
            raise UserError(f'{self.path} cannot be written ({error.strerror}): free some space') from error
        self.clips[record['clip']] = record


def outputs(clip, args):
    """The files of a clip.

    Returns:
        dict[tuple, Path]: By frame, view and density; the density is None for the clear frame.
    """
    files = {}
    for frame in clip.frames:
        for view in VIEWS:
            for beta in (None, *args.beta):
                if args.layout == 'published':
                    path = Path(IMAGES, image_path(view, clip.split, frame, beta))
                else:
                    folder = PLAIN.format(split={'val': 'test'}.get(clip.split, clip.split), view=view,
                                          kind='clear' if beta is None else f'hazy_{beta:g}', sequence=clip.name)
                    path = Path(folder, f'{frame}.png')
                files[frame, view, beta] = args.output / path
    return files


def run(clips, args, manifest):
    """Makes clips, in this process or in several."""
    from mmweather.cli.progress import progress_on_stderr
    with progress_on_stderr(args.quiet) as progress:
        done = 0

        def finish(record):
            nonlocal done
            manifest.add(record)
            done += 1
            progress(done * args.frames, len(clips) * args.frames)

        if args.workers == 1:
            for clip in clips:
                finish(make_clip(clip, args))
            return
        with ProcessPoolExecutor(min(args.workers, max(len(clips), 1)), multiprocessing.get_context('spawn'),
                                 start_worker) as pool:
            futures = [pool.submit(make_clip, clip, args) for clip in clips]
            try:
                for future in as_completed(futures):
                    finish(future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def start_worker():
    """Prepares a process: one thread, and an end when the parent is killed, which would leave it waiting for ever."""
    cv2.setNumThreads(1)

    def follow():
        connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def make_clip(clip, args):
    """Lays fog of all densities over one clip.

    Args:
        clip (Clip): The clip.
        args (argparse.Namespace): See ``-h``.

    Returns:
        dict: The clip's line in the manifest.

    Raises:
        UserError: If a file cannot be read or written.
    """
    from mmweather.synthesis.fog import StereoCamera, StereoFog, decode_disparity, estimate_airlight
    camera = StereoCamera.read(clip.camera)
    airlight = estimate_airlight(read(clip.source(SEQUENCE, clip.name, 'left')))
    # a clip with disparities from two sources would flicker
    measured = all(clip.source(DISPARITY, frame).is_file() for frame in clip.frames)
    files = outputs(clip, args)
    for frame in clip.frames:
        sources = {view: clip.source(SEQUENCE, frame, view) for view in VIEWS}
        views = {view: read(source) for view, source in sources.items()}
        disparity = None
        if measured:
            path = clip.source(DISPARITY, frame)
            disparity = read_disparity(path, decode_disparity)
        try:
            fog = StereoFog(views['left'], views['right'], camera, disparity, args.seed)
        except (UserError, ValueError) as error:
            raise UserError(f'{sources["left"]}: {error}') from error
        for beta in args.beta:
            for view, image in zip(VIEWS, fog(beta, airlight)):
                put(files[frame, view, beta], encode_image(image))
        for view in VIEWS:
            put(files[frame, view, None], sources[view], args.copy)
    return {'clip': clip.name, 'split': clip.split, 'frames': list(clip.frames),
            'airlight': [round(float(value), 6) for value in airlight],
            'disparity': 'disparity_sequence' if measured else 'semi-global matching',
            'camera': {'fx': camera.fx, 'fy': camera.fy, 'cx': camera.cx, 'cy': camera.cy,
                       'baseline': camera.baseline}}


def read(path):
    """A frame as RGB."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise UserError(f'{path} cannot be read as an image: restore it from the archive')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_disparity(path, decode):
    """A disparity file, in pixels."""
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    try:
        return decode(values)
    except (ValueError, AttributeError) as error:
        raise UserError(f'{path} is no 16-bit disparity of Cityscapes: restore it from the archive') from error


def put(path, content, copy=False):
    """Puts bytes, or a link to or a copy of another file, in its place, whole or not at all."""
    part = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        # renaming one link of a file to another would leave both
        path.unlink(missing_ok=True)
        if isinstance(content, bytes):
            part.write_bytes(content)
        elif copy or not link(content, part):
            shutil.copyfile(content, part)
        os.replace(part, path)
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror}): make room or choose another OUT') from error


def link(source, path):
    """Makes a hard link, if the file system can."""
    try:
        os.link(source, path)
    except OSError:
        return False
    return True


def write_lists(args, clips):
    """Writes the published list files: the frames of all clips, clip by clip, in the same order in each list.

    Args:
        args (argparse.Namespace): See ``-h``.
        clips (Iterable[dict]): Their lines in the manifest, those of earlier runs too.
    """
    clips = sorted(clips, key=lambda record: (record['split'], record['clip']))
    for beta in args.beta:
        for (view, kind), name in LISTS.items():
            lines = [image_path(view, record['split'], frame, beta if kind == 'hazy' else None)
                     for record in clips for frame in record['frames']]
            put(args.output / lists_folder(beta) / name, ''.join(f'{line}\n' for line in lines).encode())


if __name__ == '__main__':
    sys.exit(main())
