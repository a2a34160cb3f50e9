"""Does the blur-invariant loss make motion invariant to blur? Two BIMNets from one beginning, one table.

    python tools/blur_invariance.py --steps 600 --videos a.mp4 b.mp4

Both start from the same weights (--checkpoint, or some supervised steps on sharp scenes) and train on the same blurred
clips: one by the blur-invariant loss, one by an ordinary photometric loss that knows the blurred frames alone. Both are
judged by the exact flow of held-out blurred scenes: mean end-point error in pixels, for every mix of blurred (b) and
sharp (s) frames, the current one first.
"""
import argparse
import copy
import sys

import numpy as np
import torch

MIXES = ('bb', 'bs', 'sb', 'ss')


def main():
    """Trains both and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='bimnet_tiny', help='whose generator is trained (bimnet_tiny)')
    parser.add_argument('--checkpoint', help='where both begin; supervised steps on sharp scenes by default')
    parser.add_argument('--supervised-steps', type=int, default=600, help='without a checkpoint (600)')
    parser.add_argument('--steps', type=int, default=600, help='of each of the two losses (600)')
    parser.add_argument('--batch', type=int, default=6, help='clips of three frames per step (6)')
    parser.add_argument('--crop', type=int, default=128, help='side of the crops in pixels (128)')
    parser.add_argument('--scenes', type=int, default=24, help='procedural scenes to train on (24)')
    parser.add_argument('--held-out', type=int, default=6, help='procedural scenes to judge by (6)')
    parser.add_argument('--videos', nargs='*', default=[], help='clean videos to train on as well')
    parser.add_argument('--cache-dir', help='for rendered scenes; $MMWEATHER_CACHE by default')
    parser.add_argument('--lr', type=float, default=3e-4, help='learning rate (3e-4)')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()

    from mmweather import zoo
    from mmweather.models.pvdnet import BlurInvariantLoss, EndPointLoss
    torch.manual_seed(args.seed)
    beginning = zoo.build_network(args.config)
    clips = dict(scenes=args.scenes, num_frames=3, crop_size=args.crop, max_pan=8, cache_dir=args.cache_dir)
    if args.checkpoint:
        print(zoo.load_weights(beginning, args.checkpoint))
    else:
        loss = EndPointLoss(mixes=('ss', ))
        train(beginning, dataset(with_flow=True, **clips), loss, args.supervised_steps, 1e-3, args)
    invariant = BlurInvariantLoss(pyramid_weight=1.0, draw=1)
    ordinary = BlurInvariantLoss(mixes=('bb', ), pyramid_weight=1.0)
    losses = {
        'blur-invariant loss': lambda network, blurred, sharp: invariant(network, blurred, sharp),
        'ordinary loss': lambda network, blurred, sharp: ordinary(network, blurred, blurred),
    }
    networks = {'where both begin': beginning}
    for name, loss in losses.items():
        networks[name] = copy.deepcopy(beginning)
        train(networks[name], dataset(videos=args.videos, **clips), loss, args.steps, args.lr, args)

    held_out = dataset(scenes=args.held_out, num_frames=8, scene_frames=8, with_flow=True, test_mode=True, seed=9000,
                       cache_dir=args.cache_dir)
    print(f'| | {" | ".join(MIXES)} | mean |\n| --- |{" ---: |" * (len(MIXES) + 1)}')
    print(row('no flow at all', end_point_errors(None, held_out)))
    for name, network in networks.items():
        print(row(name, end_point_errors(network, held_out)))


def dataset(**options):
    """Blurred clips; see :class:`SyntheticBlur`."""
    from mmweather.datasets import SyntheticBlur
    return SyntheticBlur(**{'scene_frames': 15, **options})


def train(network, clips, loss, steps, lr, args):
    """Trains by Adam with warm-up and a cosine to zero; the same seed gives the same clips."""
    from rich.progress import track
    torch.manual_seed(args.seed)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    for step in track(range(steps), 'Training'):
        batch = [clips.draw_sample(0, np.random.default_rng([args.seed, step, index])) for index in range(args.batch)]
        total = sum(loss(network, *pairs(batch)).values())
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
        schedule.step()


def pairs(samples):
    """Neighbouring frames of samples: (current, previous) blurred, the same sharp, and the flow if it is there."""
    clips = {key: torch.from_numpy(np.stack([sample[key] for sample in samples])).movedim(-1, 2)
             for key in ('lq', 'gt', 'flow') if key in samples[0]}
    frames = [(clips[key][:, 1:].flatten(0, 1) / 255, clips[key][:, :-1].flatten(0, 1) / 255) for key in ('lq', 'gt')]
    return *frames, *([clips['flow'][:, 1:].flatten(0, 1)] if 'flow' in clips else [])


def end_point_errors(network, clips):
    """Mean end-point error in pixels per mix, over all pixels with known flow; of zero flow without a network."""
    totals, count = dict.fromkeys(MIXES, 0.0), 0
    for index in range(len(clips)):
        blurred, sharp, flow = pairs([clips.draw_sample(index, np.random.default_rng(index))])
        # whole multiples, beyond which there is no flow
        divisor = network.size_divisor if network else 1
        rows, columns = (side // divisor * divisor for side in flow.shape[-2:])
        flow = flow[..., :rows, :columns]
        known = torch.isfinite(flow).all(dim=1)
        count += int(known.sum())
        kinds = dict(b=blurred, s=sharp)
        for mix in MIXES:
            with torch.no_grad():
                found = network.eval()(kinds[mix[0]][0][..., :rows, :columns], kinds[mix[1]][1][..., :rows, :columns]) \
                    if network else torch.zeros_like(flow)
            totals[mix] += float((found - flow).norm(dim=1)[known].sum())
    return {mix: total / count for mix, total in totals.items()}


def row(name, errors):
    """A line of the table."""
    values = [*errors.values(), sum(errors.values()) / len(errors)]
    return f'| {name} | {" | ".join(f"{value:.3f}" for value in values)} |'


if __name__ == '__main__':
    sys.exit(main())
