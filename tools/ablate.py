"""What each part of a method is worth: the same short training with and without it, in one table.

    python tools/ablate.py svdnet_tiny_short configs/ablations/svdnet_*.py --iters 300 --degradation snow \
        --judge tennis.mp4 --work-dir work_dirs/ablations --cfg-options "train_dataloader.dataset.videos=[a.mp4]"

An ablation config changes a few lines of the config it inherits. Those lines are laid over the config that is trained
here, which may be a smaller one, so that a table costs minutes. All trainings share seed, data, schedule and length; a
training that is there already is not repeated.
"""
import argparse
import subprocess
import sys
from pathlib import Path

from export_weights import HELD_OUT, degrade, mean_psnr, restore
from mmengine import Config


def changes(child, parent):
    """What ``child`` sets otherwise than ``parent``, as nested dicts."""
    changed = {}
    for key, value in child.items():
        if key not in parent or value != parent[key]:
            both = isinstance(value, dict) and isinstance(parent.get(key), dict)
            changed[key] = changes(value, parent[key]) if both else value
    return changed


def variant(base, ablation, iters):
    """The config to train: ``base`` with the changes of ``ablation``, for so many iterations.

    Args:
        base (str | Path): Config file that is trained.
        ablation (str | Path, optional): Config file of the ablation, None for the whole method.
        iters (int): Iterations, over which the learning rate falls to a twentieth.

    Returns:
        Config: The config.
    """
    config = Config.fromfile(base)
    if ablation is not None:
        parents = Config.fromfile(ablation)
        root = Path(ablation).parent / _base_of(ablation)
        config.merge_from_dict(dict(model=changes(parents.model.to_dict(), Config.fromfile(root).model.to_dict())))
    config.merge_from_dict(dict(
        train_cfg=dict(max_iters=iters),
        default_hooks=dict(checkpoint=dict(interval=iters), logger=dict(interval=max(1, iters // 5)))))
    rate = config.optim_wrapper.optimizer.lr
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=iters // 10),
        dict(type='CosineAnnealingLR', T_max=iters, eta_min=rate / 20, by_epoch=False, begin=0, end=iters)]
    return config


def _base_of(path):
    """The one config that a config names in its ``_base_``."""
    names = Config._get_base_files(str(path))
    if len(names) != 1:
        raise ValueError(f'{path}: an ablation inherits one config, not {len(names)}')
    return names[0]


def exams(kind, video):
    """What the networks are judged on, made once for all of them.

    Args:
        kind (str): The degradation.
        video (str, optional): A real clean video that was never trained on; its first 20 frames are taken.

    Returns:
        dict[str, list[tuple]]: Pairs of degraded frames and truth, for the scenes and for the video.
    """
    import numpy as np

    from mmweather.synthesis.scenes import render_scene
    pairs = dict(scenes=[], video=[])
    for index, seed in enumerate(HELD_OUT):
        scene = render_scene(('drive', 'walk')[index % 2], frames=5, size=(240, 432), seed=seed)
        pairs['scenes'].append(degrade(kind, scene.frames, seed, scene))
    if video is not None:
        from mmweather.inference import open_source
        pairs['video'].append(degrade(kind, np.stack(list(open_source(video)))[:20], 1))
    return pairs


def judge(config, checkpoint, pairs):
    """The number of parameters, and the mean gain in dB on each kind of exam, None where there is none."""
    import numpy as np

    from mmweather import zoo
    from mmweather.registry import MODELS
    network = MODELS.build(config.model.generator).eval()
    zoo.load_weights(network, checkpoint)
    gains = [[mean_psnr(restore(network, degraded), truth) - mean_psnr(degraded, truth) for degraded, truth in group]
             for group in (pairs['scenes'], pairs['video'])]
    return sum(p.numel() for p in network.parameters()), *(float(np.mean(gain)) if gain else None for gain in gains)


def main():
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='name or path of the config that is trained')
    parser.add_argument('ablations', nargs='+', help='configs that change what they ablate')
    parser.add_argument('--iters', type=int, default=300, help='iterations of each training (300)')
    parser.add_argument('--degradation', default='snow', help='what the network removes (snow)')
    parser.add_argument('--judge', help='a real clean video that was never trained on')
    parser.add_argument('--work-dir', default='work_dirs/ablations', help='where the trainings go')
    parser.add_argument('--amp', action='store_true', help='mixed precision, as for tools/train.py')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='for all trainings, as for tools/train.py')
    parser.add_argument('-o', '--output', type=Path, help='Markdown file for the table')
    args = parser.parse_args()

    import mmweather  # noqa: F401  applies the repairs
    from mmweather import zoo
    base, folder = zoo.find_config(args.config), Path(args.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'| {args.iters} iterations | parameters | held-out scenes (dB) | real video (dB) |',
             '| --- | ---: | ---: | ---: |']
    print(*lines, sep='\n')
    pairs = exams(args.degradation, args.judge)
    for ablation in (None, *map(Path, args.ablations)):
        name = 'whole' if ablation is None else ablation.stem
        config = variant(base, ablation, args.iters)
        config.dump(folder / f'{name}.py')
        checkpoint = folder / name / f'iter_{args.iters}.pth'
        if not checkpoint.is_file():
            command = [sys.executable, str(Path(__file__).with_name('train.py')), str(folder / f'{name}.py'),
                       '--work-dir', str(folder / name), *(['--amp'] if args.amp else [])]
            if args.cfg_options:
                command += ['--cfg-options', *args.cfg_options]
            with open(folder / f'{name}.log', 'w', encoding='utf-8') as log:
                subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
        parameters, scenes, video = judge(config, checkpoint, pairs)
        lines.append(f'| {name} | {parameters:,} | {scenes:+.2f} | {"" if video is None else f"{video:+.2f}"} |')
        print(lines[-1], flush=True)
    if args.output:
        args.output.write_text('\n'.join([*lines, '']), encoding='utf-8')


if __name__ == '__main__':
    main()
