"""The figures of the method pages: boxes on a grid and arrows between them, drawn as SVG while the book is built."""
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 150, 56  # of a box, in pixels
STEP_X, STEP_Y = 208, 88
MARGIN = 24
LINE = 16
#: Fill and outline by what a box stands for.
KINDS = dict(
    data=('#eef2f7', '#5b6b7f'),
    part=('#dcebfb', '#1f6fb4'),
    core=('#fde8c8', '#c77700'),
    result=('#dff3e1', '#2b8a3e'),
    state=('#f3e4f7', '#8a3aa0'))


class Box(NamedTuple):
    """A box in a figure.

    Args:
        name (str): What arrows call it.
        text (str): Its lines, separated by line feeds.
        column (float): Where on the grid, from the left.
        row (float): Where on the grid, from the top.
        kind (str): One of ``KINDS``: data, an ordinary part, a part that the paper is about, a result, a state.
    """
    name: str
    text: str
    column: float
    row: float
    kind: str = 'part'


#: For each method its boxes, and its arrows as (from, to, label); a label that begins with ~ makes the arrow dashed.
FIGURES = {
    'vimpnet': ([
        Box('clip', 'rainy clip', 0, 1, 'data'),
        Box('flow', 'SPyNet\nflow between frames', 1, 0),
        Box('features', 'features\nat 1/4', 1, 1),
        Box('streaks', "streaks' intensity", 2, 0, 'result'),
        Box('propagation', 'propagation: flow- and\nstreak-guided DCN', 2, 1, 'core'),
        Box('reconstruction', '3-D convolutions', 3, 1),
        Box('stage1', 'stage 1:\nno streaks', 4, 0, 'result'),
        Box('mask', "raindrops' mask", 4, 1, 'result'),
        Box('transformer', 'dual transformer\nover soft patches', 4, 2, 'core'),
        Box('output', 'clear clip', 5, 1, 'result'),
    ], [
        ('clip', 'features', ''), ('clip', 'flow', ''), ('flow', 'propagation', ''), ('features', 'propagation', ''),
        ('streaks', 'propagation', ''), ('propagation', 'reconstruction', ''), ('reconstruction', 'stage1', '+ clip'),
        ('reconstruction', 'mask', ''), ('mask', 'transformer', ''), ('clip', 'transformer', ''),
        ('stage1', 'output', ''), ('transformer', 'output', '+')]),
    'svdnet': ([
        Box('clip', 'snowy clip', 0, 1, 'data'),
        Box('flow', 'SPyNet\nflow between frames', 1, 0),
        Box('features', 'features F\nat 1/4', 1, 1),
        Box('heads', 'physical heads\nand their inverse', 2, 1, 'core'),
        Box('layers', 'snow S,\ntransmission T, light A', 2, 3, 'result'),
        Box('queries', 'snow-query\ntemporal aggregation', 3, 1, 'core'),
        Box('map', 'snow map', 3, 2, 'result'),
        Box('propagation', 'propagation\nboth ways, by DCN', 4, 1),
        Box('merge', 'merge with neighbours,\ntrusted by T', 5, 1),
        Box('output', 'clear clip', 6, 1, 'result'),
    ], [
        ('clip', 'features', ''), ('clip', 'flow', ''), ('features', 'heads', ''), ('heads', 'layers', ''),
        ('heads', 'queries', ''), ('queries', 'map', ''), ('queries', 'propagation', ''), ('flow', 'propagation', ''),
        ('propagation', 'merge', ''), ('layers', 'merge', ''), ('merge', 'output', '+ residual')]),
    'pvdnet': ([
        Box('previous', 'result of t−1', 2, 0, 'state'),
        Box('motion', 'BIMNet\nblur-invariant flow', 1, 1, 'core'),
        Box('volume', 'pixel volume:\n25 candidates a pixel', 2, 1, 'core'),
        Box('frames', 'frames t−1, t, t+1', 0, 2, 'data'),
        Box('network', 'U-shaped network', 3, 2),
        Box('output', 'sharp frame t', 4, 2, 'result'),
    ], [
        ('frames', 'motion', ''), ('motion', 'volume', ''), ('previous', 'volume', ''), ('frames', 'network', ''),
        ('volume', 'network', ''), ('network', 'output', '+ frame'), ('output', 'previous', '~next frame')]),
    'pmcn': ([
        Box('left', 'left frame', 0, 0, 'data'),
        Box('right', 'right frame', 0, 2, 'data'),
        Box('extract', 'extraction, shared,\nat 1/2', 1, 1),
        Box('parallax', 'parallax interaction\nlong and short range', 2, 1, 'core'),
        Box('align', 'motion alignment\nper view, by DCN', 3, 1, 'core'),
        Box('state', 'states of t−1', 3, 2, 'state'),
        Box('dynamic', 'dynamic residual\nblocks (DDF)', 4, 1),
        Box('clear_left', 'clear left frame', 5, 0, 'result'),
        Box('clear_right', 'clear right frame', 5, 2, 'result'),
    ], [
        ('left', 'extract', ''), ('right', 'extract', ''), ('extract', 'parallax', ''), ('parallax', 'align', 'x 4'),
        ('state', 'align', ''), ('align', 'dynamic', ''), ('dynamic', 'clear_left', ''),
        ('dynamic', 'clear_right', '')]),
    'cid': ([
        Box('image', 'hazy image', 0, 1, 'data'),
        Box('encoder', 'Res2Net-101\nto 1/4, 1/8, 1/16', 1, 1),
        Box('blocks', 'channel and pixel\nattention, coarse to fine', 2, 1),
        Box('feature', 'feature z (1024)', 2, 0, 'result'),
        Box('weighting', 'sample weights:\nindependent features', 3, 0, 'core'),
        Box('alignment', 'covariance of z:\nsource and target', 4, 0, 'core'),
        Box('enhancer', 'pyramid pooling', 3, 1),
        Box('output', 'clear image', 4, 1, 'result'),
        Box('domains', 'degradations of\nmany domains', 0, 0, 'core'),
    ], [
        ('domains', 'image', '~to train'), ('image', 'encoder', ''), ('encoder', 'blocks', ''),
        ('blocks', 'feature', ''), ('feature', 'weighting', '~phase 2'), ('weighting', 'alignment', '~phase 3'),
        ('blocks', 'enhancer', ''), ('enhancer', 'output', '')]),
}


def figure(boxes, arrows):
    """Draws a figure.

    Args:
        boxes (list[Box]): The boxes.
        arrows (list[tuple[str, str, str]]): From which box to which, and the label.

    Returns:
        str: An SVG image.
    """
    places = {box.name: (MARGIN + box.column * STEP_X, MARGIN + box.row * STEP_Y) for box in boxes}
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + MARGIN
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
             f'height="{height:g}" font-family="Helvetica, Arial, sans-serif" font-size="12.5" text-anchor="middle">',
             '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
             'orient="auto-start-reverse"><path d="M0 0 L8 4 L0 8 z" fill="#3c4858"/></marker></defs>',
             f'<rect width="{width:g}" height="{height:g}" rx="12" fill="#ffffff"/>']
    for start, end, label in arrows:
        drawn += _arrow(places[start], places[end], label, places.values())
    for box in boxes:
        drawn += _box(box, *places[box.name])
    return '\n'.join([*drawn, '</svg>', ''])


def _box(box, x, y):
    fill, line = KINDS[box.kind]
    yield f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{fill}" stroke="{line}"/>'
    lines = box.text.split('\n')
    top = y + HEIGHT / 2 - (len(lines) - 1) * LINE / 2 + 4.5
    for number, line in enumerate(lines):
        yield f'<text x="{x + WIDTH / 2:g}" y="{top + number * LINE:g}" fill="#1c2733">{escape(line)}</text>'


def _arrow(start, end, label, taken):
    """Leaves a box sideways, or upwards or downwards within a column, and turns at most twice."""
    (x0, y0), (x1, y1) = start, end
    middle0, middle1 = y0 + HEIGHT / 2, y1 + HEIGHT / 2
    far = x1 - x0 > STEP_X
    blocked = any(x0 < x < x1 and y == y0 for x, y in taken)
    if x0 == x1:
        down = y1 > y0
        points = [(x0 + WIDTH / 2, y0 + HEIGHT * down), (x1 + WIDTH / 2, y1 + HEIGHT * (not down))]
    elif y0 == y1:
        points = [(x0 + WIDTH, middle0), (x1, middle1)]
    elif x1 < x0:
        # back to where the next step begins
        points = [(x0 + WIDTH / 2, y0 + HEIGHT * (y1 > y0)), (x0 + WIDTH / 2, middle1), (x1 + WIDTH, middle1)]
    elif far and blocked:
        # past what stands in the row of the start, in the row of the end
        points = [(x0 + WIDTH / 2, y0 + HEIGHT * (y1 > y0)), (x0 + WIDTH / 2, middle1), (x1, middle1)]
    elif far:
        points = [(x0 + WIDTH, middle0), (x1 + WIDTH / 2, middle0), (x1 + WIDTH / 2, y1 + HEIGHT * (y1 < y0))]
    else:
        turn = x1 - (STEP_X - WIDTH) / 2
        points = [(x0 + WIDTH, middle0), (turn, middle0), (turn, middle1), (x1, middle1)]
    dashed = ' stroke-dasharray="5 4"' if label.startswith('~') else ''
    path = ' '.join(f'{x:g},{y:g}' for x, y in points)
    yield (f'<polyline points="{path}" fill="none" stroke="#3c4858" stroke-width="1.4" stroke-linejoin="round"'
           f'{dashed} marker-end="url(#tip)"/>')
    if label:
        (xa, ya), (xb, yb) = points[-2:]
        vertical = xa == xb
        x, y = ((xa + xb) / 2 + 34, (ya + yb) / 2 + 4) if vertical else ((xa + xb) / 2, ya - 6)
        yield f'<text x="{x:g}" y="{y:g}" fill="#3c4858" font-size="11">{escape(label.lstrip("~"))}</text>'
