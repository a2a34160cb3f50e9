"""``mmweather export``: a network for other runtimes."""
import re

import click

__all__ = ['command']


@click.command('export')
@click.argument('model')
@click.option('--onnx', 'output', required=True, metavar='FILE', help='The ONNX file to write.')
@click.option('--checkpoint', metavar='FILE', help='Weights of the model, ours or the authors\'; the bundled ones if '
              'left out.')
@click.option('--size', default='256x256', show_default=True, metavar='WxH', help='Width and height of the frames.')
@click.option('--frames', type=click.IntRange(min=1), metavar='N',
              help="Frames of a clip.  [default: the model's window]")
@click.option('-q', '--quiet', is_flag=True, help='No summary.')
def command(model, output, checkpoint, size, frames, quiet):
    """Write MODEL as ONNX, checked against PyTorch with ONNX Runtime before it appears.

    Shapes are fixed: larger videos are to be cut into tiles and windows. A recurrent model becomes two files, one step
    and what makes its first state.
    """
    from mmweather.errors import UserError
    match = re.fullmatch(r'(\d+)x(\d+)', size)
    if not match:
        raise UserError(f'--size {size} is no size: give width and height such as 256x256')
    from mmweather.inference.export import export_onnx
    if not quiet:
        click.echo(f'exporting {model}, which takes a while', err=True)
    report = export_onnx(model, output, (int(match[2]), int(match[1])), frames, checkpoint)
    if not quiet:
        for path in report.paths:
            click.echo(f'{path}: {path.stat().st_size / 1e6:.1f} MB')
        for kind, shapes in (('in', report.inputs), ('out', report.outputs)):
            click.echo(f'{kind}: ' + ', '.join(f'{name} {shape}' for name, shape in shapes.items()))
        click.echo(f'largest difference to PyTorch: {report.difference:.1e}')
