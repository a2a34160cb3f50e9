"""Restore damaged files by the hundred: each has to end in a result or in one sentence, in bounded time.

    python tools/fuzz_restore.py --count 300 --seed 0

Small videos, images and y4m streams are written and damaged at random: bytes flipped, zeroed, left out, doubled, cut
off. A process of its own tries each, so that a crash or a hang of a decoder is found as well. Files that end otherwise
are kept in the folder that the last line names, and the exit code is 1.
"""
import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path


def seeds(folder):
    """Write whole files of many kinds.

    Args:
        folder (Path): Where to.

    Returns:
        list[Path]: The files.
    """
    import av
    import cv2
    import numpy as np
    rng = np.random.default_rng(0)
    frames = [(rng.integers(0, 255, (6, 8, 3)).repeat(8, 0).repeat(8, 1) // 2 + 3 * index).astype(np.uint8)
              for index in range(8)]
    files = []
    for name, codec in [('a.mp4', 'libx264'), ('b.mkv', 'libx264'), ('c.avi', 'mpeg4'), ('d.ts', 'mpeg2video'),
                        ('e.mkv', 'ffv1'), ('f.y4m', 'wrapped_avframe'), ('g.mov', 'libx265'),
                        ('h.webm', 'libvpx-vp9')]:
        with av.open(str(folder / name), 'w') as output:
            stream = output.add_stream(codec, rate=Fraction(25), options={'x265-params': 'log-level=none'})
            stream.width, stream.height = 64, 48
            stream.pix_fmt = 'yuv420p'
            for index, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(frame, 'rgb24').reformat(format='yuv420p')
                picture.pts = index
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        files.append(folder / name)
    for suffix in ('.png', '.jpg', '.bmp', '.tif', '.webp'):
        cv2.imwrite(str(folder / f'i{suffix}'), frames[0])
        files.append(folder / f'i{suffix}')
    return files


def damage(data, rng):
    """Damage bytes at random.

    Args:
        data (bytes): The content of a file.
        rng (random.Random): Randomness.

    Returns:
        bytes: The damaged content.
    """
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 40))):
        # the header is where damage does most
        at = rng.randrange(min(len(data), 200) if rng.random() < 0.4 else len(data)) if data else 0
        length = rng.choice((1, 1, 4, 50))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at + length] = rng.randbytes(len(data[at:at + length]))
        elif kind == 2:
            data[at:at + length] = bytes(len(data[at:at + length]))
        elif kind == 3:
            del data[at:at + length]
        elif kind == 4:
            data[at:at] = data[at:at + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def attempt(path, output, network, log):
    """Restore a file in this process and end it: code 0 for a result, 2 for a sentence, 1 for all else."""
    from mmweather.errors import UserError
    from mmweather.inference import restore_stream, restore_video
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code = 1
    try:
        if path.suffix == '.y4m' and random.random() < 0.5:
            with open(path, 'rb') as stream:
                restore_stream(stream, output, network)
        else:
            restore_video(path, output, network)
        code = 0 if output.exists() else 1
    except UserError as error:
        code = 2 if str(error) and '\n' not in str(error) else 1
    except BaseException:  # noqa: BLE001 - this process ends here, whatever happened
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def fuzz(count, seed, folder, timeout=30.):
    """Damage and restore files.

    Args:
        count (int): How many.
        seed (int): Seed of the damage.
        folder (Path): An empty folder for the files.
        timeout (float): Seconds after which a file counts as hanging. Defaults to 30.

    Returns:
        tuple[dict[str, int], list[tuple[str, Path]]]: How many ended in which way, and those that ended wrongly.
    """
    import torch

    from mmweather.models.temporal import ClipNetwork

    class Identity(ClipNetwork):
        """Every frame as it is; the network is not what is tried."""

        def forward(self, clip):
            return clip

    torch.set_num_threads(1)
    rng = random.Random(seed)
    (folder / 'whole').mkdir()
    files = seeds(folder / 'whole')
    ends, wrong = {'result': 0, 'sentence': 0}, []
    for index in range(count):
        source = files[index % len(files)]
        path = folder / f'{index:04d}{source.suffix}'
        path.write_bytes(damage(source.read_bytes(), rng))
        image = source.suffix in ('.png', '.jpg', '.bmp', '.tif', '.webp')
        output, log = folder / (f'out{source.suffix}' if image else 'out.mkv'), folder / 'log.txt'
        child = os.fork()
        if child == 0:
            attempt(path, output, Identity(), log)
        deadline = time.monotonic() + timeout
        while (status := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.002)
        if status == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            end = 'hang'
        elif os.WIFSIGNALED(status[1]):
            end = f'signal {os.WTERMSIG(status[1])}'
        else:
            end = {0: 'result', 2: 'sentence'}.get(os.WEXITSTATUS(status[1]), 'traceback')
        ends[end] = ends.get(end, 0) + 1
        if end in ('result', 'sentence'):
            path.unlink()
        else:
            wrong.append((end, path))
            shutil.copy(log, path.with_suffix('.log'))
        output.unlink(missing_ok=True)
        shutil.rmtree(folder / f'.{output.name}.resume', ignore_errors=True)
    return ends, wrong


def main():
    """Parses the arguments, tries the files and prints how they ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=300, help='Files to try.')
    parser.add_argument('--seed', type=int, default=0, help='Seed of the damage.')
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix='fuzz'))
    start = time.perf_counter()
    ends, wrong = fuzz(args.count, args.seed, folder)
    told = ', '.join(f'{count} {end}' for end, count in sorted(ends.items()))
    print(f'{args.count} files in {time.perf_counter() - start:.0f} s: {told}')
    for end, path in wrong:
        print(f'{end}: {path}')
    if not wrong:
        shutil.rmtree(folder)
    return bool(wrong)


if __name__ == '__main__':
    sys.exit(main())
