"""``mmweather data``: look after dataset folders."""
import json
import sys

import click

from mmweather.errors import UserError

__all__ = ['command']

# how many problems of one kind are printed before the rest is counted
_SHOWN = 10


@click.group('data')
def command():
    """Look after dataset folders."""


@command.command()
@click.argument('folder', metavar='DIR')
@click.option('--dataset', required=True, metavar='NAME', help='Which dataset it should be, such as vrds.')
@click.option('--split', 'splits', multiple=True, metavar='NAME',
              help='Check this split only, and insist that it is there; may be given more than once.')
@click.option('--deep', is_flag=True, help='Decode every frame: finds damaged pixels too, and takes its time.')
@click.option('--json', 'as_json', is_flag=True, help='Print everything as JSON.')
def check(folder, dataset, splits, deep, as_json):
    """Count the videos and frames, or the pairs of images, in DIR and say what to mend.

    Finds missing and extra frames and folders, files that are empty, truncated or no images, frames of another size
    than the rest of their video, and holes in the numbering. Exit code 0 if all is well, 2 if not.
    """
    from mmweather.datasets.check import check_dataset

    kind = _find(dataset, images=True)
    # images know by themselves how they pair up
    arguments = folder, splits or None, deep, _tracker('check', quiet=as_json)
    report = kind.check(*arguments) if hasattr(kind, 'check') else check_dataset(kind, *arguments)
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    else:
        _print_table(report)
        _print_problems(report)
    if report.ok:
        return
    kinds = ', '.join(f'{count} {kind}' for kind, count in _count(report).items())
    raise UserError(f'{folder} has {len(report.problems)} problem{"s"[:len(report.problems) != 1]} ({kinds}): '
                    f'mend what is listed {"under problems" if as_json else "above"} and check again')


@command.command()
@click.argument('folder', metavar='DIR')
@click.argument('target', metavar='CACHE')
@click.option('--dataset', required=True, metavar='NAME', help='Which dataset DIR is, such as vrds.')
@click.option('--split', default='train', show_default=True, metavar='NAME', help='The split to cache.')
@click.option('--key', 'keys', multiple=True, metavar='NAME',
              help='Cache this key only, such as lq; may be given more than once.  [default: all]')
@click.option('--workers', default=4, show_default=True, type=click.IntRange(min=1), help='Threads that decode.')
def cache(folder, target, dataset, split, keys, workers):
    """Rewrite the frames of DIR as raw arrays in CACHE, for training that would wait for PNG files.

    Give CACHE as data_root then. It takes 2.8 MB per 1280x720 RGB frame. An interrupted run goes on where it was.
    """
    from mmweather.datasets.cache import cache_frames

    written = cache_frames(_find(dataset), folder, target, split, keys or None, workers, _tracker('cache'))
    click.echo(f'{written} arrays written; read them with data_root={target}')


def _find(name, images=False):
    """The dataset class of a name, whatever its case; those of single images too if they will do."""
    from mmweather import datasets

    known = {key.lower(): value for key, value in vars(datasets).items()
             if isinstance(value, type) and issubclass(value, datasets.PairedClipDataset) and value.LAYOUTS}
    if images:
        known['pairedimages'] = datasets.PairedImages
    if name.lower() not in known:
        raise UserError(f'there is no dataset {name}; choose one of {", ".join(sorted(known))}')
    return known[name.lower()]


def _tracker(label, quiet=False):
    """Shows progress on a terminal, on stderr."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return lambda items, total: track(
        items, label, total=total, console=console, transient=True, disable=quiet or not sys.stderr.isatty())


def _print_table(report):
    from rich.console import Console
    from rich.table import Table

    layouts = ', '.join(dict.fromkeys(row['layout'] for row in report.rows))
    table = Table(title=f'{report.dataset} in {report.root} ({layouts} layout)')
    for column in ('split', 'key', 'folder', 'videos', 'frames', 'size'):
        table.add_column(column, justify='right' if column in ('videos', 'frames') else 'left')
    for row in report.rows:
        sizes = list(row['sizes'])
        size = '-' if not sizes else sizes[0] if len(sizes) == 1 else f'{sizes[0]} and {len(sizes) - 1} more'
        table.add_row(row['split'], row['key'], row['folder'], str(row['videos']), str(row['frames']), size)
    console = Console()
    console.print(table)
    for split in report.absent:
        console.print(f'There is no {split} split.')
    for remark in getattr(report, 'remarks', []):
        click.echo(f'{remark}.')
    if report.ok:
        console.print('Nothing to mend.')


def _print_problems(report):
    for kind in _count(report):
        problems = [problem for problem in report.problems if problem.kind == kind]
        # plain lines, never wrapped: paths are to be copied
        click.echo(f'\n{kind}: {problems[0].fix}')
        for problem in problems[:_SHOWN]:
            click.echo(f'  {problem.path}: {problem.text}')
        if len(problems) > _SHOWN:
            click.echo(f'  and {len(problems) - _SHOWN} more; --json lists all')
    if report.problems:
        click.echo()


def _count(report):
    counts = {}
    for problem in report.problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + 1
    return counts
