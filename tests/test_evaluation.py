"""Metrics: equal to the benchmarks' own scripts and to scikit-image, averaged as each protocol says."""
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mmweather.errors import UserError
from mmweather.evaluation import PROTOCOLS, Protocol, RestorationMetric, align_koehler, psnr, score, ssim, summarise
from mmweather.evaluation.lpips import find_lpips
from mmweather.registry import METRICS

DATA = Path(__file__).parent / 'data' / 'metrics'
GOLDENS = json.loads((DATA / 'goldens.json').read_text())


def image(pair, kind):
    return cv2.cvtColor(cv2.imread(str(DATA / f'{pair}_{kind}.png')), cv2.COLOR_BGR2RGB)


@pytest.fixture
def noisy_pair():
    rng = np.random.default_rng(0)
    gt = cv2.GaussianBlur(rng.integers(0, 256, (47, 61, 3)).astype(np.uint8), (0, 0), 2)
    return np.clip(gt + rng.normal(0, 12, gt.shape), 0, 255).astype(np.uint8), gt


def no_lpips(monkeypatch, tmp_path):
    """A machine without LPIPS weights, whatever this one has."""
    monkeypatch.delenv('MMWEATHER_LPIPS', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'empty'))


# -------------------------------------------------------------------------------------------------------- functions


@pytest.mark.parametrize('golden', GOLDENS, ids=lambda golden: f'pair{golden["pair"]}')
@pytest.mark.parametrize('protocol', ['vrds', 'rvsd', 'sfvc', 'koehler'])
def test_score_equals_the_published_scripts(golden, protocol):
    result = score(image(golden['pair'], 'restored'), image(golden['pair'], 'gt'), protocol)
    # rvsd's script takes the PSNR in float32, sfvc's the SSIM, where another CPU may sum in another order
    assert result['psnr'] == pytest.approx(golden[protocol]['psnr'], abs=1e-3 if protocol == 'rvsd' else 1e-4)
    assert result['ssim'] == pytest.approx(golden[protocol]['ssim'], abs=3e-6 if protocol == 'sfvc' else 1e-6)


@pytest.mark.parametrize('golden', GOLDENS, ids=lambda golden: f'pair{golden["pair"]}')
def test_koehler_finds_the_shift_of_the_published_script(golden):
    _, _, shift = align_koehler(image(golden['pair'], 'restored'), image(golden['pair'], 'gt'))
    assert list(shift) == golden['koehler']['shift']


def test_plain_protocol_equals_scikit_image_on_unquantised_frames(noisy_pair):
    restored, gt = (image / np.float32(255) for image in noisy_pair)
    restored += np.float32(0.001)
    result = score(restored, gt, 'plain')
    assert result['psnr'] == pytest.approx(peak_signal_noise_ratio(gt, restored, data_range=1), abs=1e-4)
    assert result['ssim'] == pytest.approx(structural_similarity(restored.astype(np.float64), gt.astype(np.float64),
                                                                 channel_axis=-1, data_range=1), abs=1e-7)


def test_psnr_and_ssim_equal_scikit_image(noisy_pair):
    restored, gt = noisy_pair
    assert psnr(restored, gt) == pytest.approx(peak_signal_noise_ratio(gt, restored), abs=1e-10)
    oracle = structural_similarity(restored, gt, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                   data_range=255, channel_axis=2)
    assert ssim(restored, gt) == pytest.approx(oracle, abs=1e-10)


def test_zero_padded_ssim_counts_the_rim(noisy_pair):
    restored, gt = noisy_pair
    rim = 5
    padded = [np.pad(array, ((rim, rim), (rim, rim), (0, 0))) for array in noisy_pair]
    assert ssim(restored, gt, padding='zero') == pytest.approx(ssim(*padded), abs=1e-12)
    assert ssim(restored, gt, padding='zero') != pytest.approx(ssim(restored, gt), abs=1e-4)


def test_equal_images_are_perfect(noisy_pair):
    _, gt = noisy_pair
    assert psnr(gt, gt) == math.inf
    assert ssim(gt, gt) == pytest.approx(1)
    # pyiqa's epsilon keeps the rvsd PSNR finite
    assert score(gt, gt, 'rvsd')['psnr'] == pytest.approx(80)


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match='at least 11x11'):
        ssim(np.zeros((10, 40)), np.zeros((10, 40)))


def test_score_takes_floats_as_the_8_bit_image_that_would_be_saved(noisy_pair):
    restored, gt = noisy_pair
    # less than half a grey level away, and out of range where the saved image would be clipped
    floats = restored / 255 + np.where(restored == 255, 0.3, 0.0019)
    assert score(floats.astype(np.float32), gt, 'vrds') == score(restored, gt, 'vrds')


def test_sfvc_neither_clips_nor_quantises(noisy_pair):
    _, gt = noisy_pair
    for offset in (0.001, 0.5):
        result = score(gt.astype(np.float32) / 255 + np.float32(offset), gt, 'sfvc')
        assert result['psnr'] == pytest.approx(-20 * math.log10(offset), abs=1e-3)


def test_score_refuses_what_it_cannot_mean(noisy_pair):
    restored, gt = noisy_pair
    with pytest.raises(ValueError, match='same shape'):
        score(restored[1:], gt, 'vrds')
    with pytest.raises(ValueError, match=r'\(H, W, 3\)'):
        score(restored[..., 0], gt[..., 0], 'vrds')
    with pytest.raises(ValueError, match='uint8 or floating point'):
        score(restored.astype(np.int64), gt, 'vrds')
    with pytest.raises(ValueError, match='choose one of vrds, rvsd, sfvc, plain, koehler'):
        score(restored, gt, 'gopro')


@pytest.mark.parametrize('shift', [(3, 0), (-2, 5), (0, -4)])
def test_koehler_undoes_shift_and_brightness(shift):
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.integers(0, 256, (100, 120, 3)).astype(np.float32), (0, 0), 1.5)
    gt = scene[10:-10, 10:-10]
    restored = 0.5 * np.roll(scene, (-shift[0], -shift[1]), (0, 1))[10:-10, 10:-10]
    aligned, clean, found = align_koehler(restored, gt)
    assert found == shift
    # the scale is estimated before the shift, on other pixels, so it is only nearly 2
    assert np.abs(aligned - clean).mean() < 0.02 * clean.mean()
    # what the shift leaves without a counterpart is zero in both
    assert (aligned == 0).all(-1).sum() == (clean == 0).all(-1).sum() > 0


def test_koehler_transposes_portrait_frames():
    restored, gt = image(1, 'restored'), image(1, 'gt')
    portrait = score(restored.swapaxes(0, 1), gt.swapaxes(0, 1), 'koehler')
    assert portrait == pytest.approx(score(restored, gt, 'koehler'))


# --------------------------------------------------------------------------------------------------------- averages


def numbers(*values):
    return {f'{index:03d}.png': dict(PSNR=value) for index, value in enumerate(values)}


@pytest.mark.parametrize(('protocol', 'expected'), [
    ('vrds', (20 + 30) / 2),  # videos count the same, whatever their length
    ('rvsd', (20 + 30) / 2),
    ('sfvc', (10 + 20 + 30 + 30) / 4),  # frames count the same
    ('koehler', (20 + 30) / 2),  # the first frame of each video does not count, so the second video has none left
])
def test_mean_rule_of_each_protocol(protocol, expected):
    report = summarise(dict(a=numbers(10, 20, 30), b=numbers(30)), protocol)
    assert report['mean']['PSNR'] == pytest.approx(expected)


def test_koehler_drops_a_video_of_which_nothing_is_left():
    report = summarise(dict(a=numbers(10, 20), b=numbers(30)), 'koehler')
    assert list(report['videos']) == ['a']
    assert list(report['videos']['a']['frames']) == ['001.png']
    with pytest.raises(UserError, match='longer videos'):
        summarise(dict(b=numbers(30)), 'koehler')


# ----------------------------------------------------------------------------------------------------------- metric


def sample(video, frames, error, first=0, seed=0, size=24):
    """A restored clip that is ``error`` grey levels off, with its input three times as far off."""
    gt = torch.from_numpy(np.random.default_rng(seed).integers(60, 190, (frames, 3, size, size)).astype(np.uint8))
    output = (gt.float() + error) / 255
    data = dict(gt=gt, output=output, video=video, names=[f'{first + t:08d}.png' for t in range(frames)])
    return gt + 3 * error, data


def level(error):
    """PSNR of a constant error in grey levels."""
    return 20 * math.log10(255 / error)


def run(metric, *samples):
    for inputs, data in samples:
        metric.process(dict(inputs=[inputs]), [data])
    return metric.evaluate(len(samples))


@pytest.fixture
def metric_without_lpips(monkeypatch, tmp_path):
    no_lpips(monkeypatch, tmp_path)
    return lambda **options: METRICS.build(dict(type='RestorationMetric', **options))


def test_metric_keys_carry_the_protocol(metric_without_lpips):
    result = run(metric_without_lpips(protocol='vrds'), sample('a', 2, 5))
    assert set(result) == {'vrds/PSNR', 'vrds/SSIM'}
    assert result['vrds/PSNR'] == pytest.approx(level(5), abs=1e-6)


def test_metric_scores_the_input_beside_the_result(metric_without_lpips):
    result = run(metric_without_lpips(baseline=True), sample('a', 2, 5))
    assert result['vrds/PSNR'] == pytest.approx(level(5), abs=1e-6)
    assert result['vrds/input_PSNR'] == pytest.approx(level(15), abs=1e-6)
    assert result['vrds/input_SSIM'] < result['vrds/SSIM']


def test_metric_accepts_a_stacked_batch(metric_without_lpips):
    (inputs_a, a), (inputs_b, b) = sample('a', 2, 5), sample('b', 2, 10)
    metric = metric_without_lpips(baseline=True)
    metric.process(dict(inputs=torch.stack([inputs_a, inputs_b])), [a, b])
    result = metric.evaluate(2)
    assert result['vrds/PSNR'] == pytest.approx((level(5) + level(10)) / 2, abs=1e-6)
    assert result['vrds/input_PSNR'] == pytest.approx((level(15) + level(30)) / 2, abs=1e-6)


def test_metric_joins_the_windows_of_a_video(metric_without_lpips):
    """Two windows of video a are one video: its mean weighs three frames, and then as much as video b."""
    result = run(metric_without_lpips(), sample('a', 2, 5), sample('a', 1, 10, first=2), sample('b', 1, 20))
    expected = ((2 * level(5) + level(10)) / 3 + level(20)) / 2
    assert result['vrds/PSNR'] == pytest.approx(expected, abs=1e-6)


def test_metric_skips_the_first_frame_of_a_video_not_of_a_window(metric_without_lpips):
    windows = [sample('a', 2, 5, size=48), sample('a', 2, 10, first=2, size=48)]
    frames = [score(*(data[key][t].permute(1, 2, 0).numpy() for key in ('output', 'gt')), 'koehler')['psnr']
              for _, data in windows for t in range(2)]
    result = run(metric_without_lpips(protocol='koehler'), *windows)
    assert result['koehler/PSNR'] == pytest.approx(np.mean(frames[1:]))


def test_metric_scores_both_views_of_stereo(metric_without_lpips):
    _, left = sample('a', 2, 5)
    _, right = sample('a', 2, 10, seed=1)
    stereo = dict(left, **{key: torch.stack([left[key], right[key]], 1) for key in ('gt', 'output')})
    result = run(metric_without_lpips(protocol='sfvc'), (None, stereo))
    assert result['sfvc/left_PSNR'] == pytest.approx(level(5), abs=1e-3)
    assert result['sfvc/right_PSNR'] == pytest.approx(level(10), abs=1e-3)


def test_metric_writes_all_numbers_as_strict_json(metric_without_lpips, tmp_path):
    path = tmp_path / 'new' / 'scores.json'
    result = run(metric_without_lpips(save_json=str(path)), sample('a', 2, 5), sample('b', 1, 0))
    written = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f'{name} is no JSON'))
    assert written['protocol'] == 'vrds'
    assert written['lpips_left_out'] == 'no weights'
    assert written['frames'] == 3
    assert written['videos']['a']['mean']['PSNR'] == pytest.approx(level(5), abs=1e-6)
    assert list(written['videos']['a']['frames']) == ['00000000.png', '00000001.png']
    # equal images: float() reads what stands for infinity
    assert float(written['videos']['b']['frames']['00000000.png']['PSNR']) == result['vrds/PSNR'] == math.inf
    assert [entry.name for entry in path.parent.iterdir()] == ['scores.json']


def test_metric_that_cannot_write_says_so(metric_without_lpips, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='scores.json cannot be written .*choose another save_json'):
        run(metric_without_lpips(save_json=str(tmp_path / 'file' / 'scores.json')), sample('a', 1, 5))


def test_metric_prints_a_table_with_every_video(metric_without_lpips, monkeypatch):
    printed = []
    monkeypatch.setattr('mmweather.evaluation.metric.print_log', lambda text, logger: printed.append(text))
    run(metric_without_lpips(baseline=True), sample('night_drive', 1, 5), sample('dawn', 1, 10))
    text, = printed
    for part in ('night_drive', 'dawn', f'{level(5):.2f}', f'{level(10):.2f}', 'input_PSNR', 'no weights',
                 PROTOCOLS['vrds'].description.split(';')[0]):
        assert part in text, text


def test_metric_without_ground_truth_says_what_to_do(metric_without_lpips):
    _, data = sample('holiday', 1, 5)
    with pytest.raises(UserError, match='holiday has no ground truth.*mmweather restore'):
        metric_without_lpips().process({}, [dict(data, gt=None)])


def test_metric_refuses_clips_of_other_shapes(metric_without_lpips):
    _, data = sample('a', 2, 5)
    with pytest.raises(ValueError, match='differ in shape'):
        metric_without_lpips().process({}, [dict(data, output=data['output'][:1])])


def _rank(rank, port, folder):
    """One of two ranks: three clips, so rank 1 repeats clip 0 as MMEngine's sampler pads."""
    torch.distributed.init_process_group(
        'gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    metric = RestorationMetric(
        save_json=str(Path(folder) / 'scores.json'), lpips=False, collect_dir=f'{folder}/collect')
    clips = [sample('a', 2, 5), sample('b', 2, 10), sample('c', 2, 20)]
    for index in ((0, 2), (1, 0))[rank]:
        metric.process({}, [clips[index][1]])
    result = metric.evaluate(3)
    (Path(folder) / f'rank{rank}.json').write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


def test_metric_collects_over_ranks_and_drops_padding(tmp_path, free_port):
    mp.spawn(_rank, (free_port, str(tmp_path)), nprocs=2)
    results = [json.loads((tmp_path / f'rank{rank}.json').read_text()) for rank in range(2)]
    assert results[0] == results[1]
    assert results[0]['vrds/PSNR'] == pytest.approx((level(5) + level(10) + level(20)) / 3, abs=1e-6)
    assert list(json.loads((tmp_path / 'scores.json').read_text())['videos']) == ['a', 'b', 'c']


@pytest.fixture
def free_port():
    import socket
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


# ------------------------------------------------------------------------------------------------------------ LPIPS


def lpips_state():
    """Deterministic weights in the layout of ``lpips.LPIPS(net='alex')``."""
    rng, state = np.random.default_rng(0), {}
    convs = [(0, (64, 3, 11, 11)), (3, (192, 64, 5, 5)), (6, (384, 192, 3, 3)), (8, (256, 384, 3, 3)),
             (10, (256, 256, 3, 3))]
    for index, (layer, shape) in enumerate(convs):
        prefix = f'net.slice{index + 1}.{layer}'
        weight = rng.normal(0, (2 / np.prod(shape[1:]))**.5, shape)
        state[f'{prefix}.weight'] = torch.from_numpy(weight.astype(np.float32))
        state[f'{prefix}.bias'] = torch.from_numpy(rng.normal(0, .1, shape[0]).astype(np.float32))
        state[f'lin{index}.model.1.weight'] = torch.from_numpy(rng.random((1, shape[0], 1, 1)).astype(np.float32))
    return state


@pytest.fixture
def lpips_file(tmp_path, monkeypatch):
    path = tmp_path / 'lpips.pth'
    torch.save(lpips_state(), path)
    monkeypatch.setenv('MMWEATHER_LPIPS', str(path))
    return path


def test_lpips_equals_the_reference_package(lpips_file):
    """0.17425318 (BGR) and 0.18552932 (RGB) are what lpips 0.1.4 gives with these weights."""
    network = find_lpips()
    restored, gt = image(1, 'restored'), image(1, 'gt')
    assert network.distance(restored, gt) == pytest.approx(0.18552932, abs=1e-6)
    assert network.distance(restored[..., ::-1], gt[..., ::-1]) == pytest.approx(0.17425318, abs=1e-6)


@pytest.mark.parametrize(('protocol', 'expected'), [('vrds', 0.17425318), ('rvsd', 0.18552932)])
def test_metric_gives_lpips_the_channel_order_of_the_protocol(lpips_file, protocol, expected):
    def clip(kind):
        return torch.from_numpy(image(1, kind)).permute(2, 0, 1)[None]

    data = dict(gt=clip('gt'), output=clip('restored').float() / 255, video='a', names=['0.png'])
    assert run(RestorationMetric(protocol), (None, data))[f'{protocol}/LPIPS'] == pytest.approx(expected, abs=1e-5)


def test_lpips_is_found_in_two_parts(tmp_path, monkeypatch):
    """torchvision's AlexNet in the hub cache and the linear layers in the installed package."""
    no_lpips(monkeypatch, tmp_path)
    assert find_lpips() is None
    state = lpips_state()
    backbone = {key.replace(f'net.slice{index}', 'features'): value for key, value in state.items()
                for index in range(1, 6) if f'slice{index}' in key}
    package, checkpoints = tmp_path / 'site' / 'lpips', tmp_path / 'empty' / 'checkpoints'
    (package / 'weights' / 'v0.1').mkdir(parents=True)
    (package / '__init__.py').write_text('raise ImportError("must not be imported")')
    torch.save({key: value for key, value in state.items() if 'lin' in key}, package / 'weights' / 'v0.1' / 'alex.pth')
    checkpoints.mkdir(parents=True)
    torch.save(backbone, checkpoints / 'alexnet-owt-7be5be79.pth')
    monkeypatch.syspath_prepend(tmp_path / 'site')
    assert find_lpips().distance(image(1, 'restored'), image(1, 'gt')) == pytest.approx(0.18552932, abs=1e-6)


def test_lpips_is_left_out_with_a_word_unless_demanded(metric_without_lpips):
    assert metric_without_lpips().lpips_left_out == 'no weights'
    assert metric_without_lpips(lpips=False).lpips_left_out == 'off'
    assert metric_without_lpips(protocol='koehler').lpips_left_out == 'unspecified'
    with pytest.raises(UserError, match='no weights'):
        metric_without_lpips(lpips=True)


def test_lpips_never_unpickles_a_file(tmp_path, monkeypatch):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / 'sprung'), 'w')

    path = tmp_path / 'evil.pth'
    torch.save(dict(trap=Trap()), path)
    monkeypatch.setenv('MMWEATHER_LPIPS', str(path))
    with pytest.raises(UserError, match='evil.pth cannot be read'):
        find_lpips()
    assert not (tmp_path / 'sprung').exists()


def test_lpips_file_of_another_network_is_refused(lpips_file):
    torch.save({key: value for key, value in lpips_state().items() if 'slice5' not in key}, lpips_file)
    with pytest.raises(UserError, match=r'does not hold LPIPS-Alex \(convs.4.weight'):
        find_lpips()


def test_a_protocol_of_ones_own():
    """A researcher's protocol needs no registration."""
    mine = Protocol('mine', lambda restored, gt: (float(restored.mean()), float(gt.mean())), 'means')
    _, data = sample('a', 2, 5)
    result = run(RestorationMetric(mine, lpips=False), (None, data))
    assert result['mine/PSNR'] - result['mine/SSIM'] == pytest.approx(5)
