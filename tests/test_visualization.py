"""Pictures while training: what they show, where they go, and that they change nothing else."""
import cv2
import numpy as np
import pytest
import torch

from mmweather.engine.run import train_main
from mmweather.engine.visualization import ClipVisualizer
from mmweather.structures import ClipSample

SMALL = ['train_cfg.max_iters=3', 'train_dataloader.batch_size=1', 'train_dataloader.num_workers=0',
         'train_dataloader.persistent_workers=False', 'train_dataloader.dataset.scenes=1',
         'train_dataloader.dataset.crop_size=64', 'train_dataloader.dataset.num_frames=3']


@pytest.fixture
def visualizer():
    return ClipVisualizer(name='pictures', gain=5.0)


def test_panels_are_input_output_truth_and_magnified_error_of_the_middle_frame(visualizer):
    inputs = torch.zeros(3, 3, 4, 6, dtype=torch.uint8)
    inputs[1] = 200
    truth = torch.full((3, 3, 4, 6), 100, dtype=torch.uint8)
    output = torch.zeros(3, 3, 4, 6)
    output[1] = 110 / 255
    picture = visualizer.panels(ClipSample(output=output, gt=truth), inputs)
    assert picture.shape == (4, 24, 3) and picture.dtype == np.uint8
    assert [picture[0, column, 0] for column in (0, 6, 12, 18)] == [200, 110, 100, 50]


def test_panels_of_stereo_show_the_left_view_and_follow_a_cropped_output(visualizer):
    truth = torch.zeros(1, 2, 3, 5, 7, dtype=torch.uint8)
    truth[:, 0] = 60
    output = torch.full((1, 2, 3, 4, 4), 60 / 255)
    picture = visualizer.panels(ClipSample(output=output, gt=truth), truth)
    assert picture.shape == (4, 16, 3) and (picture[:, :12] == 60).all() and (picture[:, 12:] == 0).all()


def test_training_with_pictures_writes_them_and_ends_with_the_same_weights(in_tmp):
    assert train_main(['vimpnet_tiny', '--work-dir', 'plain', '--cfg-options', *SMALL]) == 0
    assert train_main(['vimpnet_tiny', '--work-dir', 'vis', '--vis', 'local', '--vis-interval', '2', '--cfg-options',
                       *SMALL]) == 0
    plain, seen = (torch.load(f'{folder}/iter_3.pth', weights_only=True)['state_dict'] for folder in ('plain', 'vis'))
    assert all(torch.equal(plain[name], seen[name]) for name in plain)
    pictures = sorted((in_tmp / 'vis').rglob('*.png'))
    assert [path.name.rpartition('_')[2] for path in pictures] == ['1.png', '2.png']
    assert cv2.imread(str(pictures[0])).shape == (64, 4 * 64, 3)


def test_a_dashboard_that_is_not_installed_is_named(in_tmp, monkeypatch, capsys):
    import importlib.util
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert train_main(['vimpnet_tiny', '--vis', 'wandb']) == 2
    assert 'pip install wandb' in capsys.readouterr().err
