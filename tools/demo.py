"""A rainy drive, rendered, restored with the bundled weights and scored: ``make demo``.

Leaves ``clean.mp4``, ``rainy.mp4``, ``restored.mp4``, ``side_by_side.mp4`` and ``strip.png`` in the output folder. The
scene's seed is far from those of the training, so nothing in it was ever trained on.
"""
import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

SEED = 20_231_029
CONSOLE = Console()


def main():
    """Runs the demo."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-o', '--output', default='demo_output', help='folder for the results (demo_output)')
    parser.add_argument('--frames', type=int, default=24, help='length of the drive (24)')
    parser.add_argument('--size', default='432x240', help='width x height (432x240)')
    parser.add_argument('--model', default='vimpnet_tiny', help='a model with bundled weights (vimpnet_tiny)')
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split('x'))
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)

    from mmweather.inference import open_source, restore_video
    from mmweather.synthesis.rainy import rain_on
    from mmweather.synthesis.scenes import render_scene

    with CONSOLE.status(f'Rendering {args.frames} frames of a drive and raining on them'):
        scene = render_scene('drive', frames=args.frames, size=(height, width), seed=SEED)
        rainy = rain_on(scene.frames, seed=SEED, fps=scene.fps, depth=scene.depth)
    rate = round(scene.fps)
    _write_video(folder / 'clean.mp4', scene.frames, rate)
    _write_video(folder / 'rainy.mp4', rainy.lq, rate)

    with CONSOLE.status('Restoring') as status:
        summary = restore_video(
            folder / 'rainy.mp4', folder / 'restored.mp4', model=args.model,
            progress=lambda done, total: status.update(f'Restoring, frame {done} of {total}'))
    restored = np.stack(list(open_source(folder / 'restored.mp4')))
    # What the network saw and what it is judged by went through the same encoder.
    seen, truth = (np.stack(list(open_source(folder / name))) for name in ('rainy.mp4', 'clean.mp4'))

    _report(seen, restored, truth)
    _write_video(folder / 'side_by_side.mp4', np.concatenate((seen, restored), axis=2), rate)
    _write_strip(folder / 'strip.png', seen, restored, truth)
    CONSOLE.print(f'{summary}')
    CONSOLE.print(f'Look at [bold]{folder / "side_by_side.mp4"}[/bold] and [bold]{folder / "strip.png"}[/bold] '
                  '(top to bottom: rainy, restored, clean).')


def _write_video(path, frames, rate):
    from mmweather.inference import open_sink
    with open_sink(path, fps=rate) as sink:
        for frame in frames:
            sink.write(frame)


def _report(seen, restored, truth):
    from mmweather.evaluation import score
    rows = [(score(a, c, 'vrds'), score(b, c, 'vrds')) for a, b, c in zip(
        track(seen, 'Scoring', console=CONSOLE, transient=True), restored, truth)]
    table = Table(title='protocol vrds, mean over frames')
    for column in ('', 'PSNR (dB)', 'SSIM'):
        table.add_column(column, justify='right' if column else 'left')
    means = [{name: np.mean([row[which][name] for row in rows]) for name in ('psnr', 'ssim')} for which in (0, 1)]
    for label, mean in zip(('rainy', 'restored'), means):
        table.add_row(label, f'{mean["psnr"]:.2f}', f'{mean["ssim"]:.4f}')
    table.add_row('gain', f'{means[1]["psnr"] - means[0]["psnr"]:+.2f}', f'{means[1]["ssim"] - means[0]["ssim"]:+.4f}')
    CONSOLE.print(table)


def _write_strip(path, *rows):
    moments = np.linspace(0, len(rows[0]) - 1, 4).round().astype(int)
    strip = np.concatenate([np.concatenate([row[moment] for moment in moments], axis=1) for row in rows])
    cv2.imwrite(str(path), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))


if __name__ == '__main__':
    sys.exit(main())
