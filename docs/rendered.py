"""What the book shows of the package itself: pictures and numbers that are made while it is built.

They lie in ``docs/_generated`` and are made once; remove the folder to make them again.
"""
from pathlib import Path

import cv2
import numpy as np

SIZE = (180, 320)
SEED = 11
PROTOCOLS = ('vrds', 'rvsd', 'sfvc', 'plain')


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


def _write(path, rgb):
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise OSError(f'{path} could not be written')
