"""The tools for tables and curves: counts against published ones, schedules in proportion, protocols kept apart."""
import json
import subprocess
import sys

import pytest
from mmengine import Config

from mmweather.errors import UserError


@pytest.fixture(scope='module', autouse=True)
def tools(root):
    sys.path[:0] = [str(root / 'tools'), str(root / 'tools/analysis')]
    yield
    del sys.path[:2]


# Multiply-accumulates of the deblurring network at 1280x720; BIMNet pads to 736 rows, and the network with it.
@pytest.mark.parametrize(('name', 'parameters', 'macs'), [('pvdnet', 5_132_579, 639.6e9),
                                                          ('pvdnet_large', 17_979_811, 1379.3e9)])
def test_counts_of_pvdnet_are_the_published_ones(name, parameters, macs):
    from get_flops import count
    parts = count(name, 720, 1280)
    assert parts['deblur'][0] == parameters
    assert parts['deblur'][1] * 720 / 736 == pytest.approx(macs, rel=3e-4)


def test_deformable_convolution_is_counted_and_vimpnet_has_its_parameters():
    from get_flops import count
    parts = count('vimpnet', 256, 256)
    assert parts[''][0] == 36_932_204
    # two directions: one DCN of 128 to 64 channels and 3x3 taps per frame but the first, of 5 frames at 64x64
    dcn = 2 * 128 * 64 * 9 * 64 * 64 * 4 / 5
    assert parts['propagation'][1] > 8.9e9 + dcn * 0.9


def test_schedules_shrink_in_proportion_and_settings_are_shared(root, tmp_path):
    import argparse

    from run_ablation import prepared
    args = argparse.Namespace(iters=100, seed=7, cfg_options=['train_dataloader.batch_size=1'], checkpoint_interval=10)
    config = prepared(root / 'configs/vimpnet_tiny.py', args)
    original = Config.fromfile(root / 'configs/vimpnet_tiny.py')
    warm_up, cosine = config.param_scheduler
    assert cosine.T_max == cosine.end == config.train_cfg.max_iters == 100
    assert warm_up.end == round(100 * original.param_scheduler[0].end / original.train_cfg.max_iters)
    assert config.randomness.seed == 7 and config.train_dataloader.batch_size == 1


def test_a_set_of_configs_becomes_one_table_and_is_not_trained_twice(root, tmp_path, monkeypatch):
    import run_ablation
    calls = []

    def call(script, config, *arguments):
        calls.append((script, config.parent.name))
        if script == 'test.py':
            log = config.parent / '20260101' / 'numbers.json'
            log.parent.mkdir()
            log.write_text(json.dumps({'vrds/PSNR': 20.0 + len(calls), 'time': 1.0}))

    monkeypatch.setattr(run_ablation, 'call', call)
    configs = [str(root / 'configs/vimpnet_tiny.py'), str(root / 'configs/ablations/vimpnet_tiny_no_mask_loss.py')]
    arguments = ['run_ablation.py', *configs, '--iters', '10', '--work-dir', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', arguments)
    assert run_ablation.main() == 0 and len(calls) == 4
    table = (tmp_path / 'table.md').read_text()
    assert '| vimpnet_tiny |' in table and '`model.loss.mask_weight=0.0`' in table and '24.0000' in table
    assert run_ablation.main() == 0 and len(calls) == 4
    # the same folder with another budget is a mistake
    monkeypatch.setattr(sys, 'argv', [*arguments, '--seed', '1'])
    assert run_ablation.main() == 2


@pytest.mark.parametrize('name', ['vimpnet', 'pvdnet', 'svdnet', 'pmcn', 'cid'])
def test_every_method_has_ablations_that_change_little(root, name):
    from run_ablation import differences
    found = sorted((root / 'configs/ablations').glob(f'{name}*.py'))
    assert len(found) >= 2
    for path in found:
        child = Config.fromfile(path)
        base = path.read_text().split('_base_ = ')[1].split('\n')[0].strip("[]'")
        parent = Config.fromfile(path.parent / base)
        assert 1 <= len(differences(child.to_dict(), parent.to_dict())) <= 6


def test_published_numbers_stand_beside_ones_own_of_the_same_protocol(tmp_path):
    from paper_table import PUBLISHED, read_own, table
    own = tmp_path / 'vrds.json'
    own.write_text(json.dumps(dict(protocol='vrds', mean=dict(PSNR=30.5, SSIM=0.92))))
    lines = table('vrds', [read_own(f'mine={own}', 'vrds')]).splitlines()
    order = [line.split('|')[1].strip() for line in lines[4:]]
    assert order.index('BasicVSR++') < order.index('mine') < order.index('ViMP-Net')
    assert 'protocol `vrds`' in lines[0]
    with pytest.raises(UserError, match='protocol vrds, the published numbers by rvsd'):
        read_own(f'mine={own}', 'rvsd')
    assert all(rows and all(len(row) == 5 for row in rows) for _, rows in PUBLISHED.values())


def test_curves_join_resumed_runs_and_name_what_is_missing(tmp_path):
    from plot_log import draw, read_scalars, smoothed
    for number, entries in enumerate(([(1, 4.0), (2, 3.0)], [(2, 2.0), (3, 1.0)])):
        folder = tmp_path / f'2026{number}' / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(''.join(
            json.dumps(dict(loss=loss, step=step)) + '\n' for step, loss in entries))
    scalars = read_scalars(tmp_path)
    assert scalars['loss'] == {1: 4.0, 2: 2.0, 3: 1.0}
    assert smoothed([4.0, 2.0, 0.0], 2) == [4.0, 3.0, 1.0]
    draw(dict(run=scalars), None, 1, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    with pytest.raises(UserError, match='lr is not in these logs; there are loss'):
        draw(dict(run=scalars), ['lr'], 1, tmp_path / 'x.png')


def test_repairs_at_startup_want_a_virtual_environment(root, tmp_path):
    code = ('import sys, runpy; sys.base_prefix = sys.prefix; '
            f'runpy.run_path({str(root / "tools/repair_at_startup.py")!r}, run_name="__main__")')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'virtual environment' in done.stderr
