"""Curves from the logs of one or more trainings.

    python tools/analysis/plot_log.py work_dirs/vimpnet work_dirs/pvdnet --keys loss -o curves.png

A run is a work dir, whose last training is taken with all those that it resumed, or a file of scalars that MMEngine
wrote (vis_data/scalars.json). The default is every loss.
"""
import argparse
import json
import sys
from pathlib import Path


def main():
    """Draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='+', type=Path, help='work dirs or files of scalars')
    parser.add_argument('--keys', nargs='+', help='what to draw, such as loss lr; all losses by default')
    parser.add_argument('--smooth', type=int, default=1, metavar='N', help='mean over so many entries (1)')
    parser.add_argument('-o', '--output', type=Path, default=Path('curves.png'), help='picture (curves.png)')
    args = parser.parse_args()
    from mmweather.errors import UserError
    try:
        curves = {path.name if path.is_dir() else str(path): read_scalars(path) for path in args.runs}
        draw(curves, args.keys, args.smooth, args.output)
    except UserError as error:
        print(f'mmweather: {error}', file=sys.stderr)
        return error.exit_code
    print(f'wrote {args.output}')
    return 0


def read_scalars(path):
    """The scalars of a run.

    Args:
        path (Path): Work dir or file.

    Returns:
        dict[str, dict[int, float]]: From names to values by step. Where a step was trained again after an
        interruption, the later value counts.

    Raises:
        UserError: If there are none.
    """
    from mmweather.errors import UserError
    files = [path] if path.is_file() else sorted(path.glob('*/vis_data/scalars.json'))
    if not files:
        raise UserError(f'{path}: no scalars are logged there (vis_data/scalars.json); give a work dir of a training '
                        'of at least as many iterations as its log interval')
    values = {}
    for file in files:
        for number, line in enumerate(file.read_text().splitlines(), 1):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f'{file}: line {number} is not JSON; give a file of scalars that MMEngine '
                                'wrote') from error
            # the lines of a test have no iteration
            if 'step' in entry:
                for name, value in entry.items():
                    if isinstance(value, (int, float)) and name not in ('step', 'iter', 'epoch'):
                        values.setdefault(name, {})[entry['step']] = value
    return values


def smoothed(values, count):
    """The mean of each value and the ``count - 1`` before it."""
    return [sum(values[max(0, index - count + 1):index + 1]) / min(count, index + 1) for index in range(len(values))]


def draw(curves, keys, count, output):
    """Draws one panel per name, with a line per run.

    Args:
        curves (dict[str, dict[str, dict[int, float]]]): Scalars by run.
        keys (list[str], optional): Names to draw; all losses if None.
        count (int): Entries to take the mean over.
        output (Path): The picture.

    Raises:
        UserError: If a name is in none of the runs.
    """
    from mmweather.errors import UserError
    there = list(dict.fromkeys(name for scalars in curves.values() for name in scalars))
    keys = keys or [name for name in there if 'loss' in name]
    unknown = [key for key in keys if key not in there]
    if unknown or not keys:
        raise UserError(f'{", ".join(unknown) or "no loss"} is not in these logs; there are {", ".join(there)}')
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, panels = pyplot.subplots(len(keys), 1, figsize=(8, 2.6 * len(keys)), squeeze=False, layout='constrained')
    for panel, key in zip(panels[:, 0], keys):
        for run, scalars in curves.items():
            if key in scalars:
                steps = sorted(scalars[key])
                panel.plot(steps, smoothed([scalars[key][step] for step in steps], count), label=run, linewidth=1)
        panel.set(ylabel=key, xlabel='iteration')
        panel.grid(alpha=0.3)
        panel.legend(fontsize='small')
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)
    pyplot.close(figure)


if __name__ == '__main__':
    sys.exit(main())
