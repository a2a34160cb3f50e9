"""SVDNet: its inverse, its aggregation, its losses, and all of it from training to the restored video."""
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine import Config
from torch import nn

from mmweather.evaluation import WarpingErrorMetric, dis_flow, score, warping_error
from mmweather.evaluation.temporal import reliable
from mmweather.inference import open_sink, open_source
from mmweather.models import restore_clip
from mmweather.models.svdnet import (
    PhysicalHeads,
    SnowContrastiveLoss,
    SnowQueryAggregation,
    SVDLoss,
    SVDNet,
    SVDRestorer,
    compose,
    invert,
)
from mmweather.models.svdnet.network import FrameEncoder, _unshuffle
from mmweather.models.svdnet.physics import weigh
from mmweather.models.svdnet.queries import observe_neighbours
from mmweather.synthesis import render_scene, snow_on
from mmweather.zoo import build_network, load_bundled

MICRO = dict(channels=8, num_extract_blocks=1, num_propagation_blocks=1, num_reconstruction_blocks=1, deform_groups=2,
             num_aggregations=1, aggregation=dict(num_queries=4, window=4, num_heads=2),
             motion=dict(type='SPyNet', num_levels=2, widths=(4, 4, 4, 4)), min_size=32)


@pytest.fixture(scope='module')
def snowy():
    """A short walk in the snow, with its layers."""
    scene = render_scene('walk', 4, (64, 96), seed=3)
    return snow_on(scene.frames, seed=1, depth=scene.depth)


def tensor(array):
    """uint8 ``(T, H, W, C)`` as ``(1, T, C, H, W)`` in [0, 1]."""
    return torch.from_numpy(array).permute(0, 3, 1, 2)[None].float() / 255


def still_flows(n, t, height, width):
    return torch.zeros(n, t - 1, 2, height, width), torch.zeros(n, t - 1, 2, height, width)


# --- physics ----------------------------------------------------------------------------------------------------------


def test_inverse_is_exact_on_synthetic_layers(snowy):
    layers = {name: tensor(getattr(snowy, name)) for name in ('snow', 'transmission', 'airlight')}
    clean = tensor(snowy.gt)
    observed = compose(clean, **layers)
    seen = (layers['transmission'] > 0.05).expand_as(clean)
    restored = invert(observed, **layers)
    torch.testing.assert_close(restored[seen], clean[seen], rtol=0, atol=1e-5)
    # a floor changes nothing where the transmission is above it; beta pulls everything towards zero
    above = (layers['transmission'] > 0.3).expand_as(clean)
    torch.testing.assert_close(invert(observed, **layers, floor=0.3)[above], clean[above], rtol=0, atol=1e-5)
    torch.testing.assert_close(invert(clean, 0, torch.ones(1), 0, beta=0.25), clean / 1.25)
    # on the rounded frames of the synthesis the same, up to their rounding
    error = (invert(tensor(snowy.lq), **layers) - clean)[above].abs()
    assert error.max() < 0.05 and error.mean() < 0.006


def test_physical_heads_begin_with_clear_air_and_bound_their_layers():
    torch.manual_seed(0)
    heads = PhysicalHeads(8)
    heads.init_weights()
    features = torch.randn(2, 8, 6, 7)
    restored, layers = heads(features)
    assert layers['snow'].shape == (2, 3, 24, 28) and layers['airlight'].shape == (2, 3, 1, 1)
    assert layers['transmission'].shape == (2, 1, 24, 28)
    assert layers['transmission'].min() > 0.97 and layers['snow'].max() < 0.02 and layers['opacity'].max() < 0.01
    # T = sigmoid(3), A = S = 0, beta = 0.1
    torch.testing.assert_close(restored, features / (torch.tensor(3.0).sigmoid() + 0.1))
    for parameter in heads.parameters():
        nn.init.normal_(parameter, std=2.0)
    with torch.autocast('cpu', torch.bfloat16):
        _, wild = heads(features * 10)
    assert all(torch.isfinite(layer).all() for layer in wild.values())
    assert wild['snow'].min() >= 0 and 0 <= wild['transmission'].min() and wild['transmission'].max() <= 1


def test_evidence_reaches_the_pixel_that_it_speaks_of():
    evidence = torch.zeros(1, 2, 8, 8)
    evidence[0, 1, 3, 5], evidence[0, 0, 6, 6] = 0.5, 1.0
    weights = torch.zeros(1, 6, 2, 2)
    weights[:, 3] = 2.0  # of the second kind for the second layer
    pixels = torch.nn.functional.pixel_shuffle(weigh(evidence, weights), 4)
    assert pixels.shape == (1, 3, 8, 8) and pixels[0, 1, 3, 5] == 1 and pixels.sum() == 1
    heads = PhysicalHeads(8)
    heads.init_weights()
    with torch.no_grad():
        _, layers = heads(torch.randn(1, 8, 2, 2), evidence=evidence.flip(1).repeat(1, 2, 1, 1)[:, :3])
    assert layers['transmission'][0, 0, 3, 5] < 0.5 < 0.97 < layers['transmission'][0, 0, 3, 6]


# --- snow-query aggregation -------------------------------------------------------------------------------------------


def test_aggregation_recovers_covered_pixels_from_other_frames_by_queries_alone():
    """A static toy scene: each frame has other pixels covered; only the queries learn what snow looks like."""
    torch.manual_seed(0)
    channels, size = 8, 8
    clean = torch.randn(1, 1, channels, size, size).expand(1, 3, -1, -1, -1)
    snow = torch.tensor([4.0, -4.0] * (channels // 2)).view(1, 1, channels, 1, 1)
    cover = torch.zeros(1, 3, 1, size, size)
    for t, place in enumerate([(1, 2), (4, 5), (6, 3)]):
        cover[0, t, 0, place[0], place[1]] = cover[0, t, 0, place[1], place[0]] = 1
    covered = torch.where(cover.bool(), snow, clean)
    block = SnowQueryAggregation(channels, num_queries=4, window=4, num_heads=2)
    flows = still_flows(1, 3, size, size)

    def error(where):
        restored, _ = block(covered, *flows)
        return (restored - clean).abs()[where.expand_as(clean)].mean()

    block.requires_grad_(False)
    block.queries.requires_grad_(True)
    before = error(cover.bool())
    optimizer = torch.optim.Adam([block.queries], lr=0.1)
    for _ in range(80):
        optimizer.zero_grad()
        (block(covered, *flows)[0] - clean).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        restored, snow_map = block(covered, *flows)
        assert error(cover.bool()) < 0.1 * before and error(cover.bool()) < 0.15
        assert error(~cover.bool()) < 0.1
    assert snow_map[cover.bool()].min() > 0.5 and snow_map[~cover.bool()].mean() < 0.4


def test_untrusted_observations_do_not_count():
    block = SnowQueryAggregation(8, num_queries=2, window=4, num_heads=2)
    features = torch.randn(1, 3, 8, 8, 8)
    # beyond the rim and beyond the ends of a clip there is nothing to see
    away = torch.full((1, 2, 2, 8, 8), 100.0)
    with torch.no_grad():
        alone = torch.cat([block(features[:, t:t + 1], *still_flows(1, 1, 8, 8))[0] for t in range(3)], dim=1)
        torch.testing.assert_close(block(features, away, away)[0], alone, rtol=1e-4, atol=1e-4)
        together = block(features, *still_flows(1, 3, 8, 8))[0]
    assert (together - alone).abs().max() > 0.1


@pytest.mark.parametrize('size', [(8, 8), (5, 11), (3, 4)])
def test_aggregation_takes_any_size(size):
    block = SnowQueryAggregation(8, num_queries=3, window=4, num_heads=4)
    features, snow = block(torch.randn(2, 3, 8, *size), *still_flows(2, 3, *size))
    assert features.shape == (2, 3, 8, *size) and snow.shape == (2, 3, 1, *size)
    assert 0 < snow.min() and snow.max() < 1


def test_windows_are_split_and_joined_without_loss():
    block = SnowQueryAggregation(4, num_queries=2, window=4, num_heads=2)
    x = torch.arange(2 * 3 * 4 * 10 * 7.0).view(2, 3, 4, 10, 7)
    windows = block._split(x[:, :, None])
    assert windows.shape == (2 * 3 * 3 * 2, 1, 16, 4)
    torch.testing.assert_close(block._join(windows[:, 0], (2, 3, 10, 7)), x)
    # a window is a square of neighbours
    torch.testing.assert_close(windows[0, 0, :, 0], x[0, 0, 0, :4, :4].flatten())


def test_neighbours_are_aligned_by_their_flow():
    frames = torch.rand(1, 1, 3, 8, 12).repeat(1, 3, 1, 1, 1)
    frames = torch.stack([frames[0, t].roll(2 * t, dims=-1) for t in range(3)])[None]
    to_next = torch.zeros(1, 2, 2, 8, 12)
    to_next[:, :, 0] = 2
    observed, visible = observe_neighbours(frames, to_next, -to_next)
    inside = slice(2, -2)
    for neighbour in (0, 2):
        torch.testing.assert_close(observed[:, 1, neighbour, ..., inside], frames[:, 1, ..., inside])
    assert visible[0, 1, 2, 0, :, -2:].sum() == 0 and visible[0, 1, 2, 0, :, :-2].all()
    assert not visible[:, 0, 0].any() and not visible[:, -1, 2].any() and visible[:, :, 1].all()


# --- losses -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def contrast():
    torch.manual_seed(0)
    loss = SnowContrastiveLoss()
    loss.follow(FrameEncoder(8, 1))
    return loss


@pytest.fixture(scope='module')
def pair(snowy):
    return tensor(snowy.gt), tensor(snowy.lq)


def test_contrast_is_zero_at_the_clean_frames_and_falls_on_the_way_there(contrast, pair):
    clean, lq = pair
    values = [float(contrast(lq + share * (clean - lq), clean, lq)) for share in (0.0, 0.5, 0.9, 1.0)]
    assert values[3] == pytest.approx(0, abs=1e-6)
    assert values[0] > values[1] > values[2] > values[3]


def test_contrast_depends_on_its_negatives(contrast, pair):
    clean, lq = pair
    restored = 0.5 * (clean + lq)
    near, far = (float(contrast(restored, clean, other)) for other in (0.8 * restored + 0.2 * lq, lq))
    assert near > far  # the nearer the negatives, the larger the loss
    layers = dict(snow=torch.zeros_like(clean), transmission=torch.ones_like(clean[:, :, :1]),
                  airlight=torch.ones(1, 4, 3, 1, 1))
    heavy = dict(layers, snow=torch.rand_like(clean))
    assert float(contrast(restored, clean, lq, layers)) > float(contrast(restored, clean, lq, heavy))
    alone = SnowContrastiveLoss(resnowed=0)
    alone.follow(contrast.encoder)
    assert float(alone(restored, clean, lq)) != float(contrast(restored, clean, lq))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_contrast_is_safe_at_equality(contrast, pair, dtype):
    clean = pair[0]
    restored = clean.clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype is torch.bfloat16):
        value = contrast(restored.to(dtype), clean, clean)
    value.backward()
    assert value.dtype == torch.float32 and float(value.detach()) < (1e-6 if dtype is torch.float32 else 0.5)
    assert torch.isfinite(restored.grad).all() and restored.grad.abs().max() < 10


def test_contrast_gradient_reaches_the_anchor_only(contrast, pair):
    clean, lq = (clip.clone().requires_grad_() for clip in pair)
    restored = (0.5 * (pair[0] + pair[1])).requires_grad_()
    contrast(restored, clean, lq).backward()
    assert restored.grad is not None and clean.grad is None and lq.grad is None
    assert all(not parameter.requires_grad for parameter in contrast.encoder.parameters())


def test_copy_follows_the_encoder_slowly():
    encoder = FrameEncoder(8, 1)
    loss = SnowContrastiveLoss(momentum=0.9)
    loss.follow(encoder)
    start = loss.encoder.embed.weight.clone()
    with torch.no_grad():
        encoder.embed.weight += 1
    loss.update(encoder)
    torch.testing.assert_close(loss.encoder.embed.weight, start + 0.1)
    with pytest.raises(RuntimeError, match='call follow'):
        SnowContrastiveLoss()(*[torch.rand(1, 1, 3, 16, 16)] * 3)


def test_vgg_takes_the_place_of_the_copy(tmp_path, pair):
    from mmweather.models.losses.perceptual import _VGG19
    state, layer, channels = {}, 0, 3
    for width in _VGG19:
        if width == 'M':
            layer += 1
            continue
        state[f'features.{layer}.weight'] = torch.randn(width, channels, 3, 3) * (2 / (9 * channels))**0.5
        state[f'features.{layer}.bias'] = torch.zeros(width)
        layer, channels = layer + 2, width
    torch.save(state, tmp_path / 'vgg19.pth')
    loss = SnowContrastiveLoss(vgg19=tmp_path / 'vgg19.pth', frames=1)
    loss.follow(FrameEncoder(8, 1))
    assert loss.encoder is None and len(loss._features(pair[0][:, :1])) == 5
    clean, lq = (clip[..., :32, :32] for clip in pair)
    assert float(loss(clean, clean, lq)) == 0.0 < float(loss(lq, clean, lq))


def test_loss_terms_follow_what_is_known(snowy, pair):
    clean, lq = pair
    network = SVDNet(**MICRO)
    prediction = network(lq)
    loss = SVDLoss()
    loss.contrast.follow(network.extract)
    bare = loss(prediction, dict(gt=clean, lq=lq))
    assert set(bare) == {'loss_pix', 'loss_contrast', 'loss_physical', 'loss_flow'}
    layers = {name: tensor(getattr(snowy, name)) for name in ('snow', 'transmission', 'airlight', 'mask')}
    full = loss(prediction, dict(layers, gt=clean, lq=lq))
    assert set(full) - set(bare) == {'loss_layers', 'loss_mask'}
    # the truth has nothing to pay
    truth = dict(layers, output=clean, flows=torch.zeros(2, 1, 3, 2, 16, 24), snow_map=layers['mask'],
                 opacity=layers['mask'])
    perfect = loss(truth, dict(layers, gt=clean, lq=compose(clean, layers['snow'], layers['transmission'],
                                                            layers['airlight'])))
    for name in ('loss_physical', 'loss_layers', 'loss_mask', 'loss_contrast'):
        assert float(perfect[name]) == pytest.approx(0, abs=1e-6), name
    assert float(perfect['loss_pix']) == pytest.approx(1e-3)  # sqrt(eps)
    half = SVDLoss(contrast_weight=0.05)
    half.contrast.follow(network.extract)
    half.contrast.load_state_dict(loss.contrast.state_dict())
    assert float(half(prediction, dict(gt=clean, lq=lq))['loss_contrast']) == pytest.approx(
        0.5 * float(bare['loss_contrast']), rel=1e-4)


def test_flow_loss_is_least_for_the_true_flow():
    frames = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 72, 104), 9, stride=1, padding=4)
    clip = torch.stack([frames.roll(4 * t, dims=-1) for t in range(3)], dim=1)
    still = torch.zeros(2, 1, 2, 2, 18, 26)
    true = still.clone()
    true[0, :, :, 0], true[1, :, :, 0] = 1, -1
    loss = SVDLoss()
    values = [float(loss._photometric(flows, clip)) for flows in (true, still, -true)]
    assert values[0] < 0.5 * values[1] < values[2]


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def micro():
    torch.manual_seed(0)
    return SVDNet(**MICRO).eval()


@pytest.mark.parametrize('frames', [1, 2, 5])
def test_any_number_of_frames(micro, frames):
    with torch.no_grad():
        result = micro(torch.rand(2, frames, 3, 36, 44))
    assert result['output'].shape == result['snow'].shape == (2, frames, 3, 36, 44)
    assert result['snow_map'].shape == result['transmission'].shape == (2, frames, 1, 36, 44)
    assert result['airlight'].shape == (2, frames, 3, 1, 1)
    assert result['flows'].shape == (2, 2, frames - 1, 2, 9, 11)


@pytest.mark.parametrize('size', [(37, 91), (32, 32), (5, 60)])
def test_any_size_is_padded_and_cropped_back(micro, size):
    clip = torch.rand(1, 2, 3, *size)
    assert restore_clip(micro, clip).shape == clip.shape


def test_wrong_shapes_are_named(micro):
    with pytest.raises(ValueError, match=r'expected shape \(N, T, 3, H, W\)'):
        micro(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match='multiples of 4'):
        micro(torch.rand(1, 1, 3, 62, 64))
    with pytest.raises(ValueError, match='multiple of num_heads'):
        SnowQueryAggregation(10, num_heads=4)
    with pytest.raises(ValueError, match='flow_scale'):
        SVDNet(**MICRO, flow_scale=3)


def test_training_begins_next_to_the_input(micro, pair):
    with torch.no_grad():
        difference = micro(pair[0])['output'] - pair[0]
    assert difference.square().mean() < 1e-3  # over 30 dB


@pytest.mark.parametrize('options', [{}, dict(num_aggregations=0), dict(physical=False), dict(directions=('forward', )),
                                     dict(flow_scale=8), dict(motion=dict(type='LucasKanade'), flow_scale=2)])
def test_every_part_learns_with_and_without_the_others(options, pair):
    torch.manual_seed(0)
    network = SVDNet(**{**MICRO, **options})
    restorer_loss = SVDLoss()
    restorer_loss.contrast.follow(network.extract)
    for parameter in network.parameters():  # away from the zeros of the beginning, through which nothing flows yet
        parameter.data.add_(0.02 * torch.randn_like(parameter))
    clean, lq = (clip[:, :3] for clip in pair)
    with torch.autocast('cpu', torch.bfloat16):
        losses = restorer_loss(network(lq), dict(gt=clean, lq=lq))
    sum(losses.values()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # keys of "nothing" and of softmax cancel their biases
    assert [name for name in without if 'key_value.bias' not in name] == []
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_clues_tell_what_is_seen_once():
    """A still scene with a flake in the middle frame and a shadow in the last."""
    clip = torch.full((1, 3, 3, 16, 16), 0.5)
    clip[:, 1, :, 4:6, 4:6], clip[:, 2, :, 10:12, 10:12] = 0.9, 0.2
    brighter, darker, around = SVDNet._clues(clip, *still_flows(1, 3, 4, 4)).unbind(2)
    assert [brighter[0, 1, 4, 4], darker[0, 1, 4, 4]] == pytest.approx([-0.4] * 2)
    assert abs(brighter[0, 1, 10, 10]) < 1e-6 and darker[0, 1, 10, 10] == pytest.approx(-0.3)
    # the first frame has one neighbour, in front of which the flake falls
    assert [brighter[0, 0, 4, 4], darker[0, 0, 4, 4]] == pytest.approx([0.4] * 2)
    assert brighter[:, :, :4].abs().max() < 1e-6 and darker[:, :, :4].abs().max() < 1e-6
    assert around[0, 1, 4, 4] < -0.3 and around[0, 0].abs().max() < 1e-6
    assert SVDNet._clues(clip[:, :1], *still_flows(1, 1, 4, 4)).abs().max() < 1e-6


def test_encoder_sees_means_and_details_apart():
    frames = torch.rand(1, 3, 8, 12)
    parts = _unshuffle(frames)
    assert parts.shape == (1, 51, 2, 3)
    torch.testing.assert_close(parts[:, :3], torch.nn.functional.avg_pool2d(frames, 4))
    whole = parts[:, 3:] / 4 + parts[:, :3].repeat_interleave(16, dim=1)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(whole, 4), frames)


def test_tiles_hear_of_the_whole_frame(micro, pair):
    clip = pair[1]
    network = SVDNet(**MICRO).eval()
    with torch.no_grad():
        for layer in (network.physical.to_airlight, network.physical.weather, network.physical.to_transmission):
            layer.weight.normal_()
        shared = network.survey(lambda function: function(clip).mean((-2, -1)))
        whole, tile = network(clip), network(clip[..., :32, :32])
        told = network(clip[..., :32, :32], **shared)
    torch.testing.assert_close(told['airlight'], whole['airlight'])
    assert (tile['airlight'] - whole['airlight']).abs().max() > 1e-3
    assert (told['transmission'] - tile['transmission']).abs().max() > 1e-3
    assert SVDNet(**MICRO, physical=False).survey(None) == {}


def test_merging_trusts_the_frame_that_sees_more(micro):
    """A still scene behind a curtain: where one frame is covered, its neighbours show what is there."""
    clear = torch.rand(1, 1, 3, 32, 32).repeat(1, 3, 1, 1, 1)
    transmission = torch.ones(1, 3, 1, 32, 32)
    covered = clear.clone()
    covered[:, 1, :, 8:12, 8:12], transmission[:, 1, :, 8:12, 8:12] = 1.0, 1e-4
    flows = torch.zeros(1, 2, 2, 8, 8)
    with torch.no_grad():
        merged = SVDNet._merge(torch.zeros(3, 48, 8, 8), covered, transmission, flows, flows)
    torch.testing.assert_close(merged, clear, rtol=0, atol=1e-2)


def test_ablations_change_only_what_they_ablate(root):
    whole = Config.fromfile(root / 'configs/svdnet.py')
    expected = dict(svdnet_no_queries=('generator', 'num_aggregations', 0),
                    svdnet_no_contrast=('loss', 'contrast_weight', 0.0),
                    svdnet_no_physical=('generator', 'physical', False),
                    svdnet_forward_only=('generator', 'directions', ('forward', )))
    assert {path.stem for path in (root / 'configs/ablations').glob('svdnet_*.py')} == set(expected)
    for name, (part, key, value) in expected.items():
        config = Config.fromfile(root / f'configs/ablations/{name}.py')
        assert config.model[part].pop(key) == value
        whole_model = whole.model.to_dict()
        whole_model[part].pop(key, None)
        assert config.model.to_dict() == whole_model
        assert {k: v for k, v in config.items() if k != 'model'} == {k: v for k, v in whole.items() if k != 'model'}
    assert not SVDNet(**MICRO, physical=False)(torch.rand(1, 1, 3, 32, 32)).keys() & {'snow', 'transmission'}
    assert 'snow_map' not in SVDNet(**{**MICRO, 'num_aggregations': 0})(torch.rand(1, 1, 3, 32, 32))


def test_tiny_is_tiny():
    assert sum(p.numel() for p in build_network('svdnet_tiny').parameters()) <= 2_000_000


def test_restorer_hands_the_snowy_frames_to_the_loss_and_moves_the_copy(pair):
    torch.manual_seed(0)
    clean, lq = pair
    restorer = SVDRestorer(generator=dict(type='SVDNet', **MICRO), loss=dict(type='SVDLoss', contrast=dict(momentum=0)))
    with torch.no_grad():
        restorer.generator.extract.embed.weight.add_(1)
    losses = restorer(lq, dict(gt=clean), mode='loss')
    assert losses['loss_contrast'] > 0
    torch.testing.assert_close(restorer.loss.contrast.encoder.embed.weight, restorer.generator.extract.embed.weight)
    # weights of the copy never reach a user
    keys = restorer.state_dict()
    assert any(key.startswith('loss.contrast.encoder') for key in keys)
    assert all(not parameter.requires_grad for name, parameter in restorer.named_parameters()
               if name.startswith('loss'))


# --- the bundled weights ---------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def bundled():
    """The bundled network on a held-out walk: clean and snowy frames, and what becomes of both."""
    network = load_bundled('svdnet_tiny')
    scene = render_scene('walk', 5, (120, 216), seed=900_002)
    lq = snow_on(scene.frames, seed=900_002, depth=scene.depth).lq
    restored, untouched = (
        (restore_clip(network, tensor(frames)) * 255).round().byte()[0].permute(0, 2, 3, 1).numpy()
        for frames in (lq, scene.frames))
    return dict(clean=scene.frames, lq=lq, restored=restored, untouched=untouched)


def mean_psnr(frames, clean):
    return np.mean([score(frame, truth, 'rvsd')['psnr'] for frame, truth in zip(frames, clean)])


def test_bundled_weights_gain_what_their_card_says(bundled):
    clean = bundled['clean']
    assert mean_psnr(bundled['restored'], clean) - mean_psnr(bundled['lq'], clean) > 5.0
    median = (restore_clip(load_bundled('median'), tensor(bundled['lq'])) * 255).round().byte()[0]
    assert mean_psnr(bundled['restored'], clean) - mean_psnr(median.permute(0, 2, 3, 1).numpy(), clean) > 2.0
    assert mean_psnr(bundled['untouched'], clean) > 34


def test_bundled_weights_stay_sound_over_more_frames_than_a_window():
    """Propagation through a clip must not amplify: a clip three windows long is run at once."""
    scene = render_scene('walk', 15, (64, 96), seed=900_002)
    lq = tensor(snow_on(scene.frames, seed=1, depth=scene.depth).lq)
    with torch.no_grad():
        result = load_bundled('svdnet_tiny')(lq)
    errors = (result['output'] - tensor(scene.frames)).square().mean((0, 2, 3, 4))
    assert errors.max() < (lq - tensor(scene.frames)).square().mean()


# --- the warping error ------------------------------------------------------------------------------------------------


def test_warping_error_sees_flicker_and_not_motion():
    scene = render_scene('walk', 4, (96, 128), seed=2)
    masks = [reliable(forward, backward) for forward, backward in zip(scene.flow_forward, scene.flow_backward)]
    assert all(0.3 < mask.mean() < 1 for mask in masks)
    steady = warping_error(scene.frames, scene.flow_forward, masks)
    still = warping_error(scene.frames, np.zeros_like(scene.flow_forward), masks)
    flicker = scene.frames.astype(np.float32) / 255
    flicker[1::2] = np.clip(flicker[1::2] + 0.1, 0, 1)
    assert steady < 0.5 * still
    assert warping_error(flicker, scene.flow_forward, masks) == pytest.approx(steady + 0.01, abs=0.004)
    assert np.isnan(warping_error(scene.frames[:1], [], []))
    with pytest.raises(ValueError, match='4 frames have 3 pairs'):
        warping_error(scene.frames, scene.flow_forward[:2], masks[:2])


def test_dis_flow_points_where_things_go():
    frame = render_scene('walk', 1, (96, 128), seed=2).frames[0]
    flow = dis_flow(frame[:, :-4], frame[:, 4:])  # the camera pans to the right, things go to the left
    assert np.median(flow[..., 0]) == pytest.approx(-4, abs=0.3) and abs(np.median(flow[..., 1])) < 0.3


def test_warping_error_metric_compares_output_input_and_ground_truth(snowy):
    metric = WarpingErrorMetric()
    gt, lq = (torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in (snowy.gt, snowy.lq))
    sample = dict(video='a', output=(0.5 * gt + 0.5 * lq) / 255, gt=gt)
    metric.process(dict(inputs=[lq]), [sample])
    metric.process(dict(inputs=[lq[:1]]), [dict(video='b', output=gt[:1] / 255, gt=gt[:1])])
    values = metric.evaluate(2)
    assert values['warping/gt'] < values['warping/output'] < values['warping/input']


# --- end to end -------------------------------------------------------------------------------------------------------

TRAINING = """
_base_ = [r'{root}/configs/ablations/{name}.py']
model = dict(generator=dict(
    channels=8, num_extract_blocks=1, num_propagation_blocks=1, num_reconstruction_blocks=1, deform_groups=2,
    aggregation=dict(num_queries=4, window=4, num_heads=2),
    motion=dict(type='SPyNet', num_levels=2, widths=(4, 4, 4, 4)), min_size=32{more}))
train_cfg = dict(max_iters=2)
default_hooks = dict(logger=dict(interval=1))
train_dataloader = dict(batch_size=1, num_workers=0, persistent_workers=False, dataset=dict(
    data_root=r'{data}', num_frames=3, pipeline=[
        dict(type='RandomCropClip', size=32), dict(type='LoadFrames'), dict(type='PackClip')]))
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=r'{data}'))
"""


@pytest.fixture(scope='module')
def workshop(tmp_path_factory, root):
    """A synthesised RVSD, written by the command line."""
    folder = tmp_path_factory.mktemp('svdnet')
    _run(root, '-m', 'mmweather', 'synth', 'snow', 'scene:walk', '-o', folder / 'RVSD', '--layout', 'rvsd', '--videos',
         '1', '--test-videos', '2', '--frames', '5', '--size', '96x64', '--quiet')
    return folder


def _run(root, *words):
    done = subprocess.run([sys.executable, *map(str, words)], cwd=root, capture_output=True, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, check=False,
                          env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize('name', ['../svdnet', 'svdnet_no_queries', 'svdnet_no_contrast', 'svdnet_no_physical',
                                  'svdnet_forward_only'])
def test_configs_train_and_test_on_synthesised_rvsd(workshop, root, name):
    stem = name.removeprefix('../')
    config, work_dir = workshop / f'{stem}.py', workshop / stem
    config.write_text(TRAINING.format(root=root, name=name, data=workshop / 'RVSD', more=''))
    code = (f'import sys; from mmweather.engine.run import train_main, test_main\n'
            f'assert train_main([{str(config)!r}, "--work-dir", {str(work_dir)!r}]) == 0\n')
    if stem == 'svdnet':
        code += (f'assert test_main([{str(config)!r}, {str(work_dir / "iter_2.pth")!r}, "--work-dir", '
                 f'{str(work_dir / "test")!r}]) == 0\n')
    output = _run(root, '-c', code)
    assert ('loss_contrast' in output) == (stem != 'svdnet_no_contrast')
    assert ('loss_physical' in output) == (stem != 'svdnet_no_physical')
    if stem == 'svdnet':
        report = json.loads((work_dir / 'test' / 'rvsd.json').read_text())
        assert set(report['videos']) == {'walk_0001', 'walk_0002'} and report['frames'] == 10
        means = [entry['mean']['PSNR'] for entry in report['videos'].values()]
        assert report['mean']['PSNR'] == pytest.approx(np.mean(means))
        assert 'walk_0002' in output and 'warping/gt' in output and 'rvsd/input_PSNR' in output


def test_parts_are_saved_as_videos(workshop, root, snowy):
    from mmweather.inference.parts import restore_with_parts
    with open_sink(workshop / 'snowy.mkv', fps=25, codec='ffv1') as sink:
        for frame in snowy.lq:
            sink.write(frame)
    torch.manual_seed(0)
    network = SVDNet(**MICRO).eval()
    with torch.no_grad():
        network.physical.to_transmission.bias.fill_(0.0)
        network.physical.weigh_for_opacity.bias.fill_(0.0)
    summary = restore_with_parts(workshop / 'snowy.mkv', workshop / 'clear.mkv', network, device='cpu',
                                 precision='fp32', codec='ffv1')
    frames = {name: np.stack(list(open_source(workshop / f'clear{name}.mkv')))
              for name in ('', '_snow_map', '_snow', '_transmission')}
    assert summary.frames == 4 and 'clear_snow_map.mkv' in str(summary)
    clip = tensor(snowy.lq)
    with torch.no_grad():
        result = network(clip)
    expected = (result['output'][0].clamp(0, 1) * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(frames[''] - expected).max() <= 1
    # exp(-softplus(0)) is one half
    assert np.abs(frames['_transmission'].astype(int) - 127).max() < 12
    assert (frames['_snow_map'][..., 0] == frames['_snow_map'][..., 1]).all()


def test_save_parts_needs_a_network_that_has_some(workshop, snowy):
    from mmweather.errors import UserError
    from mmweather.inference.parts import WithParts
    with pytest.raises(UserError, match='has no parts to save'):
        WithParts(build_network('median'))


# --- the temporal median ----------------------------------------------------------------------------------------------


def test_median_takes_flakes_off_a_still_scene_and_leaves_a_clean_one(snowy):
    median = load_bundled('median')
    frame = render_scene('walk', 1, (64, 96), seed=3).frames[0]
    covered = snow_on(np.stack([frame] * 6), seed=2, veil=0.0)
    restored = (restore_clip(median, tensor(covered.lq)) * 255).round().byte()[0].permute(0, 2, 3, 1).numpy()
    for t in (0, 3, 5):
        gain = score(restored[t], frame, 'rvsd')['psnr'] - score(covered.lq[t], frame, 'rvsd')['psnr']
        assert gain > 2, t
    clean = tensor(np.stack([frame] * 3))
    torch.testing.assert_close(restore_clip(median, clean), clean)


def test_median_follows_motion():
    frame = render_scene('walk', 1, (96, 160), seed=3).frames[0]
    pan = np.stack([frame[:, 5 * t:5 * t + 128] for t in range(6)])
    restored = (restore_clip(load_bundled('median'), tensor(pan)) * 255).round().byte()[0].permute(0, 2, 3, 1).numpy()
    assert score(restored[3], pan[3], 'rvsd')['psnr'] > 30
