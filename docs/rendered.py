"""What the book shows of the package itself: pictures and numbers that are made while it is built.

They lie in ``docs/_generated`` and are made once; remove the folder to make them again.
"""
from pathlib import Path

import cv2
import numpy as np
from figures import FIGURES, figure

SIZE = (180, 320)
SEED = 11
PROTOCOLS = ('vrds', 'rvsd', 'sfvc', 'plain')
#: Not in the reference: they need MMagic, Triton or a compiled MMCV, or are commands.
ABSENT = ('mmweather.mmagic', 'mmweather.ops.triton', 'mmweather.ops.mmcv_deform_conv', 'mmweather.cli')


def render(folder):
    """Makes what is not there yet.

    Args:
        folder (Path): Where to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (('gallery.jpg', gallery), ('geometry.jpg', geometry), ('protocols.md', protocols)):
        if not (folder / name).exists():
            make(folder / name)
    for name, (boxes, arrows) in FIGURES.items():
        (folder / f'{name}.svg').write_text(figure(boxes, arrows), encoding='utf-8')
    api(folder / 'api')


def gallery(path):
    """The same street in all weathers, two moments of each."""
    from mmweather.synthesis import haze, rain_on, render_scene, snow_on
    from mmweather.synthesis.blur import render_blurry_scene
    scene = render_scene('drive', frames=6, size=SIZE, seed=SEED)
    rows = [
        scene.frames,
        rain_on(scene.frames, seed=SEED, fps=scene.fps, depth=scene.depth).lq,
        snow_on(scene.frames, seed=SEED, fps=scene.fps, depth=scene.depth).lq,
        haze(scene.frames, scene.depth, beta=0.02, seed=SEED).lq,
        render_blurry_scene('drive', frames=6, size=SIZE, seed=SEED).lq,
    ]
    _write(path, np.concatenate([np.concatenate((row[0], row[5]), axis=1) for row in rows]))


def geometry(path):
    """A frame, its depth and its optical flow, as the renderer knows them."""
    from mmweather.synthesis import render_scene
    scene = render_scene('drive', frames=2, size=SIZE, seed=SEED)
    inverse = 1 / np.maximum(scene.depth[0], 1e-3)
    near = (255 * np.clip(inverse / np.quantile(inverse, 0.99), 0, 1)).astype(np.uint8)
    depth = cv2.cvtColor(cv2.applyColorMap(near, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    flow = scene.flow_forward[0]
    length, angle = cv2.cartToPolar(flow[..., 0].copy(), flow[..., 1].copy(), angleInDegrees=True)
    length = np.clip(length / max(np.quantile(length, 0.99), 1e-3), 0, 1)
    colours = np.stack((angle / 2, 255 * length, np.full_like(angle, 255)), axis=-1).astype(np.uint8)
    _write(path, np.concatenate((scene.frames[0], depth, cv2.cvtColor(colours, cv2.COLOR_HSV2RGB)), axis=1))


def protocols(path):
    """One pair of images scored by every protocol, as a table."""
    from mmweather.evaluation import score
    from mmweather.synthesis import haze, render_scene
    scene = render_scene('drive', frames=1, size=SIZE, seed=SEED)
    clean = scene.frames[0]
    # A restoration that is right up to a tint and a shift by a pixel.
    restored = np.roll(haze(scene.frames, scene.depth, beta=0.002, seed=SEED).lq[0], 1, axis=1)
    lines = ['| protocol | PSNR (dB) | SSIM |', '| --- | ---: | ---: |']
    for name in (*PROTOCOLS, 'koehler'):
        numbers = score(restored, clean, name)
        lines.append(f'| `{name}` | {numbers["psnr"]:.2f} | {numbers["ssim"]:.4f} |')
    Path(path).write_text('\n'.join(lines) + '\n', encoding='utf-8')


def api(folder):
    """A page per room, with a section per module: found, not listed, so that a new method is in the book by itself."""
    import mmweather
    home = Path(mmweather.__file__).parent
    folder.mkdir(exist_ok=True)
    pages = {}
    for path in sorted(home.rglob('*.py')):
        *rooms, name = path.relative_to(home.parent).with_suffix('').parts
        room = '.'.join(rooms)
        if room.startswith(ABSENT):
            continue
        modules = pages.setdefault(room, [])
        # What is private or is run is no reference.
        if not name.startswith('_') and f'{room}.{name}' not in ABSENT:
            modules.append(f'{room}.{name}')
    for room, modules in pages.items():
        sections = [f'# {room}', _automodule(room, ':no-members:')]
        sections += [f'## {name.rpartition(".")[2]}\n\n{_automodule(name)}' for name in modules]
        path = folder / f'{room}.md'
        text = '\n\n'.join(sections) + '\n'
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')


def _automodule(name, *options):
    lines = [f'.. automodule:: {name}', *(f'   {option}' for option in options)]
    return '\n'.join(['```{eval-rst}', *lines, '```'])


def _write(path, rgb):
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise OSError(f'{path} could not be written')
