"""CID against the outputs of the published implementation, its phases, and what its parts promise."""
import math
import pickle

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist
from deterministic import DATA, input_for, official_state
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmweather.engine.hooks import FrozenHook
from mmweather.engine.run import train_main
from mmweather.errors import UserError
from mmweather.models import ClipProtocol, load_weights, restore_clip
from mmweather.models.cid import CIDLoss, CIDNet, Res2Net, SampleWeighting, coral
from mmweather.models.cid.losses import dark_channel_prior, ms_ssim, total_variation
from mmweather.models.cid.network import DehazeBlock
from mmweather.models.cid.restorers import in_the_tint_of
from mmweather.models.cid.weighting import dependence, random_fourier_features
from mmweather.registry import MODELS
from mmweather.structures import ClipSample
from mmweather.zoo import build_network, load_bundled

MICRO = dict(
    type='CIDNet', encoder=dict(stem=(4, 4, 8), planes=(8, 8, 16), blocks=(2, 1, 1), pool=False),
    head=dict(type='affine', hidden=8), shrink=2, min_size=64)
#: Built as cid_tiny is.
EIGHTH = dict(
    type='CIDNet', encoder=dict(stem=(4, 4, 8), planes=(8, 8, 16), blocks=(1, 1, 1), pool=False, in_channels=9),
    head=dict(type='affine', hidden=8, squares=(8, 4, 2)), shrink=4, extremes=True, context=True, min_size=64)


@pytest.fixture(scope='module')
def published():
    """The network with weights in the published layout, and what it makes of the golden input."""
    network = CIDNet().eval()
    state = {f'module.{key}': value for key, value in official_state('cid').items()}
    report = load_weights(network, dict(model=state))
    with torch.no_grad():
        outputs = network((input_for('cid/public', (1, 1, 3, 128, 160), -1, 1) + 1) / 2)
    return network, report, outputs


@pytest.fixture
def micro():
    torch.manual_seed(0)
    return _with_effect(MODELS.build(MICRO))


def _with_effect(network):
    """Weights under which the head does something, and the attention listens to the means."""
    nn.init.normal_(network.head.to_maps.weight, std=0.3)
    for block in network.blocks:
        block.conv2.weight.data.mul_(4)
        block.channel_attention = nn.Sigmoid()
    return network.eval()


def _batch(labelled, size=64, seed=0):
    """A batch as the data preprocessor hands it on."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(labelled), 1, 3, size, size)
    return torch.rand(shape, generator=generator), dict(
        gt=torch.rand(shape, generator=generator), labelled=torch.tensor(labelled),
        domain=torch.zeros(len(labelled), dtype=torch.long))


def test_parameter_counts():
    network = CIDNet(freeze_encoder=True)
    assert sum(p.numel() for p in network.parameters()) == 49_351_930
    assert sum(p.numel() for p in network.encoder.parameters()) == 28_178_616
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 21_173_314
    assert sum(p.numel() for p in build_network('cid_tiny').parameters()) <= 2_000_000


def test_published_layout_loads_key_by_key(published):
    _, report, _ = published
    assert report.complete and report.layout == 'CID (authors)' and len(report.matched) == 990


@pytest.mark.parametrize('name', ['output', 'feature'])
def test_outputs_equal_the_published_network(published, name):
    golden = np.load(DATA / 'cid_golden.npz')[name]
    ours = published[2][name].numpy()
    error = np.abs((ours[:, 0, :, ::4, ::4] if name == 'output' else ours) - golden)
    assert np.quantile(error, 0.999) < 1e-3 * golden.std()
    # What this implementation reaches; a looser result means that something changed.
    assert np.quantile(error, 0.999) < 5e-5 * golden.std()


def test_a_published_pk_file_is_recognised_and_never_unpickled(tmp_path, micro):
    torch.save(dict(model={key: torch.zeros(1) for key in ('module.enhancer.conv1010.weight', 'module.tail1.1.bias')}),
               tmp_path / 'published.pk')
    with pytest.raises(UserError, match='does not fit CIDNet'):
        load_weights(micro, tmp_path / 'published.pk')
    (tmp_path / 'foreign.pk').write_bytes(pickle.dumps(print))
    with pytest.raises(UserError, match=r'foreign\.pk'):
        load_weights(micro, tmp_path / 'foreign.pk')


@pytest.mark.parametrize('size', [(32, 32), (33, 50), (48, 80), (5, 130)])
def test_any_size_is_padded_and_cropped_back(micro, size):
    narrow = CIDNet(encoder=dict(stem=(4, 4, 8), planes=(8, 12, 16), blocks=(1, 1, 1))).eval()
    clip = torch.rand(1, 2, 3, *size)
    for network in (narrow, micro):
        assert restore_clip(network, clip).shape == clip.shape


def test_wrong_shapes_are_named(micro):
    with pytest.raises(ValueError, match=r'clip: expected shape \(N, T, 3, H, W\), got \(1, 3, 64, 64\)'):
        micro(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match='multiples of 16'):
        micro(torch.rand(1, 1, 3, 64, 72))


def test_the_affine_head_begins_as_the_identity():
    clip = torch.rand(1, 1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(MODELS.build(MICRO).eval()(clip)['output'], clip, rtol=0, atol=1e-6)


def test_the_affine_head_can_take_haze_away_exactly():
    # J = I / t + A (1 - 1 / t) with one t and one A: matrix and offset of the coarsest band, gains of the finer ones
    clear = torch.rand(1, 1, 3, 64, 64)
    transmission, air = 0.4, torch.tensor([0.7, 0.8, 0.9])
    hazy = clear * transmission + air.view(3, 1, 1) * (1 - transmission)
    network = MODELS.build(MICRO).eval()
    gain = 1 / transmission - 1
    with torch.no_grad():
        bias = network.head.to_maps.bias
        bias[:9] = gain * torch.eye(3).flatten()
        bias[9:12] = -gain * air
        bias[[12, 16]] = gain
        torch.testing.assert_close(network(hazy)['output'], clear, rtol=0, atol=1e-5)


def test_maps_at_an_eighth_take_haze_away_exactly():
    clear = torch.rand(1, 1, 3, 64, 96)
    network = MODELS.build(EIGHTH).eval()
    assert network.size_divisor == 32
    with torch.no_grad():
        torch.testing.assert_close(network(clear)['output'], clear, rtol=0, atol=1e-6)
        bias = network.head.to_maps.bias
        bias[:9] = torch.eye(3).flatten()
        bias[9:12] = -0.9
        bias[[12, 16]] = 1
        torch.testing.assert_close(network(0.5 * clear + 0.45)['output'], clear, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match='multiples of 32'):
        network(torch.rand(1, 1, 3, 64, 80))


def test_the_encoder_sees_the_extremes_of_every_square():
    network, seen = MODELS.build(EIGHTH).eval(), []
    network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frame = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        network(frame[None])
    squares = frame.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    mean = squares.mean(-1)
    torch.testing.assert_close(
        seen[0], torch.cat([2 * mean - 1, mean - squares.amin(-1), squares.amax(-1) - mean], dim=1), rtol=0, atol=1e-5)


def test_context_is_known_everywhere():
    # a pixel far beyond the reach of the convolutions changes the features, and as much at one place as at another
    torch.manual_seed(0)
    block, x = DehazeBlock(16, context=True).eval(), torch.rand(1, 16, 1, 64)
    # attention shut, so that only the context is left
    block.channel_attention[2].bias.data.fill_(-1e3)
    other = x.clone()
    other[..., 0] += 1
    with torch.no_grad():
        difference = (block(other) - block(x))[..., 16:]
    assert difference.abs().min(dim=-1).values.max() > 1e-4
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=0, atol=1e-5)


def test_tiles_agree_with_the_whole_frame(micro):
    # The means in the attention differ from tile to tile here, so tiles by themselves would differ in colour.
    ramp = torch.linspace(0, 1, 512)
    clip = (0.7 * ramp + 0.3 * torch.rand(1, 1, 3, 256, 512)).clamp(0, 1)
    tiles = ClipProtocol(tile=128, tile_overlap=64)
    whole = restore_clip(micro, clip, ClipProtocol())
    micro.survey, survey = lambda mean: {}, micro.survey
    alone = _psnr(restore_clip(micro, clip, tiles), whole)
    micro.survey = survey
    together = _psnr(restore_clip(micro, clip, tiles), whole)
    assert together > alone + 3, (together, alone)
    truth = 0.5 * clip
    assert abs(_psnr(restore_clip(micro, clip, tiles), truth) - _psnr(whole, truth)) < 0.1


def test_means_over_tiles_are_the_means_over_the_frame(micro):
    clip, seen = torch.rand(1, 1, 3, 128, 192), []

    def survey(mean):
        seen.append(mean(lambda tile: nn.functional.avg_pool2d(tile.flatten(0, 1), 4)))
        return {}

    micro.survey = survey
    restore_clip(micro, clip, ClipProtocol(tile=64, tile_overlap=32))
    means, = seen
    torch.testing.assert_close(means, clip.mean((1, 3, 4)), rtol=1e-3, atol=1e-3)


def test_colour_is_smoothed_over_time_but_not_over_cuts(micro):
    torch.manual_seed(1)
    frame, other = torch.rand(3, 64, 64), 0.2 * torch.rand(3, 64, 64)
    clip = torch.cat([frame.expand(8, -1, -1, -1), other.expand(2, -1, -1, -1)])[None]
    shift, gain = 0.05 * torch.randn(10, 3, 1, 1), 1 + 0.1 * torch.randn(10, 3, 1, 1)
    flickering = clip * gain + shift
    steady, _ = micro.steady(clip, flickering, None)
    torch.testing.assert_close(steady[:, 0], flickering[:, 0], rtol=0, atol=1e-5)
    for moment in (torch.mean, torch.std):
        before, after = (moment(video[0, :8], dim=(2, 3)).diff(dim=0).abs().mean() for video in (flickering, steady))
        assert after < 0.3 * before
    # The first frame after the cut is as if it were alone.
    torch.testing.assert_close(steady[:, 8], flickering[:, 8], rtol=0, atol=1e-4)
    micro.smooth_colour = False
    assert micro.steady(clip, flickering, None)[0] is flickering


def test_a_video_is_steadied_from_frame_to_frame(micro):
    clip = torch.rand(1, 1, 3, 64, 64) + 0.01 * torch.randn(1, 4, 3, 1, 1)
    steady = restore_clip(micro, clip.clamp(0, 1))
    micro.smooth_colour = False
    unsteady = restore_clip(micro, clip.clamp(0, 1))
    torch.testing.assert_close(steady[:, 0], unsteady[:, 0], rtol=0, atol=1e-5)
    assert (steady[:, 3] - unsteady[:, 3]).abs().max() > 1e-4


def test_imagenet_weights_are_read_where_the_user_has_them(tmp_path):
    options = dict(stem=(4, 4, 8), planes=(8, 8, 8), blocks=(1, 1, 1))
    file = {key: value for key, value in Res2Net(**options).state_dict().items() if 'num_batches' not in key}
    torch.save({**file, 'layer4.0.conv1.weight': torch.zeros(1), 'fc.bias': torch.zeros(1)}, tmp_path / 'res2net.pth')
    encoder = Res2Net(**options, checkpoint=tmp_path / 'res2net.pth')
    assert torch.equal(encoder.state_dict()['layer3.0.conv3.weight'], file['layer3.0.conv3.weight'])
    with pytest.raises(UserError, match='does not fit the encoder'):
        Res2Net(**{**options, 'stem': (4, 4, 16)}, checkpoint=tmp_path / 'res2net.pth')


def test_coral_is_numpys_covariance():
    rng = np.random.default_rng(0)
    source, target = rng.normal(3, 1, (7, 5)), rng.normal(0, 2, (6, 5))
    expected = ((np.cov(source.T) - np.cov(target.T))**2).sum() / (4 * 25)
    ours = coral(torch.from_numpy(source).float(), torch.from_numpy(target).float())
    assert float(ours) == pytest.approx(expected, rel=1e-5)
    # Under autocast too: bfloat16 has three digits.
    with torch.autocast('cpu', torch.bfloat16):
        assert float(coral(torch.from_numpy(source).float(), torch.from_numpy(target).float())) == pytest.approx(
            expected, rel=1e-5)
    assert float(coral(torch.ones(1, 5), torch.from_numpy(target).float())) == 0


def test_standardised_coral_does_not_mind_the_scale():
    source, target = torch.randn(9, 4), torch.randn(8, 4)
    torch.testing.assert_close(coral(source, target, standardise=True), coral(50 * source, 50 * target, True))


def test_dependence_is_the_weighted_covariance_off_the_diagonal():
    rng = np.random.default_rng(0)
    features, weights = rng.normal(2, 1, (2, 6, 9)), rng.dirichlet(np.ones(6))
    expected = 0.0
    for values in features:
        mean = weights @ values
        covariance = (values * weights[:, None]).T @ values - np.outer(mean, mean)
        expected += (covariance**2).sum() - (np.diag(covariance)**2).sum()
    ours = dependence(torch.from_numpy(features), torch.from_numpy(weights))
    assert float(ours) == pytest.approx(expected, rel=1e-9)


def test_random_fourier_features_follow_their_formula():
    features, frequencies, phases = torch.randn(3, 4).double(), torch.randn(2).double(), torch.rand(4, 2).double()
    ours = random_fourier_features(features, frequencies, phases)
    for f in range(2):
        angles = features * frequencies[f] + phases[:, f]
        low, high = angles.amin(1, keepdim=True), angles.amax(1, keepdim=True)
        angles = (angles - low) / (high - low) * math.pi / 2
        torch.testing.assert_close(ours[f], math.sqrt(2 / 2) * (angles.cos() + angles.sin()))


def test_sample_weights_lower_a_planted_dependence():
    torch.manual_seed(0)
    shared = torch.randn(24, 1)
    features = torch.randn(24, 12)
    # Half of the samples have two groups of features in common, the other half has not.
    features[:12] = 0.3 * features[:12] + shared[:12]
    weighting = SampleWeighting(12, memory=4, penalty=0.05)
    weights = weighting(features)
    assert float(weights.sum()) == pytest.approx(24, rel=1e-5) and float(weights.min()) > 0
    generator = torch.Generator().manual_seed(99)
    mapped = random_fourier_features(features, torch.randn(64, generator=generator),
                                     2 * math.pi * torch.rand(12, 64, generator=generator))
    assert dependence(mapped, weights / 24) < 0.98 * dependence(mapped, torch.full((24, ), 1 / 24))


def test_sample_weights_remember_the_batches_before():
    weighting = SampleWeighting(6, memory=3, warm_up=2)
    batches = [torch.randn(5, 6) for _ in range(3)]
    for batch in batches:
        weighting(batch)
    # a cumulative mean over two batches, then nine tenths of it
    expected = 0.9 * (batches[0][:3] + batches[1][:3]) / 2 + 0.1 * batches[2][:3]
    torch.testing.assert_close(weighting.memory_features, expected)
    assert int(weighting.batches) == 3 and not torch.equal(weighting.memory_weights, torch.ones(3))
    # A resumed training goes on alike.
    again = SampleWeighting(6, memory=3, warm_up=2)
    again.load_state_dict(weighting.state_dict())
    assert torch.equal(again(batches[0]), weighting(batches[0]))


def _on_rank(rank, folder):
    """What one of two processes makes of its half of the batch."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    source, target = (half[4 * rank:4 * rank + 4].requires_grad_() for half in torch.load(f'{folder}/features.pth'))
    distance = coral(source, target)
    distance.backward()
    weights = SampleWeighting(6, memory=8)(source)
    torch.save((distance.detach(), source.grad, weights), f'{folder}/rank{rank}.pth')
    dist.destroy_process_group()


def test_statistics_are_those_of_all_ranks(tmp_path):
    features = torch.randn(8, 6), 2 * torch.randn(8, 6)
    torch.save(features, tmp_path / 'features.pth')
    torch.multiprocessing.spawn(_on_rank, (str(tmp_path), ), nprocs=2)
    source, target = features
    source.requires_grad_()
    whole = coral(source, target)
    whole.backward()
    weights = SampleWeighting(6, memory=8)(source)
    for rank in (0, 1):
        mine = slice(4 * rank, 4 * rank + 4)
        distance, gradient, theirs = torch.load(tmp_path / f'rank{rank}.pth')
        torch.testing.assert_close(distance, whole.detach())
        # Distributed training takes the mean of the ranks' gradients, and each rank has that of both ranks' losses.
        torch.testing.assert_close(gradient / 2, source.grad[mine])
        torch.testing.assert_close(theirs, weights[mine])


def test_loss_terms_and_sample_weights():
    output, gt = torch.rand(3, 3, 48, 48), torch.rand(3, 3, 48, 48)
    weights = torch.tensor([3.0, 0.0, 0.0])
    losses = CIDLoss()(output, gt, output, weights)
    assert float(losses['loss_weighted']) == pytest.approx(float((output[0] - gt[0]).abs().mean()), rel=1e-5)
    assert float(losses['loss_l1']) == pytest.approx(float((output - gt).abs().mean()), rel=1e-5)
    assert set(CIDLoss(ssim_weight=0, sample_weight=0)(output, gt, output)) == {'loss_l1'}


def test_psnr_loss_counts_every_sample_by_its_own_decibels():
    gt = torch.full((2, 3, 16, 16), 0.5)
    output = gt + torch.tensor([0.2, 0.02])[:, None, None, None]
    loss = CIDLoss(error='psnr', sample_weight=0, ssim_weight=0)(output, gt, output)
    expected = np.mean([math.log(0.2**2 + 1e-4), math.log(0.02**2 + 1e-4)]) / 20
    assert float(loss['loss_psnr']) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="expected 'l1' or 'psnr'"):
        CIDLoss(error='l2')


def test_ms_ssim_of_one_scale_is_scikit_images_ssim():
    metrics = pytest.importorskip('skimage.metrics')
    rng = np.random.default_rng(0)
    image = rng.random((21, 21))
    other = np.clip(image + 0.1 * rng.normal(size=image.shape), 0, 1)
    _, full = metrics.structural_similarity(image, other, data_range=1, gaussian_weights=True, sigma=1.5,
                                            use_sample_covariance=False, full=True)
    ours = ms_ssim(*(torch.from_numpy(array).float()[None, None] for array in (image, other)))
    assert float(ours) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-4)


def test_ms_ssim_stays_in_float32_and_is_one_for_equal_images():
    image = torch.rand(2, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        assert float(ms_ssim(image, image)) == pytest.approx(1, abs=1e-5)
        assert ms_ssim(image, image.flip(-1)) < 0.5
    with pytest.raises(ValueError, match='at least 11'):
        ms_ssim(image[..., :10], image[..., :10])


def test_priors_tell_haze_from_clear_air():
    clear = torch.rand(1, 3, 64, 64)
    hazy = 0.4 * clear + 0.6
    assert dark_channel_prior(hazy) > 0.55 > 0.2 > dark_channel_prior(clear)
    assert float(total_variation(torch.arange(4.0).expand(1, 1, 4, 4))) == pytest.approx(1.0)


def test_contrastive_term_needs_weights_that_fit(tmp_path):
    torch.save({'features.0.weight': torch.zeros(64, 3, 3, 3)}, tmp_path / 'vgg.pth')
    with pytest.raises(UserError, match='does not fit VGG-19'):
        CIDLoss(vgg_checkpoint=tmp_path / 'vgg.pth')


def test_tint_is_that_of_the_others_highlights_and_takes_light_away():
    images = torch.rand(3, 3, 64, 64)
    light = torch.tensor([[1.0, 0.8, 0.6], [0.7, 1.0, 0.9], [0.6, 0.6, 1.0]])[..., None, None]
    others = torch.rand(3, 3, 48, 96) * 0.8 * light
    others[:, 0, :12] *= 0.5  # what is dark does not count
    tinted = in_the_tint_of(images, others)
    torch.testing.assert_close(tinted / images, light.expand_as(images), rtol=0.06, atol=0)
    assert (tinted <= images).all()


def test_preprocessor_tells_labelled_from_unlabelled():
    preprocessor = MODELS.build(dict(type='DomainDataPreprocessor'))
    clip = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    samples = [ClipSample(gt=clip, metainfo=dict(labelled=labelled, domain=domain))
               for labelled, domain in ((True, 2), (False, -1))]
    data = preprocessor(dict(inputs=[clip, clip], data_samples=samples), True)
    assert data['data_samples']['labelled'].tolist() == [True, False]
    assert data['data_samples']['domain'].tolist() == [2, -1]


def _restorer(kind, frozen=False, **options):
    torch.manual_seed(0)
    return MODELS.build(dict(type=kind, generator=dict(MICRO, freeze_encoder=frozen),
                             loss=dict(type='CIDLoss', ssim_weight=0.0), **options))


def test_pretraining_teaches_by_a_mean_teacher():
    restorer = _restorer('SemiSupervisedRestorer', dark_channel_weight=0.1, variation_weight=0.1, ramp_up=1)
    inputs, targets = _batch([True, False])
    losses = restorer(inputs, targets, mode='loss')
    assert set(losses) == {'loss_weighted', 'loss_l1', 'loss_dark_channel', 'loss_variation', 'loss_consistency'}
    # At first the teacher is the network itself.
    for mine, theirs in zip(restorer.teacher.parameters(), restorer.generator.parameters()):
        assert torch.equal(mine, theirs) and not mine.requires_grad
    sum(losses.values()).backward()
    assert restorer.generator.encoder.conv1[0].weight.grad is not None
    with torch.no_grad():
        restorer.generator.head.to_maps.bias += 1
    restorer(inputs, targets, mode='loss')
    # one of eleven steps towards it
    assert float(restorer.teacher.head.to_maps.bias.detach()[0]) == pytest.approx(10 / 11, rel=1e-5)


def test_unlabelled_samples_do_not_see_a_ground_truth():
    restorer = _restorer('SemiSupervisedRestorer', consistency_weight=0.0)
    inputs, targets = _batch([True, False])
    first = restorer(inputs, targets, mode='loss')
    targets['gt'][1] = 0
    assert float(restorer(inputs, targets, mode='loss')['loss_l1']) == float(first['loss_l1'])
    # a batch without labels still has a loss that reaches every parameter
    assert restorer(*_batch([False, False]), mode='loss')['loss_l1'].requires_grad


def test_second_phase_weighs_the_samples():
    restorer = _restorer('WeightedRestorer', frozen=True, weighting=dict(memory=4)).train()
    inputs, targets = _batch([True] * 4)
    losses = restorer(inputs, targets, mode='loss')
    assert losses['loss_weighted'] != losses['loss_l1'] and int(restorer.weighting.batches) == 1
    plain = _restorer('WeightedRestorer', frozen=True).train()(inputs, targets, mode='loss')
    assert plain['loss_weighted'] == plain['loss_l1']


def test_adaptation_aligns_and_keeps_the_encoder_bit_by_bit():
    restorer = _restorer('AdaptationRestorer', frozen=True, alignment=dict(weight=1.0, standardise=True),
                         tint_share=0.5).train()
    wrapper = build_optim_wrapper(restorer, dict(
        type='OptimWrapper', constructor='mmweather.TrainableOptimWrapperConstructor',
        optimizer=dict(type='Adam', lr=1e-2, weight_decay=0.1)))
    runner = type('Runner', (), dict(model=restorer, optim_wrapper=wrapper))
    hook = FrozenHook(['encoder'])
    hook.before_train(runner)
    before = {key: value.clone() for key, value in restorer.generator.encoder.state_dict().items()}
    inputs, targets = _batch([True, True, True, False, False, False])
    alignments = []
    for _ in range(8):
        hook.before_train_iter(runner, 0)
        losses = restorer(inputs, targets, mode='loss')
        alignments.append(float(losses['loss_alignment'].detach()))
        wrapper.update_params(losses['loss_alignment'])
    hook.after_train(runner)
    after = restorer.generator.encoder.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert 0 < min(alignments[-3:]) < alignments[0] <= 1


def test_a_thawed_encoder_is_noticed():
    restorer = _restorer('WeightedRestorer', frozen=False)
    plain = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
    runner = type('Runner', (), dict(model=restorer, optim_wrapper=build_optim_wrapper(restorer, plain)))
    with pytest.raises(RuntimeError, match='needs a gradient'):
        FrozenHook(['encoder']).before_train(runner)
    restorer.generator.encoder.requires_grad_(False)
    with pytest.raises(RuntimeError, match='is with the optimiser'):
        FrozenHook(['encoder']).before_train(runner)
    with pytest.raises(RuntimeError, match='training mode'):
        FrozenHook(['encoder']).before_train_iter(runner, 0)


PHASE = """
_base_ = [r'{root}/configs/cid_tiny_{phase}.py']
model = dict(generator=dict(_delete_=True, **{generator}))
train_cfg = dict(max_iters=2)
default_hooks = dict(checkpoint=dict(interval=2))
common = dict(crop_size=64, pipeline=[dict(type='PackClip')])
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False,
    dataset=dict(datasets=[dict(type='PairedImages', data_root=r'{data}', **common),
                           dict(type='UnlabelledImages', data_root=r'{data}/hazy', **common)]))
"""


def test_three_phases_follow_each_other_and_resume(tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for folder in ('hazy', 'clear'):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        for name in range(3):
            cv2.imwrite(str(tmp_path / 'data' / folder / f'{name}.png'), rng.integers(0, 256, (72, 80, 3), np.uint8))

    def train(phase, *options):
        generator = dict(MICRO, freeze_encoder=phase != 'pretrain')
        (tmp_path / f'{phase}.py').write_text(PHASE.format(
            root=root, phase=phase, generator=generator, data=tmp_path / 'data'))
        assert train_main([f'{phase}.py', '--work-dir', phase, *options]) == 0

    def state(path):
        return torch.load(tmp_path / path, weights_only=True)['state_dict']

    train('pretrain')
    train('supervised', '--cfg-options', 'load_from=pretrain/iter_2.pth')
    train('supervised', '--resume', '--cfg-options', 'load_from=pretrain/iter_2.pth', 'train_cfg.max_iters=4')
    train('adapt', '--cfg-options', 'load_from=supervised/iter_4.pth')
    pretrained, resumed, adapted = map(state, ('pretrain/iter_2.pth', 'supervised/iter_4.pth', 'adapt/iter_2.pth'))
    for key, value in pretrained.items():
        if key.startswith('generator.encoder.'):
            assert torch.equal(value, adapted[key]), key
    assert int(resumed['weighting.batches']) == 4
    assert not torch.equal(resumed['generator.blocks.0.conv1.weight'], adapted['generator.blocks.0.conv1.weight'])
    # What the phases hold besides the network does not keep a checkpoint from being used.
    assert load_weights(MODELS.build(MICRO), tmp_path / 'pretrain/iter_2.pth').complete


def test_bundled_weights_hold_their_card(root, monkeypatch):
    """A view of each scene of the card, on which its means are met but for the luck of the draw."""
    monkeypatch.syspath_prepend(root / 'tools')
    from judge_domains import CLEAR, clear_images, judge, network_restorer
    images = list(clear_images((), frames=1))
    ours, prior = (judge(network_restorer(load_bundled(name)), images)['scenes'] for name in ('cid_tiny', 'dcp'))
    assert ours.pop(CLEAR)[1] > 30 and prior.pop(CLEAR)
    gains = {domain: after - before for domain, (before, after) in ours.items()}
    assert np.mean(list(gains.values())) > 5, gains
    assert min(gains.values()) > 3, gains
    assert all(ours[domain][1] > after for domain, (_, after) in prior.items()), (ours, prior)


def _psnr(image, reference):
    return float(-10 * torch.log10((image - reference).square().mean()))
