"""``mmweather restore``: a bad video in, a better one out."""
import signal
import sys
from contextlib import contextmanager
from fractions import Fraction

import click

from .progress import progress_on_stderr

__all__ = ['command']


@click.command('restore')
@click.argument('source', metavar='INPUT')
@click.option('-o', '--output', required=True, metavar='OUTPUT',
              help='Where to: .mp4, .mov, .m4v or .mkv for a video, an image, or a folder for frames.')
@click.option('--model', default='vimpnet_tiny', show_default=True, help='Name of the model.')
@click.option('--checkpoint', metavar='FILE', help='Weights of the model, ours or the authors\'; the bundled ones if '
              'left out.')
@click.option('--device', help="Such as 'cuda:0' or 'cpu'; a GPU if there is one.")
@click.option('--precision', default='auto', show_default=True, type=click.Choice(['auto', 'fp32', 'bf16', 'fp16']),
              help='auto: half precision on GPUs, and on CPUs where network and CPU suit it.')
@click.option('--window', type=click.IntRange(min=1), metavar='N', help='Frames the network sees at once.')
@click.option('--tile', type=click.IntRange(min=0), metavar='N',
              help='Side of the tiles in pixels: smaller needs less memory, 0 means whole frames.')
@click.option('--scene-cuts/--no-scene-cuts', default=None,
              help='Start anew where one scene is cut to another.  [default: what suits the model]')
@click.option('--protocol', metavar='NAME', help="Windows and tiles by name; 'published' are the paper's, and slow.")
@click.option('--fps', metavar='RATE', help='Frame rate such as 30 or 24000/1001 if a video is made of images.  '
              '[default: 25]')
@click.option('--codec', type=click.Choice(['h264', 'hevc', 'av1', 'ffv1']),
              help='ffv1 is lossless and needs .mkv.  [default: h264]')
@click.option('--crf', default=16, show_default=True, type=click.IntRange(0, 51),
              help='Quality of the video, 0 is best.')
@click.option('--lossless', is_flag=True, help='Keep every frame exactly: FFV1 in .mkv, RGB in H.264 otherwise.')
@click.option('--restart', is_flag=True, help='Begin anew where an interrupted run could be continued.')
@click.option('--overwrite/--no-overwrite', default=True, show_default=True, help='Replace an output that exists.')
@click.option('-q', '--quiet', is_flag=True, help='No progress and no summary.')
def command(source, output, fps, quiet, **options):
    """Restore INPUT: a video, a folder of frames, or one image.

    Frame rate, frame times, audio and subtitles are kept; memory does not grow with the length of the video. Nothing
    appears under the output's name before it is whole.
    """
    from mmweather.inference import restore_video
    with _terminable(), progress_on_stderr(quiet) as progress:
        summary = restore_video(source, output, fps=_rate(fps), progress=progress, **options)
    if not quiet:
        click.echo(summary)


@contextmanager
def _terminable():
    """Turn a plain ``kill`` into an exit that tidies up; by default it would leave the part file behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _rate(text):
    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = 0
    if not 0 < rate <= 1000:
        raise click.BadParameter(f'{text} is no frame rate; give a number such as 30 or 24000/1001',
                                 param_hint="'--fps'")
    return rate
