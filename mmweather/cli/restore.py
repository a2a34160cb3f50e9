"""``mmweather restore``: a bad video in, a better one out."""
import os
import re
import signal
import sys
from contextlib import contextmanager
from fractions import Fraction
from functools import partial

import click

from .progress import progress_on_stderr

__all__ = ['command']


class _TwoOutputs(click.Command):
    """A command that notes what follows the value of ``-o``: of a stereo video the output of the right view."""

    def parse_args(self, ctx, args):
        for place, argument in enumerate(args):
            if argument in ('-o', '--output') and place + 2 < len(args) and not args[place + 2].startswith('-'):
                ctx.meta['mmweather.second_output'] = args[place + 2]
        return super().parse_args(ctx, args)


@click.command('restore', cls=_TwoOutputs)
@click.argument('sources', metavar='INPUT...', nargs=-1, required=True)
@click.option('-o', '--output', required=True, metavar='OUTPUT',
              help="Where to: .mp4, .mov, .m4v or .mkv for a video, an image, a folder for frames, a folder that ends "
              "in / for results under the inputs' names, or - for y4m to a pipe.")
@click.option('--model', default='vimpnet_tiny', show_default=True, help="Name of the model; 'auto' finds out what is "
              'wrong with each INPUT, says so, takes the bundled model that helps, and passes clean ones through.')
@click.option('--checkpoint', metavar='FILE', help='Weights of the model, ours or the authors\'; the bundled ones if '
              'left out.')
@click.option('--device', help="Such as 'cuda:0' or 'cpu'; a GPU if there is one.")
@click.option('--dtype', '--precision', 'precision', default='auto', show_default=True,
              type=click.Choice(['auto', 'float32', 'bfloat16', 'float16', 'fp32', 'bf16', 'fp16']),
              metavar='auto|float32|bfloat16|float16',
              help='auto: half precision on GPUs, and on CPUs where network and CPU suit it.')
@click.option('--compile', 'compiled', is_flag=True, help='Compile the network first: worth it for long videos.')
@click.option('--memory', metavar='SIZE', help='What may be used, such as 4GB: windows and tiles are chosen for it.  '
              '[default: what is free]')
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
@click.option('--preview', metavar='SECONDS',
              help='Restore only so much, such as 10s, from where the video is degraded most.')
@click.option('--segment', default=100, show_default=True, type=click.IntRange(min=1), metavar='N',
              help='Frames after which results are kept for good: so many are lost at most by an interruption.')
@click.option('--restart', is_flag=True, help='Begin anew where an interrupted run could be continued.')
@click.option('--stereo', type=click.Choice(['sbs', 'tb']),
              help='INPUT and OUTPUT hold both views in every frame: side by side, or left on top.')
@click.option('--save-parts', is_flag=True, help='Also write OUTPUT_snow_map and whatever else the model finds on the '
              'way; one input, and no going on after an interruption.')
@click.option('--overwrite/--no-overwrite', default=True, show_default=True, help='Replace an output that exists.')
@click.option('-q', '--quiet', is_flag=True, help='No progress and no summary.')
def command(sources, output, fps, quiet, memory, preview, save_parts, stereo, **options):
    """Restore INPUTs: videos, folders of frames, or images; - for y4m from a pipe.

    Frame rate, frame times, audio and subtitles are kept; memory does not grow with the length of the video. Nothing
    appears under the output's name before it is whole. After an interruption the same command goes on where it was.
    Started by torchrun or srun, the ranks share the work.

    Models for stereo take two inputs and two outputs, left before right: LEFT RIGHT -o LEFT_OUT RIGHT_OUT.
    """
    options.update(fps=_rate(fps), memory=_bytes(memory), preview=_seconds(preview))
    if options['model'] == 'auto' and (stereo or save_parts):
        raise click.UsageError(f'--model auto does not go with --{"stereo" if stereo else "save-parts"}: name the '
                               'model')
    from mmweather.zoo import is_stereo
    with _terminable(), progress_on_stderr(quiet) as progress:
        if stereo or is_stereo(options['model']):
            _restore_stereo(sources, output, stereo, progress, quiet, dict(options, save_parts=save_parts))
        elif save_parts:
            _restore_parts(sources, output, progress, quiet, options)
        elif '-' in (*sources, output):
            _restore_pipe(sources, output, progress, quiet, options)
        else:
            _restore_files(sources, output, progress, quiet, options)


def _restore_stereo(sources, output, layout, progress, quiet, options):
    """Both views in one go."""
    from mmweather.inference import restore_stereo
    sources, outputs = list(sources), [output]
    second = click.get_current_context().meta.get('mmweather.second_output')
    if layout is None and len(sources) == 3 and second in sources:
        # the last of its name: click hands over what follows the options after what stood before them
        sources.reverse()
        sources.remove(second)
        sources.reverse()
        outputs.append(second)
    for name in ('memory', 'preview', 'window', 'save_parts'):
        if options.pop(name):
            raise click.UsageError(f'--{name.replace("_", "-")} does not go with stereo video')
    for name in ('segment', 'restart'):
        del options[name]
    summary = restore_stereo(sources, outputs, layout=layout, progress=progress, **options)
    if not quiet:
        click.echo(summary)


def _restore_pipe(sources, output, progress, quiet, options):
    """From standard input, to standard output, or both; what there is to say goes to standard error."""
    from mmweather.errors import UserError
    from mmweather.inference import restore_stream
    if len(sources) > 1:
        raise click.UsageError('a pipe takes one input: give - alone')
    for name in ('memory', 'preview', 'segment', 'restart', 'overwrite'):
        if options.pop(name) and name in ('memory', 'preview'):
            raise click.UsageError(f'--{name} does not go with a pipe')
    source = sys.stdin.buffer if sources[0] == '-' else sources[0]
    try:
        with _standard_output() as stream:
            summary = restore_stream(source, stream if output == '-' else output, progress=progress,
                                     announce=None if quiet else partial(click.echo, err=True), **options)
    except BrokenPipeError as error:
        raise UserError('the command after the pipe has ended before all frames were written: see what it says'
                        ) from error
    if not quiet:
        click.echo(summary, err=True)


def _restore_parts(sources, output, progress, quiet, options):
    """One input, in one go, with the network's parts beside the output."""
    from mmweather.inference.parts import restore_with_parts
    if len(sources) > 1 or '-' in (*sources, output) or output.endswith(('/', os.sep)):
        raise click.UsageError('--save-parts takes one input and one output, and no pipes')
    for name in ('memory', 'preview', 'compiled'):
        if options.pop(name):
            raise click.UsageError(f'--{name.removesuffix("d")} does not go with --save-parts')
    for name in ('segment', 'restart'):
        del options[name]
    summary = restore_with_parts(sources[0], output, progress=progress, **options)
    if not quiet:
        click.echo(summary)


@contextmanager
def _standard_output():
    """The standard output for frames alone; whatever else would be printed there goes to standard error."""
    with os.fdopen(os.dup(sys.stdout.fileno()), 'wb') as stream:
        sys.stdout.flush()
        kept = os.dup(sys.stdout.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            yield stream
        finally:
            os.dup2(kept, sys.stdout.fileno())
            os.close(kept)


def _restore_files(sources, output, progress, quiet, options):
    from mmweather.errors import UserError
    from mmweather.inference import restore_video
    from mmweather.inference.batch import join_world, restore_many
    world, local_rank = join_world()
    into_folder = len(sources) > 1 or output.endswith(('/', os.sep))
    announce = None if quiet else click.echo
    if world.size == 1 and not into_folder:
        try:
            summary = restore_video(sources[0], output, progress=progress, announce=announce, **options)
        except KeyboardInterrupt:
            _say_how_to_go_on(output)
            raise
        if not quiet:
            click.echo(summary)
        return
    if world.size > 1 and options['device'] is None:
        options['device'] = _device_of(local_rank)
    results = restore_many(
        sources, output if into_folder else [output], world=world, progress=progress if world.rank == 0 else None,
        report=announce, announce=announce, **options)
    failed = [result for result in results if result.failed]
    if results and not quiet:
        click.echo(f'{len(results) - len(failed)} of {len(results)} restored' + (f', {len(failed)} failed:' if failed
                                                                                 else ''))
        for result in failed:
            click.echo(f'  {result.summary}')
    if failed:
        raise UserError(f'{len(failed)} of {len(results)} inputs could not be restored: {failed[0].summary}')


def _say_how_to_go_on(output):
    from pathlib import Path

    from mmweather.inference.journal import Journal
    if Journal(Path(output)).folder.is_dir():
        click.echo('what is finished is kept: the same command goes on from there', err=True)


def _device_of(local_rank):
    import torch
    count = torch.cuda.device_count()
    return f'cuda:{local_rank % count}' if count else None


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


def _bytes(text):
    if text is None:
        return None
    match = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*', text, re.IGNORECASE)
    unit = 1024 if match and match[3] else 1000
    count = int(float(match[1]) * unit ** ' KMGT'.index(match[2].upper() or ' ')) if match else 0
    if not count:
        raise click.BadParameter(f'{text} is no size; give something like 4GB or 800MB', param_hint="'--memory'")
    return count


def _seconds(text):
    if text is None:
        return None
    match = re.fullmatch(r'(?:(\d+):)?(\d+(?:\.\d+)?)\s*s?', text.strip())
    seconds = 60 * int(match[1] or 0) + float(match[2]) if match else 0
    if not seconds:
        raise click.BadParameter(f'{text} is no time; give something like 10s or 1:30', param_hint="'--preview'")
    return seconds
