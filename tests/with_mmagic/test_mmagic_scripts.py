"""MMagic's own installed scripts run our configs as they are, one per method, and its networks on our data."""
import re
import sys

import pytest

SYNTHETIC = ['train_dataloader.dataset.scenes=1', 'train_dataloader.dataset.crop_size=64']
TEST = ['test_dataloader.num_workers=0']
#: For each method a config, what makes its training small, and what makes its test small.
METHODS = {
    'vimpnet_tiny': (SYNTHETIC, ['test_dataloader.dataset.data_root={data}/vrds']),
    'pvdnet_tiny': (['train_dataloader.dataset.scenes=1', 'train_dataloader.dataset.num_frames=4'],
                    ['test_dataloader.dataset.data_root={data}/gopro']),
    'svdnet_tiny': (SYNTHETIC, ['test_dataloader.dataset.data_root={data}/rvsd']),
    'pmcn_tiny': (['train_dataloader.dataset.scenes=1'],
                  ['test_dataloader.dataset.scenes=1', 'test_dataloader.dataset.scene_size=[64,128]']),
    'cid_tiny_supervised': (
        ['train_dataloader.batch_size=4', *(f'train_dataloader.dataset.datasets.{setting}' for setting in (
            '0.scenes=1', '0.scene_share=1.0', '0.crop_size=64', '1.crop_size=64', '1.data_root={images}'))],
        ['test_dataloader.dataset.scenes=1', 'test_dataloader.dataset.scene_size=[64,96]']),
}
#: What makes MMagic's networks small.
BASELINES = {
    'restormer': ['dim=8', 'num_blocks=[1,1,1,1]', 'num_refinement_blocks=1', 'heads=[1,1,1,1]'],
    'nafnet': ['mid_channels=8', 'enc_blk_nums=[1,1]', 'dec_blk_nums=[1,1]'],
    'basicvsr_pp': ['mid_channels=16', 'num_blocks=1'],
    'edvr': ['in_channels=8', 'mid_channels=8', 'deform_groups=2', 'num_blocks_extraction=1',
             'num_blocks_reconstruction=1'],
}


@pytest.mark.parametrize('room', ['mmagic.models', 'mmagic.evaluation', 'mmagic.apis'])
def test_mmagic_is_imported_in_a_process_that_does_nothing_else(room, call):
    call(sys.executable, '-c', f'import {room}')


@pytest.mark.parametrize('name', METHODS)
def test_stock_scripts_train_and_test_a_config_of_each_method(name, call, scripts, root, small, data, tmp_path):
    places = dict(data=data, images=next((data / 'vrds/lq').iterdir()))
    train, test = ([option.format(**places) for option in options] for options in METHODS[name])
    config = root / 'configs' / f'{name}.py'
    call(sys.executable, scripts / 'train.py', config, '--work-dir', 'work', '--cfg-options', *small, *train)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()
    printed = call(sys.executable, scripts / 'test.py', config, 'work/iter_2.pth', '--work-dir', 'work',
                   '--cfg-options', *TEST, *test)
    # the result and, beside it, the input; of stereo video, view by view
    assert re.search(r'/(left_)?PSNR: \d', printed) and re.search(r'/input_(left_)?PSNR: \d', printed)


def test_stock_dist_train_runs_two_processes_without_a_gpu(call, scripts, root, small, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('PORT', '29617')
    call('bash', scripts / 'dist_train.sh', root / 'configs/vimpnet_tiny.py', '2', '--work-dir', 'work',
         '--cfg-options', *small, *SYNTHETIC)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'GPU number: 2' in log and 'Distributed training: True' in log


@pytest.mark.parametrize('name', [f'{model}_{of}' for model in BASELINES for of in ('vrds', 'rvsd', 'gopro')])
def test_stock_scripts_train_and_test_a_network_of_mmagics_on_our_data(name, call, scripts, root, small, data,
                                                                      tmp_path):
    model, of = name.rsplit('_', 1)
    narrow = [f'model.generator.network.{setting}' for setting in BASELINES[model]]
    if model == 'edvr':
        narrow.append('model.generator.stem_channels=8')
    train = [f'train_dataloader.dataset.data_root={data / of}', 'train_dataloader.dataset.num_frames=2',
             # BasicVSR++ takes nothing smaller
             f'train_dataloader.dataset.pipeline.0.size={256 if model == "basicvsr_pp" else 64}']
    config = root / f'configs/baselines/{name}.py'
    call(sys.executable, scripts / 'train.py', config, '--work-dir', 'work', '--cfg-options', *small, *narrow, *train)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()
    printed = call(sys.executable, scripts / 'test.py', config, 'work/iter_2.pth', '--work-dir', 'work',
                   '--cfg-options', *TEST, *narrow, f'test_dataloader.dataset.data_root={data / of}')
    assert '/PSNR' in printed and '/input_PSNR' in printed
