"""Measure how many training samples per second one core reads from a VRDS folder.

Times the published training pipeline (clips of 5 frames, crops of 256, five keys) in its variants: the order of
cropping and loading, fewer keys, and frames cached as raw arrays (``mmweather data cache``). Without a folder it makes
one of 1280x720 PNG files, rained on by the package's own synthesis.
"""
import argparse
import resource
import tempfile
import time
from pathlib import Path


def parse_args():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--data-root', help='a VRDS folder; one is made if left out')
    parser.add_argument('--video', help='clean video for the folder that is made; a procedural scene if left out')
    parser.add_argument('--size', type=int, nargs=2, default=(720, 1280), metavar=('HEIGHT', 'WIDTH'),
                        help='size of the frames that are made (default: 720 1280)')
    parser.add_argument('--crop', type=int, default=256, help='crop size in pixels (default: 256)')
    parser.add_argument('--num-frames', type=int, default=5, help='frames per clip (default: 5)')
    parser.add_argument('--samples', type=int, default=30, help='samples per variant (default: 30)')
    return parser.parse_args()


def make_dataset(root, video, size, frames=12):
    """Write the training split of a VRDS folder with one video.

    Args:
        root (Path): The folder.
        video (str, optional): Clean video; None for a procedural scene.
        size (tuple[int, int]): Height and width.
        frames (int): Number of frames. Defaults to 12.
    """
    import cv2

    from mmweather.synthesis import RainOn, scene_stream
    if video:
        import av
        with av.open(video) as container:
            clean = [cv2.resize(frame.to_ndarray(format='rgb24'), size[::-1])
                     for _, frame in zip(range(frames), container.decode(video=0))]
    else:
        clean = [part.frame for part in scene_stream('drive', frames, size)]
    rain = RainOn(size)
    folders = dict(lq='lq', gt='gt', drop='drop', mask='01drop', streak='mstreak')
    for t, frame in enumerate(clean):
        parts = rain(frame, t)
        for key, folder in folders.items():
            path = root / folder / '0001' / f'{t:08d}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), parts[key][..., ::-1])


def measure(dataset, samples):
    """Samples per second of wall time and per second of this process's CPU time."""
    draws = [(draw % len(dataset), draw) for draw in range(samples)]
    dataset[draws[0]]
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for draw in draws:
        dataset[draw]
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return samples / wall, samples / cpu


def main():
    """Print a Markdown table."""
    args = parse_args()
    import cv2
    import torch

    from mmweather.datasets import VRDS
    from mmweather.datasets.cache import cache_frames
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    crop, load = dict(type='RandomCropClip', size=args.crop), dict(type='LoadFrames')
    rest = [dict(type='FlipClip'), dict(type='FlipClip', direction='vertical'), dict(type='TransposeClip'),
            dict(type='PackClip')]
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(args.data_root or folder, '' if args.data_root else 'png'), Path(folder, 'cache')
        if not args.data_root:
            make_dataset(root, args.video, tuple(args.size))
        cache_frames(VRDS, root, cache)
        variants = {
            'PNG, load then crop': (root, None, [load, crop]),
            'PNG, crop while loading': (root, None, [crop, load]),
            'PNG, crop while loading, lq and gt only': (root, ('lq', 'gt'), [crop, load]),
            'raw arrays': (cache, None, [crop, load]),
        }
        print(f'{args.num_frames} frames, crops of {args.crop}; one core\n')
        print('| frames | samples/s | samples per CPU second |')
        print('| --- | --- | --- |')
        for name, (data_root, keys, steps) in variants.items():
            dataset = VRDS(str(data_root), keys=keys, num_frames=args.num_frames, pipeline=[*steps, *rest])
            wall, cpu = measure(dataset, args.samples)
            print(f'| {name} | {wall:.1f} | {cpu:.1f} |', flush=True)


if __name__ == '__main__':
    main()
