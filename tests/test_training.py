"""Training and testing through the stock scripts, end to end on synthesised VRDS: one process, two, killed, resumed."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch

# Everything of vimpnet.py but the widths and the lengths.
MICRO = """
_base_ = [r'{root}/configs/vimpnet.py']
model = dict(
    generator=dict(
        channels=8, num_extract_blocks=1, num_propagation_blocks=1, num_reconstruction_blocks=1, deform_groups=2,
        streak_channels=4, drop_channels=2, min_size=32, spynet=dict(num_levels=2, widths=(4, 4, 4, 4)),
        transformer=dict(encoder_channels=(4, 4, 8), embed_dims=16, num_heads=2, ffn_channels=16, repeats=(1, 1),
                         upsample_channels=(16, 8), init_std=None)),
    test_protocol=dict(_delete_=True, window=5, window_overlap=4, tile=64, tile_overlap=16, tile_border=8,
                       blend='mean'))
train_cfg = dict(max_iters=8)
custom_hooks = [dict(type='FreezeHook', until=dict(spynet=2))]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
train_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root=r'{data}', num_frames=3, pipeline=[
        dict(type='RandomCropClip', size=32), dict(type='LoadFrames'), dict(type='FlipClip', direction='horizontal'),
        dict(type='PackClip')]))
test_dataloader = dict(num_workers=0, dataset=dict(data_root=r'{data}'))
"""


@pytest.fixture(scope='module')
def workshop(tmp_path_factory, root):
    """A synthesised VRDS (two training videos, two test videos) and a micro config that trains on it."""
    folder = tmp_path_factory.mktemp('training')
    data = folder / 'VRDS'
    subprocess.run(
        [sys.executable, '-m', 'mmweather', 'synth', 'rain', 'scene:drive', '-o', data, '--layout', 'vrds', '--videos',
         '2', '--test-videos', '2', '--frames', '5', '--size', '96x64'], check=True, cwd=root,
        env=_environment(root), stdin=subprocess.DEVNULL)
    (folder / 'micro.py').write_text(MICRO.format(root=root, data=data))
    return folder


def _environment(root, **more):
    return {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', **more}


def _run(root, *command, **more):
    done = subprocess.run([str(part) for part in command], cwd=more.pop('cwd', root), env=_environment(root, **more),
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def _losses(work_dir):
    """The last loss logged for each iteration, over all runs in a work dir."""
    losses = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                losses[entry['step']] = entry['loss']
    return losses


@pytest.fixture(scope='module')
def trained(workshop, root):
    """An uninterrupted training of eight iterations."""
    work_dir = workshop / 'whole'
    output = _run(root, sys.executable, root / 'tools/train.py', workshop / 'micro.py', '--work-dir', work_dir)
    return work_dir, output


def test_training_learns_and_thaws(trained, workshop):
    work_dir, output = trained
    assert list(_losses(work_dir)) == list(range(1, 9))
    assert 'workaround' not in output and 'Advance dataloader' not in output
    before = torch.load(work_dir / 'iter_3.pth', weights_only=True)['state_dict']
    after = torch.load(work_dir / 'iter_8.pth', weights_only=True)['state_dict']
    assert all(key.startswith('generator.') for key in after)
    assert not torch.equal(before['generator.to_stage1.weight'], after['generator.to_stage1.weight'])
    assert not torch.equal(before['generator.spynet.levels.1.0.weight'], after['generator.spynet.levels.1.0.weight'])


def test_flow_is_frozen_at_first(workshop, root):
    work_dir = workshop / 'frozen'
    _run(root, sys.executable, root / 'tools/train.py', workshop / 'micro.py', '--work-dir', work_dir, '--cfg-options',
         'train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=1')
    first, second = (torch.load(work_dir / f'iter_{i}.pth', weights_only=True)['state_dict'] for i in (1, 2))
    for key in first:
        if 'spynet.levels' in key:
            assert torch.equal(first[key], second[key]), key
    assert not torch.equal(first['generator.to_stage1.weight'], second['generator.to_stage1.weight'])


def test_killed_and_resumed_training_goes_on_as_if_nothing_had_happened(trained, workshop, root):
    work_dir = workshop / 'killed'
    command = [sys.executable, str(root / 'tools/train.py'), str(workshop / 'micro.py'), '--work-dir', str(work_dir),
               '--cfg-options', 'train_cfg.max_iters=100000']
    process = subprocess.Popen(command, cwd=root, env=_environment(root), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline and not (work_dir / 'iter_3.pth').exists():
        time.sleep(0.02)
    while time.time() < deadline and max(_losses(work_dir), default=0) < 4:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = max(_losses(work_dir))
    assert reached >= 4
    # Whatever was saved last before the kill may be half a file: drop all but the third iteration.
    for path in work_dir.glob('iter_*.pth'):
        if path.name != 'iter_3.pth':
            path.unlink()
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'iter_3.pth'))
    for log in work_dir.glob('*/vis_data/scalars.json'):
        log.unlink()

    # What the config would start from does not matter once there is something to go on with.
    output = _run(root, sys.executable, root / 'tools/train.py', workshop / 'micro.py', '--work-dir', work_dir,
                  '--resume', '--cfg-options', f'load_from={trained[0] / "iter_8.pth"}')
    assert 'resumed' in output.lower()
    whole, resumed = _losses(trained[0]), _losses(work_dir)
    assert sorted(resumed) == [4, 5, 6, 7, 8]
    for step, loss in resumed.items():
        assert loss == pytest.approx(whole[step], rel=1e-6), step
    ends = [torch.load(folder / 'iter_8.pth', weights_only=True)['state_dict'] for folder in (trained[0], work_dir)]
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value, rtol=1e-5, atol=1e-7, msg=key)


RANKS = """
import torch
from mmengine.dist import all_gather, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class CompareRanks(Hook):
    def after_train(self, runner):
        weights = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
        every = all_gather(weights)
        assert len(every) == get_world_size() == 2
        # In one piece: both ranks write to the same pipe.
        print(f'RANKS EQUAL {torch.equal(every[0], every[1])}\\n', end='', flush=True)
"""

# A clip network that thaws its flow on the way, and a recurrent one that steps frame by frame.
TWO = dict(
    vimpnet="""
_base_ = ['micro.py']
custom_imports = dict(imports=['mmweather', 'ranks'])
custom_hooks = [dict(type='FreezeHook', until=dict(spynet=2)), dict(type='CompareRanks')]
train_cfg = dict(max_iters=4)
""",
    pvdnet="""
_base_ = [r'{root}/configs/pvdnet_tiny.py']
custom_imports = dict(imports=['mmweather', 'ranks'])
custom_hooks = [dict(type='CompareRanks')]
default_hooks = dict(logger=dict(interval=1))
train_cfg = dict(max_iters=2)
train_dataloader = dict(
    batch_size=1, num_workers=0, persistent_workers=False,
    dataset=dict(scenes=1, num_frames=4, scene_frames=5, crop_size=64, scene_size=(128, 160), cache_dir=r'{cache}'))
""")


@pytest.mark.parametrize('name', TWO)
def test_two_processes_end_with_equal_weights(workshop, root, name):
    work_dir = workshop / f'two_{name}'
    (workshop / f'two_{name}.py').write_text(TWO[name].format(root=root, cache=workshop / 'cache'))
    (workshop / 'ranks.py').write_text(RANKS)
    output = _run(root, 'bash', root / 'tools/dist_train.sh', workshop / f'two_{name}.py', '2', '--work-dir', work_dir,
                  PYTHONPATH=f'{root}{os.pathsep}{workshop}', PATH=_with_python_first(), PORT='29641')
    assert output.count('RANKS EQUAL True') == 2, output[-2000:]
    assert len(_losses(work_dir)) == dict(vimpnet=4, pvdnet=2)[name]


def _with_python_first():
    return f'{os.path.dirname(sys.executable)}{os.pathsep}{os.environ["PATH"]}'


def test_distributed_test_scores_and_saves_like_one_process(trained, workshop, root):
    checkpoint = trained[0] / 'iter_8.pth'
    reports = {}
    for name, command in dict(
            one=[sys.executable, root / 'tools/test.py', workshop / 'micro.py', checkpoint],
            two=['bash', root / 'tools/dist_test.sh', workshop / 'micro.py', checkpoint, '2']).items():
        work_dir = workshop / f'test_{name}'
        output = _run(root, *command, '--save', work_dir / 'frames', '--work-dir', work_dir,
                      PATH=_with_python_first(), PORT='29642')
        assert 'matched' in output and 'missing 0' in output
        reports[name] = json.loads((work_dir / 'vrds.json').read_text())
        frames = sorted(path.relative_to(work_dir / 'frames') for path in (work_dir / 'frames').rglob('*.png'))
        assert len(frames) == 10 and frames[0].name == '00000000.png'
    assert reports['one'] == reports['two']
    numbers = re.findall(r'vrds/PSNR: ([0-9.]+)', output)
    assert numbers and 5 < float(numbers[-1]) < 60
    a, b = (cv2.imread(str(workshop / f'test_{name}/frames' / frames[3])) for name in ('one', 'two'))
    assert np.array_equal(a, b)


def test_published_checkpoint_loads_through_load_from(workshop, root, tmp_path):
    """A checkpoint in the authors' layout (here of the micro network) is recognised by the Runner too."""
    from mmengine import Config

    from mmweather.models.vimpnet.checkpoint import OFFICIAL_LAYOUT
    from mmweather.registry import MODELS
    network = MODELS.build(Config.fromfile(workshop / 'micro.py').model.generator)
    official = {f'generator.{_official_name(key)}': torch.full_like(value, 0.01)
                for key, value in network.state_dict().items()}
    assert f'generator.{OFFICIAL_LAYOUT.signature}' in official
    torch.save(dict(state_dict={**official, 'step_counter': torch.zeros(1)}), tmp_path / 'published.pth')
    output = _run(root, sys.executable, root / 'tools/train.py', workshop / 'micro.py', '--work-dir', tmp_path / 'w',
                  '--cfg-options', f'load_from={tmp_path / "published.pth"}', 'train_cfg.max_iters=1',
                  'optim_wrapper.optimizer.lr=0')
    assert 'ViMP-Net (authors)' in output and f'matched {len(official)}, missing 0' in output
    loaded = torch.load(tmp_path / 'w/iter_1.pth', weights_only=True)['state_dict']
    assert torch.equal(loaded['generator.to_stage1.weight'], torch.full((3, 2, 1, 3, 3), 0.01))


def _official_name(key):
    """Our name to the authors'; written out here so that an error in the map cannot hide in its own inverse."""
    rules = [
        (r'^spynet\.levels\.(\d+)\.(\d+)\.',
         lambda m: f'spynet.basic_module.{m[1]}.basic_module.{int(m[2]) // 2}.conv.'),
        (r'^extract\.4\.', 'feat_extract.4.main.'), (r'^extract\.', 'feat_extract.'),
        (r'^propagation\.align\.(\w+)_pass\.', r'deform_align.\1_1.'),
        (r'^propagation\.refine\.(\w+)_pass\.', r'backbone.\1_1.main.'),
        (r'^reconstruction\.fuse', 'reconstruction.input_conv'),
        (r'^reconstruction\.blocks', 'reconstruction.res_blocks'),
        (r'upsample\.conv', 'conv_before_upsample'), (r'^to_stage1', 'conv_last'),
        (r'^streak_head', 'S_mask_streak'), (r'^drop_head', 'S_mask_drop'),
        (r'^transformer\.encode_masked_pair', 'transformer.downdropbg'),
        (r'^transformer\.encode_frames', 'transformer.downdrop1'),
        (r'^transformer\.encode_background', 'transformer.downdrop2'),
        (r'(downdrop\w+)\.0\.', r'\1.conv_first.'), (r'(downdrop\w+)\.2\.', r'\1.conv1.'),
        (r'(downdrop\w+)\.4\.', r'\1.conv2.'),
        (r'patches\.to_token', 'ss.embedding'), (r'patches\.to_patch', 'sc.embedding'),
        (r'patches\.smooth', 'sc.bias_conv'), (r'merge_tokens', 'TokenLearner.conv_layer'),
        (r'^transformer\.to_residual', 'transformer.conv_last'),
        (r'attention\.(query|key|value)', r'attention.\1_embedding'), (r'attention\.out', 'attention.output_linear'),
        (r'\.(ffn\d?)\.0\.', r'.\1.conv.0.'), (r'\.(ffn\d?)\.2\.', r'.\1.conv.3.'),
        (r'^transformer\.blocks\.0\.', 'transformer.transformer.'),
        (r'^transformer\.blocks\.1\.', 'transformer.transformer1.'),
        (r'^transformer\.fuse\.', 'transformer.Fusion_Transformer.'),
        (r'^transformer\.', 'Dual_Raindrop_gnostic_Transformer.'),
    ]
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


@pytest.mark.parametrize('arguments, sentence', [
    (['train', 'no_such_config.py'], 'no_such_config.py: there is no such model or config'),
    (['train', 'vimpnet_tiny', '--cfg-options', 'oops'], r'--cfg-options oops: expected KEY=VALUE'),
    (['train', 'vimpnet_tiny', '--cfg-options', "custom_hooks=[dict(type='A',x=1)]"], 'custom_hooks.*cannot be'),
    (['train', 'vimpnet_tiny', '--resume', 'nowhere.pth'], 'nowhere.pth: there is no such checkpoint file'),
    (['test', 'vimpnet_tiny', 'nowhere.pth'], 'nowhere.pth: there is no such checkpoint file'),
    (['train', 'vimpnet', '--cfg-options', 'train_dataloader.dataset.data_root=/nowhere'], '/nowhere'),
])
def test_bad_input_gets_one_sentence(root, tmp_path, arguments, sentence):
    done = subprocess.run([sys.executable, root / f'tools/{arguments[0]}.py', *arguments[1:]], cwd=tmp_path,
                          env=_environment(root), capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert 'Traceback' not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('mmweather: ') and re.search(sentence, last), last


def test_help_is_fast_and_has_no_gpus_option(run_python, root):
    """mim asks for the help before every training, and takes a --gpus in it for an older kind of script."""
    code = ("import sys, runpy; sys.argv = ['train.py', '-h']\n"
            "try:\n    runpy.run_path(r'%s', run_name='__main__')\n"
            "except SystemExit as end:\n    assert end.code == 0\n"
            "assert 'torch' not in sys.modules and 'mmengine' not in sys.modules" % (root / 'tools/train.py'))
    done = run_python('-c', code)
    assert done.returncode == 0, done.stderr
    assert '--gpus' not in done.stdout and '--resume' in done.stdout
