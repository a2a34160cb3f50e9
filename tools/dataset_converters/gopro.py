"""Make blurred and sharp pairs of films with a high frame rate, as the GoPro data set was made.

    python tools/dataset_converters/gopro.py film_240fps.mp4 another.mp4 -o data/GoPro --split train --average 11

Every group of ``--average`` consecutive frames becomes one blurred frame: the groups follow each other without gaps,
so that the blurred film has the frame rate of the original divided by that number, and the shutter is open all the
time. Light is summed, not pixel values: frames go through the inverse of the camera's response curve, a gamma of 2.2
unless a measured curve is given, and back. The sharp partner is the frame in the middle of the group. One group is in
memory at a time, and of it only the sum and that frame.
"""
import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from mmweather.errors import UserError


def main(argv=None):
    """Runs the conversion.

    Args:
        argv (list[str], optional): Arguments; those of the process by default.

    Returns:
        int: Exit code, 0 or 2.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('films', nargs='+', help='video files, or folders of frames')
    parser.add_argument('-o', '--output', required=True, help='root folder of the data set')
    parser.add_argument('--split', choices=['train', 'test'], default='train', help='which split to add to (train)')
    parser.add_argument('--average', type=int, default=11, metavar='N', help='frames per blurred frame, odd (11)')
    parser.add_argument('--layout', choices=['published', 'original'], default='published',
                        help='folders <split>_nah or <split> (published)')
    parser.add_argument('--gamma', type=float, default=2.2, help='of the camera (2.2); 1 averages pixel values')
    parser.add_argument('--response', metavar='FILE',
                        help='text file of 256 rising numbers instead: the light of each pixel value')
    parser.add_argument('--height', type=int, help='scale the frames to this height')
    parser.add_argument('--max-pairs', type=int, help='at most so many pairs per film')
    args = parser.parse_args(argv)
    try:
        for film in args.films:
            folder, pairs = convert(Path(film), args)
            print(f'{folder}: {pairs} pairs')
    except UserError as error:
        print(f'gopro.py: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def convert(film, args):
    """Converts one film.

    Args:
        film (Path): Video file or folder of frames.
        args (argparse.Namespace): See ``-h``.

    Returns:
        tuple[Path, int]: The folder that was written, and the number of pairs.

    Raises:
        UserError: If the film cannot be read or is too short, an option does not fit, or the folder exists.
    """
    from mmweather.inference import open_source
    response = read_response(args)
    split = f'{args.split}_nah' if args.layout == 'published' else args.split
    folder = Path(args.output) / split / film.stem
    if folder.exists():
        raise UserError(f'{folder} exists already; remove it, or rename the film')
    # under another name until it is whole: a data set never holds half a film
    part = folder.with_name(f'.{folder.name}.part')
    pairs = 0
    for blurred, sharp in exposures(open_source(film), args, response):
        for kind, image in (('blur_gamma', blurred), ('sharp', sharp)):
            write(part / kind / f'{pairs:06d}.png', image)
        pairs += 1
        if pairs == args.max_pairs:
            break
    if not pairs:
        raise UserError(f'{film} has fewer than {args.average} frames; lower --average or leave it out')
    part.rename(folder)
    return folder, pairs


def exposures(frames, args, response):
    """Yields pairs of a blurred frame and its sharp partner; a group that the end cuts short is left out."""
    light, sharp, count = None, None, 0
    for frame in frames:
        if args.height:
            width = round(frame.shape[1] * args.height / frame.shape[0])
            frame = cv2.resize(frame, (width, args.height), interpolation=cv2.INTER_AREA)
        light = response.linear(frame) if count == 0 else cv2.add(light, response.linear(frame), dst=light)
        sharp = frame if count == args.average // 2 else sharp
        count += 1
        if count == args.average:
            yield response.display(light / count), sharp
            count = 0


def read_response(args):
    """The camera's response curve that the arguments name."""
    from mmweather.synthesis.blur import CameraResponse
    if args.average < 1 or args.average % 2 == 0:
        raise UserError(f'--average {args.average}: must be odd, since the sharp frame is the one in the middle')
    try:
        curve = np.loadtxt(args.response).ravel() if args.response else None
        return CameraResponse(args.gamma, curve)
    except OSError as error:
        raise UserError(f'{args.response} cannot be read ({error.strerror}); give a file of 256 numbers') from error
    except ValueError as error:
        raise UserError(f'{args.response or "--gamma"}: {error}') from error


def write(path, image):
    """Writes RGB as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError(f'{path} could not be encoded as PNG; the frame may be empty')
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror}); make room or choose another --output') from error


if __name__ == '__main__':
    sys.exit(main())
