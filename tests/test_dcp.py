"""The dark channel prior: a baseline that needs no weights."""
import json

import cv2
import numpy as np
import pytest
import torch

from mmweather import zoo
from mmweather.cli.main import main
from mmweather.engine.run import test_main as run_test
from mmweather.errors import UserError
from mmweather.models import restore_clip
from mmweather.models.classical.dark_channel import DarkChannelPrior, dark_channel, guided_filter
from mmweather.synthesis import haze, render_scene, write_sfvc
from mmweather.synthesis.fog import ColorGuidedFilter


def to_clip(frames):
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float()[None] / 255


def psnr(clip, frames):
    return -10 * torch.log10((clip - to_clip(frames)).square().mean()).item()


@pytest.fixture(scope='module')
def foggy():
    scene = render_scene('walk', 3, (120, 216), seed=3)
    return haze(scene.frames, scene.depth, 0.02, (0.8, 0.8, 0.82), intrinsics=scene.intrinsics)


@pytest.mark.parametrize('patch', [1, 3, 9, 15])
def test_dark_channel_is_the_minimum_over_channels_and_neighbours(patch):
    images = torch.rand(2, 3, 20, 31)
    expected = np.stack([cv2.erode(image.amin(0).numpy(), np.ones((patch, patch), np.uint8)) for image in images])
    np.testing.assert_array_equal(dark_channel(images, patch)[:, 0], expected)


def test_guided_filter_equals_the_other_one_away_from_the_borders():
    guide = np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)
    image = np.random.default_rng(1).uniform(0, 1, (60, 70)).astype(np.float32)
    expected = ColorGuidedFilter(guide, 11, 1e-2)(image)
    result = guided_filter(to_clip(guide), torch.from_numpy(image)[None, None], 5, 1e-2)[0, 0].numpy()
    np.testing.assert_allclose(result[10:-10, 10:-10], expected[10:-10, 10:-10], atol=1e-4)


def test_guided_filter_takes_whole_windows_at_the_borders_for_what_is_there():
    # a linear function of the guide is its own best model in any window, cut off or not
    guide = torch.rand(1, 3, 40, 50)
    image = (guide * torch.tensor([0.2, 0.3, 0.1]).view(1, 3, 1, 1)).sum(1, keepdim=True) + 0.1
    assert (guided_filter(guide, image, 4, 1e-6) - image).abs().max() < 2e-3


def test_haze_of_one_density_is_taken_away():
    # all channels of some pixel in every neighbourhood are dark, and the air fills a part of the image
    rng = np.random.default_rng(0)
    clear = rng.uniform(0, 0.9, (96, 128, 3)).astype(np.float32)
    clear[::4, ::4] = 0
    airlight = np.array([0.9, 0.85, 0.8], np.float32)
    hazy = 0.5 * clear + 0.5 * airlight
    hazy[:24] = airlight
    images = torch.from_numpy(hazy).permute(2, 0, 1)[None]
    network = DarkChannelPrior(omega=1.0, radius=8)
    found = network.airlight(images)
    np.testing.assert_allclose(found[0], airlight, atol=1e-4)
    transmission = network.transmission(images, found[..., None, None])[0, 0]
    assert transmission[48:].mean() == pytest.approx(0.5, abs=0.02)
    restored, _ = network.step(images[:, None], None)
    assert (restored[0].permute(1, 2, 0)[60:] - torch.from_numpy(clear)[60:]).abs().mean() < 0.03


def test_a_foggy_walk_becomes_clearer(foggy):
    restored = restore_clip(zoo.load_bundled('dcp'), to_clip(foggy.lq))
    assert psnr(restored, foggy.gt) > psnr(to_clip(foggy.lq), foggy.gt) + 2


def test_airlight_of_a_video_changes_slowly():
    network = DarkChannelPrior(inertia=0.9)
    first, second = torch.full((1, 1, 3, 24, 32), 0.6), torch.full((1, 1, 3, 24, 32), 0.7)
    _, state = network.step(first, network.init_state(first))
    torch.testing.assert_close(state, torch.full((1, 3), 0.6))
    _, state = network.step(second, state)
    torch.testing.assert_close(state, torch.full((1, 3), 0.61))


def test_both_views_of_a_pair_have_one_airlight(foggy):
    clip = to_clip(foggy.lq[:1])
    pair = torch.stack([clip, clip * 0.8], dim=2)
    network = DarkChannelPrior()
    restored, state = network.step(pair, None)
    alone = [network.step(view, None)[1] for view in pair.unbind(2)]
    assert restored.shape == (1, 2, *clip.shape[-3:])
    torch.testing.assert_close(state, (alone[0] + alone[1]) / 2)
    swapped, _ = network.step(pair.flip(2), None)
    torch.testing.assert_close(swapped, restored.flip(1))


@pytest.mark.parametrize('level', [0.0, 1.0])
def test_an_even_image_stays_finite(level):
    restored = restore_clip(DarkChannelPrior(), torch.full((1, 2, 3, 7, 5), level))
    assert restored.shape == (1, 2, 3, 7, 5) and torch.isfinite(restored).all()


def test_arguments_that_make_no_sense():
    with pytest.raises(ValueError, match='odd'):
        DarkChannelPrior(patch=4)
    with pytest.raises(ValueError, match='inertia'):
        DarkChannelPrior(inertia=1.0)


def test_command_needs_no_weights_and_refuses_some(foggy, tmp_path):
    source, target = tmp_path / 'foggy.png', tmp_path / 'clear.png'
    cv2.imwrite(str(source), foggy.lq[0][..., ::-1])
    with pytest.raises(SystemExit) as end:
        main(['restore', str(source), '-o', str(target), '--model', 'dcp', '-q'])
    assert end.value.code == 0
    expected = restore_clip(DarkChannelPrior(), to_clip(foggy.lq[:1]))[0, 0].permute(1, 2, 0) * 255
    assert np.abs(cv2.imread(str(target))[..., ::-1] - expected.numpy()).max() < 1
    with pytest.raises(UserError, match=r'weights\.pth: DarkChannelPrior is computed and not learned'):
        zoo.load_weights(zoo.build_network('dcp'), 'weights.pth')


def test_baseline_is_scored_without_a_checkpoint(root, tmp_path, capsys):
    rng = np.random.default_rng(0)
    views = ('left_hazy', 'right_hazy', 'left_clear', 'right_clear')
    frames = [{view: rng.integers(0, 256, (32, 48, 3), np.uint8) for view in views} for _ in range(2)]
    write_sfvc(tmp_path / 'sfvc', 'a', frames, 'test')
    config = tmp_path / 'scored.py'
    config.write_text(f"""_base_ = {str(root / 'configs' / 'dcp.py')!r}
test_dataloader = dict(
    num_workers=0,
    dataset=dict(
        _delete_=True, type='SFVC', data_root={str(tmp_path / 'sfvc')!r}, split='test', beta=None, num_frames=None,
        test_mode=True, pipeline=[dict(type='LoadFrames'), dict(type='StackViews'), dict(type='PackClip')]))
""")
    assert run_test([str(config), '--work-dir', str(tmp_path / 'work')]) == 0
    scores = json.loads((tmp_path / 'work' / 'sfvc.json').read_text())
    clip = torch.stack([to_clip(np.stack([frame[view] for frame in frames])) for view in views[:2]], dim=2)
    restored = restore_clip(DarkChannelPrior(), clip)[0]
    clear = to_clip(np.stack([frame['right_clear'] for frame in frames]))[0]
    psnrs = -10 * torch.log10((restored[:, 1] - clear).square().mean((1, 2, 3)))
    assert scores['mean']['right_PSNR'] == pytest.approx(psnrs.mean().item(), abs=1e-3)
    assert run_test(['vimpnet_tiny', '--work-dir', str(tmp_path / 'learned')]) == 2
    assert 'cannot be tested without weights' in capsys.readouterr().err
