"""Turn a training checkpoint into bundled weights with a card: float16 safetensors, judged before they are written.

    python tools/export_weights.py vimpnet_tiny work_dirs/vimpnet_tiny/iter_4000.pth --degradation rain \
        --judge tennis.mp4 --trained-on "..." --command "python tools/train.py ..."

The judge is three-fold: held-out procedural scenes, real videos that were never trained on, and clean frames, which
have to pass unharmed. The weights are rounded to float16 before they are judged, so the card tells what ships.
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

#: Seeds of the held-out scenes; training uses small ones.
HELD_OUT = range(900_001, 900_007)


@dataclass
class Verdict:
    """PSNR in dB, mean over frames by the protocol ``vrds``."""
    name: str
    before: float
    after: float

    def __str__(self):
        before = f'{self.before:.2f}' if np.isfinite(self.before) else 'clean'
        gain = f'{self.after - self.before:+.2f}' if np.isfinite(self.before) else ''
        return f'| {self.name} | {before} | {self.after:.2f} | {gain} |'


def degrade(kind, frames, seed, scene=None):
    """Degrades clean frames ``(T, H, W, 3)`` with the synthesis at its default strength.

    Returns:
        tuple[ndarray, ndarray]: The degraded frames and what they should be restored to, which for a shaken camera
        are not the frames that were given.
    """
    if kind == 'rain':
        from mmweather.synthesis.rainy import rain_on
        return rain_on(frames, seed=seed, depth=None if scene is None else scene.depth).lq, frames
    if kind == 'blur':
        from mmweather.synthesis.blur import blur_on
        blurred = blur_on(frames, seed=seed)
        return blurred.lq, blurred.gt
    if kind == 'snow':
        from mmweather.synthesis.snow import snow_on
        return snow_on(frames, seed=seed, depth=None if scene is None else scene.depth).lq, frames
    raise ValueError(f'degradation: unknown kind {kind!r}')


def restore(network, frames):
    """Restores uint8 frames ``(T, H, W, 3)`` by the network's everyday protocol and rounds to uint8."""
    from mmweather.models import restore_frames
    tensors = (torch.from_numpy(frame).permute(2, 0, 1) for frame in frames)
    restored = [(frame.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
                for frame in restore_frames(network, tensors)]
    return np.stack(restored)


def unsharp_masks(frames):
    """Yields the frames sharpened the old way, ``f + amount (f - blurred f)``, at several settings."""
    import cv2
    for sigma in (1, 2, 4):
        soft = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames]).astype(np.float32)
        for amount in (0.1, 0.25, 0.5, 1.0):
            sharpened = frames + amount * (frames - soft)
            yield np.clip(np.rint(sharpened), 0, 255).astype(np.uint8)


def mean_psnr(frames, clean):
    """Mean PSNR over frames."""
    from mmweather.evaluation import psnr
    return float(np.mean([psnr(frame, truth) for frame, truth in zip(frames, clean)]))


def judge(network, kind, videos, scene_frames=10):
    """Scores the network on held-out scenes and on real videos, degraded and clean.

    Args:
        network (nn.Module): In evaluation mode.
        kind (str): The degradation.
        videos (list[str]): Real clean videos that were not trained on.
        scene_frames (int): Frames per scene. Defaults to 10.

    Returns:
        list[Verdict]: One per row of the card.
    """
    from mmweather.inference import open_source
    from mmweather.synthesis.scenes import render_scene
    rows, clean_scores, unsharp_scores = [], [], []
    for index, seed in enumerate(track(HELD_OUT, 'Held-out scenes')):
        scene = render_scene(('drive', 'walk')[index % 2], frames=scene_frames, size=(240, 432), seed=seed)
        degraded, truth = degrade(kind, scene.frames, seed, scene)
        rows.append((mean_psnr(degraded, truth), mean_psnr(restore(network, degraded), truth)))
        clean_scores.append(mean_psnr(restore(network, scene.frames), scene.frames))
        if kind == 'blur':
            unsharp_scores.append([mean_psnr(sharpened, truth) for sharpened in unsharp_masks(degraded)])
    verdicts = [Verdict(f'held-out scenes ({len(rows)} x {scene_frames} frames, 432x240)', *np.mean(rows, axis=0))]
    if unsharp_scores:
        verdicts.append(Verdict('the same by unsharp masking, best of 12 settings', verdicts[0].before,
                                float(np.mean(unsharp_scores, axis=0).max())))
    verdicts.append(Verdict('the same scenes, clean', np.inf, float(np.mean(clean_scores))))
    for video in videos:
        frames = np.stack(list(open_source(video)))
        degraded, truth = degrade(kind, frames, 1)
        name = f'{Path(video).stem} ({len(frames)} frames, {frames.shape[2]}x{frames.shape[1]})'
        verdicts.append(Verdict(f'real video, {name}', mean_psnr(degraded, truth),
                                mean_psnr(restore(network, degraded), truth)))
        if kind == 'blur':
            verdicts.append(Verdict('the same by unsharp masking, best of 12 settings', verdicts[-1].before,
                                    max(mean_psnr(sharpened, truth) for sharpened in unsharp_masks(degraded))))
        if kind == 'snow':
            from mmweather.zoo import load_bundled
            verdicts.append(Verdict('the same by the median of 5 aligned frames (--model median)', verdicts[-1].before,
                                    mean_psnr(restore(load_bundled('median'), degraded), truth)))
        verdicts.append(Verdict('the same video, clean', np.inf, mean_psnr(restore(network, frames), frames)))
    return verdicts


def domain_table(network, videos):
    """Scores the network on every domain of haze, and the dark channel prior beside it.

    Args:
        network (nn.Module): In evaluation mode.
        videos (list[str]): Real clear videos that were not trained on.

    Returns:
        str: Both tables of :mod:`judge_domains`.
    """
    import judge_domains

    from mmweather.zoo import load_bundled
    ours, prior = (judge_domains.table(judge_domains.judge(judge_domains.network_restorer(method),
                                                           judge_domains.clear_images(videos)))
                   for method in (network, load_bundled('dcp')))
    return f'{ours}\n\nThe same by the dark channel prior (`--model dcp`):\n\n{prior}'


def main():
    """Runs the export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='name or path of the config')
    parser.add_argument('checkpoint', help='what the training wrote')
    parser.add_argument('--degradation', default='rain', help='what the network removes (rain)')
    parser.add_argument('--judge', nargs='*', default=[], help='real clean videos that were never trained on')
    parser.add_argument('--without', nargs=2, metavar=('CONFIG', 'CHECKPOINT'),
                        help='of stereo haze: the same without parallax, to be judged beside it')
    parser.add_argument('--trained-on', default='', help='the data, for the card')
    parser.add_argument('--command', default='', help='the training command, for the card')
    parser.add_argument('--dry-run', action='store_true', help='judge only')
    parser.add_argument('-o', '--output', help='folder; the package\'s zoo by default')
    args = parser.parse_args()

    from mmweather import zoo
    network = zoo.build_network(args.config)
    print(zoo.load_weights(network, args.checkpoint))
    network.half().float().eval()
    if args.degradation == 'haze':
        table = domain_table(network, args.judge)
    elif args.degradation == 'stereo haze':
        import judge_stereo
        methods = {network.model_name: network}
        if args.without:
            methods['without parallax'] = judge_stereo.load(*args.without)
        table = judge_stereo.judge(dict(methods, **{'dark channel prior': zoo.load_bundled('dcp')}))
    else:
        verdicts = judge(network, args.degradation, args.judge)
        table = '\n'.join(('| judged on | before (dB) | after (dB) | gain (dB) |', '| --- | --- | --- | --- |',
                           *map(str, verdicts)))
    Console().print(table)
    if args.dry_run:
        return
    folder = Path(args.output) if args.output else Path(zoo.__file__).parent
    write(network, folder / f'{network.model_name}.safetensors', table, args)


def write(network, path, table, args):
    """Writes weights and card."""
    from safetensors.torch import save_file

    from mmweather import __version__
    state = {key: (value.half() if value.is_floating_point() else value).contiguous()
             for key, value in network.state_dict().items()}
    save_file(state, path, metadata=dict(model=network.model_name, package=f'mmweather {__version__}',
                                         license='Apache-2.0'))
    parameters = sum(p.numel() for p in network.parameters())
    seeds = HELD_OUT
    if args.degradation == 'haze':
        from judge_domains import HELD_OUT as seeds
    elif args.degradation == 'stereo haze':
        from judge_stereo import HELD_OUT as seeds
    path.with_suffix('.md').write_text(f"""# {network.model_name}

{parameters:,} parameters, float16, {path.stat().st_size / 1e6:.2f} MB. Licence: Apache-2.0.

- Network: `configs/{network.model_name}.py`
- Trained on: {args.trained_on}
- Command: `{args.command}`
- Removes: {args.degradation}, synthesised by the package at its default strength where judged

{table}

PSNR by the protocol `vrds` (8-bit RGB), mean over frames. The scenes' seeds ({seeds.start} to {seeds.stop - 1})
{'and the real video ' if args.judge else ''}were never trained on.
""", encoding='utf-8')
    Console().print(f'Wrote {path} and its card.')


if __name__ == '__main__':
    sys.exit(main())
