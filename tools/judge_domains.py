"""Judge a dehazing network on every synthetic domain: PSNR before and after, and the gain.

    python tools/judge_domains.py cid_tiny work_dirs/cid_tiny/iter_4000.pth --videos tennis.mp4
    python tools/judge_domains.py dcp

The images are views of held-out scenes with exact depth, and frames of real videos with estimated depth, each degraded
once in every domain, and left clear. ``dcp`` is the dark channel prior.
"""
import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

#: Seeds of the held-out scenes; training uses small ones.
HELD_OUT = range(910_001, 910_009)
#: The rows besides the domains.
CLEAR = 'clear'


def clear_images(videos, scenes=8, size=(288, 512), frames=3):
    """The clear images and their depths.

    Args:
        videos (list[str]): Real clear videos that were not trained on.
        scenes (int): Number of held-out scenes. Defaults to 8.
        size (tuple[int, int]): Height and width of a scene. Defaults to (288, 512).
        frames (int): Frames of each video, evenly spread, and views of each scene. Defaults to 3.

    Yields:
        tuple[str, ndarray, ndarray]: ``'scenes'`` or the video's name, the image uint8 ``(H, W, 3)``, and its depth in
        metres ``(H, W)``.
    """
    from mmweather.inference import open_source
    from mmweather.synthesis import SceneRenderer, estimate_depth
    for number, seed in enumerate(HELD_OUT[:scenes]):
        renderer = SceneRenderer(('drive', 'walk')[number % 2], size, seed)
        for view in (renderer.frame(40 * t, flow=False) for t in range(frames)):
            yield 'scenes', view.frame, view.depth
    for video in videos:
        every = list(open_source(video))
        for index in np.linspace(0, len(every) - 1, frames).round().astype(int):
            yield Path(video).stem, every[index], estimate_depth(every[index])


def judge(restore, images, per_image=1):
    """Scores a method on every domain.

    Args:
        restore (Callable): From an image uint8 RGB ``(H, W, 3)`` to the restored one.
        images (Iterable[tuple]): As :func:`clear_images` yields them.
        per_image (int): Degraded images per image and domain. Defaults to 1.

    Returns:
        dict[str, dict[str, tuple[float, float]]]: By group and row (a domain, ``'clear'``) the mean PSNR in dB before
        and after; before is infinite for clear images.
    """
    from mmweather.evaluation import psnr
    from mmweather.synthesis import DOMAINS, degrade
    scores = {}
    for number, (group, clear, depth) in enumerate(images):
        rows = scores.setdefault(group, {})
        for domain in DOMAINS:
            for variant in range(per_image):
                made = degrade(clear, depth, domain, seed=1000 * number + variant)
                rows.setdefault(domain, []).append((psnr(made.lq, clear), psnr(restore(made.lq), clear)))
        rows.setdefault(CLEAR, []).append((np.inf, psnr(restore(clear), clear)))
    return {group: {row: tuple(float(mean) for mean in np.mean(values, axis=0)) for row, values in rows.items()}
            for group, rows in scores.items()}


def table(scores):
    """The scores as a Markdown table, with the mean over the domains as last row."""
    groups = list(scores)
    lines = ['| domain | ' + ' | '.join(f'{group}: before | after | gain' for group in groups) + ' |',
             '| --- |' + ' --- | --- | --- |' * len(groups)]
    rows = {row: [scores[group][row] for group in groups] for row in scores[groups[0]]}
    clear = rows.pop(CLEAR)
    rows['**mean**'] = [tuple(np.mean([values[index] for values in rows.values()], axis=0))
                        for index in range(len(groups))]
    for row, values in rows.items():
        cells = ' | '.join(f'{before:.2f} | {after:.2f} | {after - before:+.2f}' for before, after in values)
        lines.append(f'| {row} | {cells} |')
    lines.append('| clear images | ' + ' | '.join(f'inf | {after:.2f} | ' for _, after in clear) + ' |')
    return '\n'.join(lines)


def network_restorer(network):
    """A network as a function from image to image."""
    from mmweather.models import restore_frames

    def restore(image):
        frame = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        restored, = restore_frames(network, iter([frame]))
        return (restored.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()

    return restore


def main():
    """Runs the judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='name or path of a config, or dcp for the dark channel prior')
    parser.add_argument('checkpoint', nargs='?', help='what the training wrote; the bundled weights by default')
    parser.add_argument('--videos', nargs='*', default=[], help='real clear videos that were never trained on')
    parser.add_argument('--scenes', type=int, default=len(HELD_OUT), help='number of held-out scenes (8)')
    parser.add_argument('--per-image', type=int, default=1, help='degraded images per image and domain (1)')
    parser.add_argument('--json', help='file for the numbers')
    args = parser.parse_args()

    from mmweather import zoo
    if args.checkpoint:
        network = zoo.build_network(args.model)
        print(zoo.load_weights(network, args.checkpoint))
    else:
        network = zoo.load_bundled(args.model)
    scores = judge(network_restorer(network.eval()), clear_images(args.videos, args.scenes), args.per_image)
    print(table(scores))
    if args.json:
        Path(args.json).write_text(json.dumps(scores, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
