"""MMagic's own installed scripts run our configs as they are, one per method, and its networks on our data."""
import sys

import pytest

SYNTHETIC = ['train_dataloader.dataset.scenes=1', 'train_dataloader.dataset.crop_size=64']
#: For each method a config and what makes it small.
METHODS = {
    'vimpnet_tiny': SYNTHETIC,
    'pvdnet_tiny': ['train_dataloader.dataset.scenes=1', 'train_dataloader.dataset.num_frames=4'],
    'svdnet_tiny': SYNTHETIC,
    'pmcn_tiny': ['train_dataloader.dataset.scenes=1'],
    'cid_tiny_supervised': [
        'train_dataloader.batch_size=4', *(f'train_dataloader.dataset.datasets.{setting}' for setting in (
            '0.scenes=1', '0.scene_share=1.0', '0.crop_size=64', '1.crop_size=64', '1.data_root={images}'))],
}


@pytest.mark.parametrize('room', ['mmagic.models', 'mmagic.evaluation', 'mmagic.apis'])
def test_mmagic_is_imported_in_a_process_that_does_nothing_else(room, call):
    call(sys.executable, '-c', f'import {room}')


@pytest.mark.parametrize('name', METHODS)
def test_stock_train_script_runs_a_config_of_each_method(name, call, scripts, root, small, data, tmp_path):
    images = next((data / 'vrds/lq').iterdir())
    options = [option.format(images=images) for option in METHODS[name]]
    call(sys.executable, scripts / 'train.py', root / 'configs' / f'{name}.py', '--work-dir', tmp_path / 'work',
         '--cfg-options', *small, *options)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()


def test_stock_test_script_scores_what_the_stock_train_script_made(call, scripts, root, small, data, tmp_path):
    config = root / 'configs/vimpnet_tiny.py'
    call(sys.executable, scripts / 'train.py', config, '--work-dir', 'work', '--cfg-options', *small, *SYNTHETIC)
    printed = call(sys.executable, scripts / 'test.py', config, 'work/iter_2.pth', '--work-dir', 'work',
                   '--cfg-options', f'test_dataloader.dataset.data_root={data / "vrds"}',
                   'test_dataloader.num_workers=0')
    assert 'vrds/PSNR' in printed and 'vrds/input_PSNR' in printed


def test_stock_dist_train_runs_two_processes_without_a_gpu(call, scripts, root, small, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('PORT', '29617')
    call('bash', scripts / 'dist_train.sh', root / 'configs/vimpnet_tiny.py', '2', '--work-dir', 'work',
         '--cfg-options', *small, *SYNTHETIC)
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()
    log = next((tmp_path / 'work').glob('*/*.log')).read_text()
    assert 'GPU number: 2' in log and 'Distributed training: True' in log


def test_stock_scripts_train_and_test_a_network_of_mmagics_on_our_data(call, scripts, root, small, data):
    narrow = ['model.generator.network.mid_channels=8', 'model.generator.network.enc_blk_nums=[1,1]',
              'model.generator.network.dec_blk_nums=[1,1]', f'train_dataloader.dataset.data_root={data / "vrds"}',
              'train_dataloader.dataset.pipeline.0.size=64', f'test_dataloader.dataset.data_root={data / "vrds"}',
              'test_dataloader.num_workers=0']
    config = root / 'configs/baselines/nafnet_vrds.py'
    call(sys.executable, scripts / 'train.py', config, '--work-dir', 'work', '--cfg-options', *small, *narrow)
    printed = call(sys.executable, scripts / 'test.py', config, 'work/iter_2.pth', '--work-dir', 'work',
                   '--cfg-options', *small, *narrow)
    assert 'vrds/PSNR' in printed
