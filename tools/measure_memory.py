"""Peak memory of restoring a long video against that of a short one.

    python tools/measure_memory.py --frames 200 20000

Each video is written, and then restored by a process of its own, whose peak is told.
"""
import argparse
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path


def write(path, count, size):
    """Write a video that pans over noise.

    Args:
        path (Path): Where to.
        count (int): Frames.
        size (tuple[int, int]): Height and width.
    """
    import av
    import numpy as np
    picture = np.random.default_rng(0).integers(0, 255, (size[0] // 8, size[1] // 4, 3), np.uint8)
    picture = picture.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), 'w') as output:
        stream = output.add_stream('libx264', rate=Fraction(25), options={'preset': 'ultrafast'})
        stream.height, stream.width, stream.pix_fmt = *size, 'yuv420p'
        for index in range(count):
            left = index % size[1]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:, left:left + size[1]]), 'rgb24')
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def restore(source, output, model):
    """Restore in this process and print its peak in KiB.

    Args:
        source (Path): The video.
        output (Path): The result.
        model (str): Name of the model, or ``identity``.
    """
    from mmweather.inference import restore_video
    from mmweather.models import ClipNetwork

    class Identity(ClipNetwork):
        """Every frame as it is, in windows."""

        window, window_overlap = 5, 1

        def forward(self, clip):
            return clip

    restore_video(source, output, Identity() if model == 'identity' else model)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main():
    """Parses the arguments and prints a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, nargs='+', default=[200, 20000], help='Lengths of the videos.')
    parser.add_argument('--size', type=int, nargs=2, default=[144, 256], help='Height and width, multiples of 8.')
    parser.add_argument('--model', default='identity', help='A bundled model, or identity for the engine alone.')
    parser.add_argument('--restore', nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.restore:
        restore(*args.restore, args.model)
        return
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for count in args.frames:
            source = Path(folder, f'{count}.mp4')
            write(source, count, args.size)
            told = subprocess.run(
                [sys.executable, __file__, '--model', args.model, '--restore', str(source), f'{folder}/out.mp4'],
                stdout=subprocess.PIPE, text=True, check=True).stdout
            peak = int(told.split()[-1]) / 1024
            first = first or peak
            print(f'{count} frames: {peak:.0f} MiB, {peak / first:.3f} times the first', flush=True)


if __name__ == '__main__':
    main()
