"""Score a network for stereo haze on held-out procedural scenes, beside the dark channel prior on each view.

    python tools/judge_stereo.py pmcn_tiny CHECKPOINT [--without CONFIG CHECKPOINT]

Thirty scenes, of which the first six are those of configs/_base_/data_synthetic_haze_test.py: 256x512, 7 frames, SFVC's
three densities in turn, the airlight from the clear scene. Six are too few to tell two networks apart: from scene to
scene their difference varies by a dB. A second table has the same scenes in haze of another colour than the scene's
light, behind which nothing tells what the sky looks like.
"""
import argparse
import sys

import numpy as np
import torch
from rich.progress import track

#: Seeds of the held-out scenes: what SyntheticHaze makes of its seed 9. Training has seed 0.
HELD_OUT = range(900_027, 900_057)

#: PSNR in dB from which two frames count as the same; that of equal ones is infinite.
SAME = 60.0


def scenes(airlight):
    """The held-out scenes.

    Args:
        airlight (str): Where the haze has its colour from; see :class:`mmweather.datasets.SyntheticHaze`.

    Yields:
        tuple[float, ndarray, ndarray]: The haze's density in 1/m, the hazy and the clear clip, uint8
        ``(T, 2, H, W, 3)``.
    """
    from mmweather.datasets import SyntheticHaze
    dataset = SyntheticHaze(scenes=len(HELD_OUT), scene_frames=7, num_frames=7, baselines=(0.22, ), seed=9,
                            test_mode=True, airlight=airlight)
    for index in range(len(dataset)):
        sample = dataset[index]
        yield dataset.betas[index % len(dataset.betas)], sample['lq'], sample['gt']


def restore_pair(network, clip):
    """Restores both views ``(T, 2, H, W, 3)`` uint8, together, or one by one where the network takes one view."""
    from mmweather.models import restore_frames

    def restored(frames):
        tensors = (torch.from_numpy(frame).movedim(-1, -3) for frame in frames)
        return np.stack([(frame * 255).round().byte().movedim(-3, -1).numpy()
                         for frame in restore_frames(network, tensors)])

    if getattr(network, 'stereo', False):
        return restored(clip)
    return np.stack([restored(clip[:, view]) for view in range(2)], axis=1)


def psnr_of_views(frames, clear):
    """Mean PSNR over frames in dB, left and right."""
    from mmweather.evaluation import psnr
    return [float(np.mean([min(psnr(frame, truth), SAME) for frame, truth in zip(frames[:, view], clear[:, view])]))
            for view in range(2)]


def judge(methods):
    """Scores networks on both kinds of airlight.

    Args:
        methods (dict[str, nn.Module]): Networks by what to call them.

    Returns:
        str: Two Markdown tables: PSNR in dB, left / right.
    """
    return (f'{table(methods, "scene")}\n\nThe same scenes in haze whose colour has nothing to do with the '
            f'scene:\n\n{table(methods, "random")}')


def table(methods, airlight):
    """Scores networks by density.

    Args:
        methods (dict[str, nn.Module]): Networks by what to call them.
        airlight (str): See :func:`scenes`.

    Returns:
        str: A Markdown table: PSNR in dB, left / right.
    """
    rows, clean = {}, {name: [] for name in methods}
    for beta, hazy, clear in track(list(scenes(airlight)), f'Held-out scenes, airlight: {airlight}'):
        row = rows.setdefault(f'beta {beta:g}', {name: [] for name in ('hazy', *methods)})
        row['hazy'].append(psnr_of_views(hazy, clear))
        for name, network in methods.items():
            row[name].append(psnr_of_views(restore_pair(network, hazy), clear))
            clean[name].append(psnr_of_views(restore_pair(network, clear[:2]), clear[:2]))
    rows['mean'] = {name: [pair for row in rows.values() for pair in row[name]] for name in ('hazy', *methods)}
    lines = [f'| held-out stereo scenes | {" | ".join(("hazy", *methods))} |', '| --- ' * (len(methods) + 2) + '|']
    for label, row in rows.items():
        lines.append(f'| {label} | ' + ' | '.join(_views(pairs) for pairs in row.values()) + ' |')
    hazy = np.mean(rows['mean']['hazy'], axis=0)
    gains = ['{:+.2f} / {:+.2f}'.format(*(np.mean(rows['mean'][name], axis=0) - hazy)) for name in methods]
    lines.append(f'| gain | | {" | ".join(gains)} |')
    lines.append(f'| clear input | | {" | ".join(_views(pairs) for pairs in clean.values())} |')
    return '\n'.join(lines)


def _views(pairs):
    return ' / '.join(f'{value:.2f}' for value in np.mean(pairs, axis=0))


def load(config, checkpoint):
    """A network with the weights of a checkpoint, rounded to float16 as they are bundled."""
    from mmweather import zoo
    network = zoo.build_network(config)
    zoo.load_weights(network, checkpoint)
    return network.half().float().eval()


def main():
    """Runs the judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='name or path of the config')
    parser.add_argument('checkpoint', help='what the training wrote')
    parser.add_argument('--without', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='the same without parallax')
    args = parser.parse_args()
    from mmweather import zoo
    methods = {'network': load(args.config, args.checkpoint)}
    if args.without:
        methods['without parallax'] = load(*args.without)
    methods['dark channel prior'] = zoo.load_bundled('dcp')
    print(judge(methods))


if __name__ == '__main__':
    sys.exit(main())
