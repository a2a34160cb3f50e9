"""Train and test a set of configs with the same seed and budget, and write one table.

    python tools/run_ablation.py configs/vimpnet.py configs/ablations/vimpnet_*.py --iters 20000 --work-dir work_dirs/a
    python tools/run_ablation.py configs/vimpnet_tiny.py configs/baselines/edvr_vrds.py --iters 500 \\
        --cfg-options test_dataloader.dataset.data_root=data/VRDS

The first config is what the others are compared with. Each is trained and tested by tools/train.py and tools/test.py in
a folder of its own, with its schedule shortened in proportion. The same command goes on where it was stopped: what is
done is not done again, and a training resumes at its last checkpoint. The table is written anew after every config, as
Markdown and as JSON. (tools/ablate.py instead lays ablations over a smaller config and judges on synthesised weather.)
"""
import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
#: What of a scheduler counts iterations.
COUNTS = ('T_max', 'begin', 'end', 'milestones', 'periods', 'step_size', 'total_iters')


def main():
    """Runs the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='names or paths; the first is what others are compared with')
    parser.add_argument('--iters', type=int, help="iterations of each; each config's own by default")
    parser.add_argument('--seed', type=int, default=0, help='of weights and samples (0)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'), help='(work_dirs/ablation)')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision')
    parser.add_argument('--checkpoint-interval', type=int, default=1000, metavar='N',
                        help='iterations that an interruption can cost (1000)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for all of them')
    args = parser.parse_args()
    from mmweather.errors import UserError
    try:
        rows = []
        for name in args.configs:
            rows.append(run(name, args))
            write_table(rows, args)
    except UserError as error:
        print(f'mmweather: {error}', file=sys.stderr)
        return error.exit_code
    print((args.work_dir / 'table.md').read_text())
    return 0


def run(name, args):
    """Trains and tests one config unless that is done.

    Returns:
        dict: ``name``, ``config`` (what was run), ``parameters``, ``metrics`` and ``seconds`` of the training.
    """
    from mmweather.errors import UserError
    from mmweather.zoo import find_config
    path = find_config(name)
    folder = args.work_dir / path.stem
    config = prepared(path, args)
    result = folder / 'result.json'
    if result.is_file():
        done = json.loads(result.read_text())
        if done['config'] != plain(config):
            raise UserError(f'{result} is of another configuration or budget; give another --work-dir')
        return done
    folder.mkdir(parents=True, exist_ok=True)
    derived = folder / f'{path.stem}.py'
    config.dump(derived)
    started = time.time()
    call('train.py', derived, '--work-dir', folder, '--resume', *(['--amp'] if args.amp else []))
    seconds = time.time() - started
    call('test.py', derived, folder / f'iter_{config.train_cfg.max_iters}.pth', '--work-dir', folder)
    row = dict(name=path.stem, config=plain(config), parameters=parameters(config), metrics=newest_metrics(folder),
               seconds=seconds)
    # Whole or not at all: whoever finds it takes the run for finished.
    part = result.with_suffix('.part')
    part.write_text(json.dumps(row, indent=1) + '\n', encoding='utf-8')
    part.replace(result)
    return row


def prepared(path, args):
    """A config with the common settings and its schedule shortened to the budget."""
    from mmengine import Config, DictAction

    from mmweather.errors import UserError
    config = Config.fromfile(path)
    for key in ('train_dataloader', 'test_dataloader'):
        if config.get(key) is None:
            raise UserError(f'{path}: has no {key}, so it cannot be trained and tested; choose another config')
    if args.iters:
        share = args.iters / config.train_cfg.max_iters
        schedulers = config.get('param_scheduler') or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            for key in COUNTS:
                if key in scheduler:
                    scheduler[key] = scaled(scheduler[key], share)
        config.train_cfg.max_iters = args.iters
    options = dict(option.partition('=')[::2] for option in args.cfg_options)
    config.merge_from_dict({key: DictAction._parse_iterable(value) for key, value in options.items()})
    config.merge_from_dict({'randomness.seed': args.seed,
                            'default_hooks.checkpoint.interval': args.checkpoint_interval})
    return config


def scaled(value, share):
    """Iterations, or a list of them, of a shorter schedule; none becomes zero that was not."""
    if isinstance(value, (list, tuple)):
        return [scaled(item, share) for item in value]
    return max(1, round(value * share)) if value else value


def call(script, *arguments):
    """Runs one of our scripts, whose output goes on to the terminal."""
    from mmweather.errors import UserError
    done = subprocess.run([sys.executable, TOOLS / script, *map(str, arguments)], check=False)
    if done.returncode:
        raise UserError(f'tools/{script} {arguments[0]} ended with code {done.returncode}; see above, and run the same '
                        'command again to go on')


def plain(config):
    """What decides the result of a run, as JSON knows it."""
    wanted = ('model', 'train_dataloader', 'test_dataloader', 'optim_wrapper', 'param_scheduler', 'train_cfg',
              'randomness', 'custom_hooks')
    return json.loads(json.dumps({key: config.get(key) for key in wanted}, default=str))


def parameters(config):
    """Parameters of a config's network."""
    from mmengine.registry import init_default_scope

    from mmweather.registry import MODELS
    init_default_scope(config.get('default_scope', 'mmweather'))
    return sum(parameter.numel() for parameter in MODELS.build(config.model.generator).parameters())


def newest_metrics(folder):
    """The numbers of the last test in a work dir, as MMEngine has written them."""
    newest = max((path for path in folder.glob('*/*.json')), key=lambda path: path.stat().st_mtime)
    numbers = json.loads(newest.read_text().splitlines()[-1])
    return {name: value for name, value in numbers.items() if '/' in name}


def differences(config, reference, prefix=''):
    """The settings in which a config differs from another, as 'key=value'."""
    found = []
    for key in sorted({*config, *reference}):
        ours, theirs = config.get(key), reference.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            found += differences(ours, theirs, f'{prefix}{key}.')
        elif ours != theirs:
            found.append(f'{prefix}{key}={ours}')
    return found


def write_table(rows, args):
    """Writes ``table.md`` and ``table.json``."""
    names = list(dict.fromkeys(name for row in rows for name in row['metrics']))
    budget = f'{args.iters} iterations' if args.iters else "each config's own number of iterations"
    lines = [f'Seed {args.seed}, {budget}.', '',
             '| ' + ' | '.join(['config', 'changes', 'parameters', *names]) + ' |',
             '| --- | --- | ---: |' + ' ---: |' * len(names)]
    for row in rows:
        changed = differences(row['config'], rows[0]['config'])
        # A few changes are told, many are a different network.
        changed = ', '.join(f'`{change}`' for change in changed) if len(changed) <= 4 else f'{len(changed)} settings'
        cells = [f'{row["metrics"][name]:.4f}' if name in row['metrics'] else '' for name in names]
        lines.append('| ' + ' | '.join([row['name'], changed, f'{row["parameters"]:,}', *cells]) + ' |')
    (args.work_dir / 'table.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
    (args.work_dir / 'table.json').write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


if __name__ == '__main__':
    sys.exit(main())
