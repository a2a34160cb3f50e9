"""``mmweather compare``: see what a restoration did."""
from pathlib import Path

import click

from .progress import progress_on_stderr

__all__ = ['command']


@click.command('compare')
@click.argument('source', metavar='INPUT')
@click.argument('restored', metavar='OUTPUT')
@click.argument('truth', metavar='[TRUTH]', required=False)
@click.option('-o', '--report', metavar='REPORT', required=True,
              help='Where to: .html for the page, .mp4, .mov, .m4v or .mkv for a video to post.')
@click.option('--video', 'layout', type=click.Choice(['side', 'wipe', 'strip']),
              help='How the video shows them: side by side, a line that wipes across, or strips of one frame.  '
              '[default: side, if REPORT is a video]')
@click.option('--stills', default=8, show_default=True, type=click.IntRange(min=1), metavar='N',
              help='Frames in the page.')
@click.option('--seconds', default=10.0, show_default=True, type=click.FloatRange(min=0), metavar='S',
              help='Length of the videos in the page.')
@click.option('--samples', default=300, show_default=True, type=click.IntRange(min=1), metavar='N',
              help='Frames that are measured at most, evenly spread.')
@click.option('-q', '--quiet', is_flag=True, help='No progress and no summary.')
def command(source, restored, truth, report, layout, stills, seconds, samples, quiet):
    """Compare INPUT with the OUTPUT of a restoration, and both with the TRUTH if it is known.

    Videos, folders of frames or images, of one size and length. The page holds everything it shows: a slider between
    before and after, both videos in step, PSNR and SSIM over time where there is a truth, flicker, and maps of the
    differences.
    """
    from mmweather.errors import UserError
    from mmweather.inference.video import VIDEO_SUFFIXES
    report = Path(report)
    suffix = report.suffix.lower()
    if suffix not in ('.html', '.htm', *VIDEO_SUFFIXES):
        raise UserError(f'{report} is neither a page nor a video: end its name in .html or .mp4')
    if layout and suffix not in VIDEO_SUFFIXES:
        raise UserError(f'{report} is no video, but --video {layout} asks for one: end its name in .mp4')
    if not report.parent.is_dir():
        raise UserError(f'{report} cannot be written because the folder {report.parent} does not exist: create it '
                        f'first')
    with progress_on_stderr(quiet) as progress:
        if suffix in VIDEO_SUFFIXES:
            from mmweather.report import write_video
            paths = {'input': source, 'output': restored, **({'truth': truth} if truth else {})}
            write_video(paths, report, layout or 'side', progress=progress)
            summary = ''
        else:
            from mmweather.report import compare, write_page
            found = compare(source, restored, truth, stills, samples, progress)
            write_page(found, report, seconds)
            summary = _summary(found.means())
    if not quiet:
        click.echo(f'{report}: {summary or "written"}')


def _summary(means):
    words = []
    for name, unit in (('psnr', ' dB'), ('ssim', ''), ('flicker', '')):
        values = means[name]
        if values:
            digits = 4 if name == 'ssim' else 2
            words.append(f'{name} ' + ', '.join(f'{role} {value:.{digits}f}{unit}' for role, value in values.items()))
    return '; '.join(words)
