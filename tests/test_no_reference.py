"""Measures without reference: known values, and the right direction when haze grows; PSNR domain by domain."""
import json

import numpy as np
import pytest
import torch

from mmweather.evaluation import DomainMetric, NoReferenceMetric, score_no_reference
from mmweather.evaluation.no_reference import (
    colourfulness,
    contrast_gain,
    dark_channel,
    dark_channel_mean,
    fog_density,
    new_visible_edges,
    visible_edges,
)
from mmweather.synthesis import DOMAINS, render_scene
from mmweather.synthesis.domains import draw_parameters, form_image


@pytest.fixture(scope='module')
def hazes():
    """A scene in haze of growing density, clear first."""
    scene = render_scene('walk', 1, (120, 160), seed=5)
    params = {**draw_parameters('haze', 0), 'airlight': [0.8] * 3, 'quality': None}
    return [form_image(scene.frames[0], scene.depth[0], {**params, 'beta': beta}) for beta in (0, 0.4, 0.8, 1.5)]


def test_dark_channel_is_the_least_of_all_channels_in_the_patch():
    image = np.full((9, 9, 3), 200, np.uint8)
    image[4, 4, 1] = 50
    dark = dark_channel(image, 3)
    expected = np.full((9, 9), 200)
    expected[3:6, 3:6] = 50
    np.testing.assert_array_equal(dark, expected)
    assert dark_channel_mean(image, 3) == pytest.approx((9 * 50 + 72 * 200) / 81 / 255)


def test_colourfulness_is_that_of_the_paper():
    gray = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8).repeat(3, axis=2)
    assert colourfulness(gray) == 0
    # half red, half green: rg = +-255, yb = 127.5 everywhere, so 255 + 0.3 * 127.5
    halves = np.zeros((2, 4, 3), np.uint8)
    halves[:, :2, 0] = halves[:, 2:, 1] = 255
    assert colourfulness(halves) == pytest.approx(255 + 0.3 * 127.5)


def test_haze_moves_every_measure_the_right_way(hazes):
    scores = [score_no_reference(haze, hazes[0]) for haze in hazes]
    rising = ('fog_density', 'dark_channel')
    for name in scores[0]:
        values = [score[name] for score in scores]
        assert values == sorted(values, reverse=name not in rising) and len(set(values)) == 4, name
    assert scores[0]['contrast_gain'] == 1 and scores[0]['new_edges'] == 0
    assert all(0 <= score['fog_density'] <= 1 for score in scores)


def test_fog_density_ranks_fog_above_what_only_resembles_it():
    size = (64, 64)
    fog = np.full((*size, 3), 220, np.uint8)
    night = np.full((*size, 3), 4, np.uint8)
    blue_wall = np.full((*size, 3), (40, 80, 220), np.uint8)
    checks = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((4, 4)))[..., None].repeat(3, axis=2)
    snow_and_rock = (checks * 220 + 10).astype(np.uint8)
    densities = [fog_density(image) for image in (fog, night, blue_wall, snow_and_rock)]
    assert densities[0] > 0.9 and max(densities[1:]) < 0.6


def test_visible_edges_are_those_of_five_percent():
    def step(low, high):
        image = np.full((20, 20, 3), low, np.uint8)
        image[:, 10:] = high
        return visible_edges(image).any()

    # smoothed, about three quarters of the step are left: 0.75 * 20 / (220 + 24)
    assert step(100, 120) and not step(100, 112)
    # the same difference is seen in the dark and not in the light
    assert step(20, 30) and not step(220, 230)


def test_edges_are_counted_relative_to_before():
    few, many = (np.full((40, 40, 3), 128, np.uint8) for _ in range(2))
    few[:, 10:] = 200
    many[:, 10:20] = 200
    assert new_visible_edges(many, few) == pytest.approx(1)
    assert new_visible_edges(few, many) == pytest.approx(-0.5)
    assert new_visible_edges(few, np.full_like(few, 128)) == 100
    assert new_visible_edges(np.full_like(few, 128), np.full_like(few, 128)) == 0


def test_contrast_gain_is_the_ratio_of_gradients():
    ramp = np.tile(np.arange(0, 120, 2, dtype=np.uint8)[None, :, None], (40, 1, 3))
    edges = (ramp > 60).astype(np.uint8)
    weak, strong = 100 + 30 * edges, 100 + 90 * edges
    assert contrast_gain(strong, weak) == pytest.approx(3, rel=0.05)
    assert contrast_gain(np.full_like(weak, 9), weak) == 1, 'no visible edge is left'
    with pytest.raises(ValueError, match='one shape'):
        contrast_gain(weak[1:], weak)
    with pytest.raises(ValueError, match='uint8 RGB'):
        fog_density(weak.astype(float))


def test_the_metric_of_real_haze_compares_output_and_input(hazes):
    metric = NoReferenceMetric()
    clear, thin, _, thick = (torch.from_numpy(haze).permute(2, 0, 1)[None] for haze in hazes)
    metric.process(dict(inputs=[thick, thin]), [dict(output=clear / 255), dict(output=thin / 255)])
    numbers = metric.evaluate(2)
    thick, thin, clear = hazes[3], hazes[1], hazes[0]
    assert numbers['real/fog_density'] == pytest.approx((fog_density(clear) + fog_density(thin)) / 2)
    assert numbers['real/input_fog_density'] == pytest.approx((fog_density(thick) + fog_density(thin)) / 2)
    assert numbers['real/contrast_gain'] == pytest.approx((contrast_gain(clear, thick) + 1) / 2)
    assert numbers['real/new_edges'] == pytest.approx(new_visible_edges(clear, thick) / 2)


def sample(domain, key, noise):
    """An output that misses the truth by ``noise`` levels, of an input that misses it by 20."""
    gt = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
    return gt + 20, dict(output=(gt + noise) / 255, gt=gt, domain=domain, key=key, video=key, names=['0.png'])


def test_domains_count_the_same_however_many_images_they_have(tmp_path):
    metric = DomainMetric(save_json=str(tmp_path / 'numbers.json'))
    night = DOMAINS.index('night')
    batch = [sample(0, 'a', 1), sample(0, 'b', 10), sample(0, 'c', 10), sample(night, 'a', 4), sample(-1, 'd', 2)]
    metric.process(dict(inputs=[inputs for inputs, _ in batch]), [made for _, made in batch])
    numbers = metric.evaluate(5)

    def level(noise):
        return 20 * np.log10(255 / noise)

    haze = (level(1) + 2 * level(10)) / 3
    assert numbers['vrds/haze/PSNR'] == pytest.approx(haze)
    assert numbers['vrds/night/PSNR'] == pytest.approx(level(4))
    assert numbers['vrds/other/PSNR'] == pytest.approx(level(2))
    assert numbers['vrds/PSNR'] == pytest.approx((haze + level(4) + level(2)) / 3)
    assert numbers['vrds/input_PSNR'] == numbers['vrds/night/input_PSNR'] == pytest.approx(level(20))
    saved = json.loads((tmp_path / 'numbers.json').read_text())
    assert saved['videos']['haze']['mean']['PSNR'] == pytest.approx(haze)
    with pytest.raises(ValueError, match='mean over videos'):
        DomainMetric('plain')
