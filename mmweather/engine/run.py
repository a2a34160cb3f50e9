"""The entry points behind ``tools/train.py``, ``tools/test.py`` and ``mmweather train|test``.

Everything else is MMEngine's Runner. Heavy imports stay inside the functions, so that ``-h`` answers at once (mim asks
for it before every training).
"""
import argparse
import os
import sys
from pathlib import Path

#: What --vis may be: MMEngine's backend, and the module that it needs.
_VIS_BACKENDS = dict(local=('LocalVisBackend', None), tensorboard=('TensorboardVisBackend', 'tensorboard'),
                     wandb=('WandbVisBackend', 'wandb'))


def train_main(argv=None, prog=None):
    """Trains by a config.

    Args:
        argv (list[str], optional): Arguments; those of the process by default.
        prog (str, optional): What the usage calls the command; the script's name by default.

    Returns:
        int: Exit code, 0 or 2.
    """
    parser = _parser('Train a model', prog)
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from the latest checkpoint in the work dir, or from the one given')
    parser.add_argument('--amp', action='store_true', help='mixed precision: bfloat16 where the device is fast at it')
    parser.add_argument('--vis', choices=list(_VIS_BACKENDS), metavar='|'.join(_VIS_BACKENDS),
                        help='show input, output, truth and error while training, as files or in a dashboard')
    parser.add_argument('--vis-interval', type=int, default=500, metavar='N',
                        help='iterations between two pictures (500)')
    args = parser.parse_args(argv)
    return _guarded(_train, args)


def test_main(argv=None, prog=None):
    """Tests a checkpoint by a config.

    Args:
        argv (list[str], optional): Arguments; those of the process by default.
        prog (str, optional): What the usage calls the command; the script's name by default.

    Returns:
        int: Exit code, 0 or 2.
    """
    parser = _parser('Test a model', prog)
    parser.add_argument('checkpoint', nargs='?',
                        help='checkpoint file: ours or the authors\' (recognised by its keys); a classical '
                        'method needs none')
    parser.add_argument('--save', metavar='DIR', help='write the restored frames under DIR')
    args = parser.parse_args(argv)
    return _guarded(_test, args)


def _parser(description, prog):
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument('config', help='config file, or the name of one that ships with the package')
    parser.add_argument('--work-dir', help='where logs and checkpoints go; ./work_dirs/<config> by default')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[],
                        help='override settings of the config, for example train_cfg.max_iters=10 '
                        'train_dataloader.dataset.data_root=/data/VRDS')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='who started the processes')
    # torch.distributed.launch passes the former spelling, older torch the latter; torchrun passes neither.
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _guarded(action, args):
    from mmweather.errors import UserError
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        action(args)
    except UserError as error:
        print(f'mmweather: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def _config(args):
    import mmengine

    from mmweather.errors import UserError
    from mmweather.zoo import find_config
    path = find_config(args.config)
    try:
        config = mmengine.Config.fromfile(path)
    except (SyntaxError, OSError, KeyError, TypeError) as error:
        raise UserError(f'{path}: not a readable config ({type(error).__name__}: {error}); mend it') from error
    if 'model' not in config:
        raise UserError(f'{path}: not a config of a model (it has no "model"); give one such as configs/vimpnet.py')
    options = {}
    for option in args.cfg_options:
        key, equals, value = option.partition('=')
        if not equals:
            raise UserError(f'--cfg-options {option}: expected KEY=VALUE, for example train_cfg.max_iters=10')
        try:
            options[key] = mmengine.DictAction._parse_iterable(value)
        except RecursionError as error:
            raise UserError(f'--cfg-options {key}: {value} cannot be read; give numbers, strings, lists and tuples, '
                            'and write anything else into a config that inherits this one') from error
    config.merge_from_dict(options)
    config.launcher = args.launcher
    config.work_dir = args.work_dir or config.get('work_dir') or str(Path('work_dirs') / path.stem)
    return config


def _train(args):
    from mmengine.runner import Runner, find_latest_checkpoint

    from mmweather.errors import UserError
    config = _config(args)
    if args.amp:
        _use_mixed_precision(config)
    if args.vis:
        _show_pictures(config, args.vis, args.vis_interval)
    if args.resume == 'auto':
        # MMEngine would take load_from for what to resume, even where the work dir has something newer.
        latest = find_latest_checkpoint(config.work_dir)
        config.resume = latest is not None
        config.load_from = latest or config.get('load_from')
    elif args.resume:
        if not Path(args.resume).is_file():
            raise UserError(f'{args.resume}: there is no such checkpoint file; give the path of one, or --resume '
                            'alone for the latest in the work dir')
        config.resume = True
        config.load_from = args.resume
    _prepare(config)
    Runner.from_cfg(config).train()


def _test(args):
    from mmengine.runner import Runner

    from mmweather.errors import UserError
    config = _config(args)
    if 'test_dataloader' not in config:
        raise UserError(f'{args.config}: has no test_dataloader; add one, see configs/vimpnet.py')
    if args.checkpoint and not Path(args.checkpoint).is_file():
        raise UserError(f'{args.checkpoint}: there is no such checkpoint file; check the path')
    config.load_from = args.checkpoint
    if args.save:
        config.custom_hooks = [*config.get('custom_hooks', []),
                               dict(type='mmweather.SaveFramesHook', folder=args.save)]
    evaluators = config.test_evaluator if isinstance(config.test_evaluator, list) else [config.test_evaluator]
    for evaluator in evaluators:
        if evaluator.type.endswith('RestorationMetric') and not evaluator.get('save_json'):
            evaluator.save_json = str(Path(config.work_dir) / f'{evaluator.protocol}.json')
    _prepare(config)
    if not args.checkpoint and _needs_weights(config):
        raise UserError(f'{args.config}: is learned and cannot be tested without weights; name a checkpoint file')
    Runner.from_cfg(config).test()


def _needs_weights(config):
    from mmweather.registry import MODELS
    network = MODELS.get(config.model.get('generator', {}).get('type', ''))
    return getattr(network, 'needs_weights', True)


def _prepare(config):
    """What holds for any config that is run here: our registries are known and repairs are in place."""
    from mmengine.registry import init_default_scope

    import mmweather  # noqa: F401  applies the repairs
    from mmweather import registry  # noqa: F401  makes the scope known
    init_default_scope(config.get('default_scope', 'mmweather'))
    if config.get('load_from'):
        _check_weights(config)


def _check_weights(config):
    """Refuses a checkpoint that does not belong to the model before anything is built, and reports its keys."""
    from mmengine.logging import print_log

    from mmweather.models import load_weights
    from mmweather.registry import MODELS
    generator = config.model.get('generator')
    if generator is not None:
        print_log(f'{config.load_from}: {load_weights(MODELS.build(generator), config.load_from)}', logger='current')


def _show_pictures(config, name, interval):
    import importlib.util

    from mmweather.errors import UserError
    backend, module = _VIS_BACKENDS[name]
    if module and importlib.util.find_spec(module) is None:
        raise UserError(f'--vis {name}: {module} is not installed; run: pip install {module}')
    # The curves go on being written to a file too: tools/analysis/plot_log.py reads them there.
    config.visualizer = dict(type='mmweather.ClipVisualizer', vis_backends=[
        dict(type=kind) for kind in dict.fromkeys(('LocalVisBackend', backend))])
    config.custom_hooks = [*config.get('custom_hooks', []),
                           dict(type='mmweather.ClipVisualizationHook', interval=interval)]


def _use_mixed_precision(config):
    import torch
    wrapper = config.optim_wrapper
    half_gpu = torch.cuda.is_available() and not torch.cuda.is_bf16_supported()
    wrapper.type = 'AmpOptimWrapper' if half_gpu else 'mmweather.BFloat16OptimWrapper'
    if half_gpu:
        wrapper.loss_scale = 'dynamic'
