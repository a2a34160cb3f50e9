"""Hazy domains: parameters within their ranges, the formation they describe, labels, and depth where there is none."""
import json

import cv2
import numpy as np
import pytest

from mmweather.cli.main import main
from mmweather.datasets import PairedImages
from mmweather.evaluation import psnr
from mmweather.synthesis import DOMAINS, degrade, estimate_depth, render_scene
from mmweather.synthesis.depth import guided_filter
from mmweather.synthesis.domains import depth_range, draw_parameters, form_image

DRAWS = 200


@pytest.fixture(scope='module')
def view():
    """A clear image and its exact depth."""
    scene = render_scene('walk', 1, (72, 96), seed=5)
    return scene.frames[0], scene.depth[0]


@pytest.fixture(scope='module')
def drawn():
    """Parameters of many images of every domain."""
    return {domain: [draw_parameters(domain, seed) for seed in range(DRAWS)] for domain in DOMAINS}


def plain(**changes):
    """Parameters of haze and nothing else."""
    params = draw_parameters('haze', 0)
    return {**params, 'beta': 1.0, 'airlight': [0.8, 0.8, 0.8], 'quality': None, **changes}


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(['synth', 'domains', *(str(word) for word in words)])
    return end.value.code


# --------------------------------------------------------------------------------------------------------- parameters


def test_every_domain_has_what_it_is_named_after_and_nothing_else(drawn):
    def share(domain, name):
        return np.mean([params[name] is not None for params in drawn[domain]])

    wanted = dict(haze=(0, 0, 0, 0), low_light=(1, 0, 0, 0), noisy=(0, 1, 0, 0), colour_cast=(0, 0, 1, 0),
                  sand=(0, 0, 0, 0), night=(0, 0, 0, 1))
    for domain, shares in wanted.items():
        assert tuple(share(domain, name) for name in ('gamma', 'noise', 'gains', 'night')) == shares
        assert 0.35 < share(domain, 'quality') < 0.65
    assert share('combined', 'noise') == share('combined', 'gains') == share('combined', 'quality') == 1
    # night is dark by itself
    assert all((params['gamma'] is None) == (params['night'] is not None) for params in drawn['combined'])


def test_parameters_fill_the_published_ranges(drawn):
    def spread(domain, values):
        values = np.array([values(params) for params in drawn[domain]])
        return values.min(axis=0), values.max(axis=0)

    for domain, value, low, high in (
            ('haze', lambda params: params['beta'], 0.3, 1.5),
            ('haze', lambda params: np.mean(params['airlight']), 0.25 - 0.025, 1.0),
            ('low_light', lambda params: params['gamma'], 1.5, 3.0),
            ('colour_cast', lambda params: params['gains'], 0.6, 1.0),
            ('combined', lambda params: params['quality'], 30, 95)):
        least, most = spread(domain, value)
        margin = 0.05 * (high - low)
        assert np.all(least >= low) and np.all(most <= high), domain
        assert np.all(least < low + margin) and np.all(most > high - margin), domain
    # the airlight is nearly gray but in sand, where red outweighs blue
    assert max(np.ptp(params['airlight']) for params in drawn['haze']) <= 0.05
    assert all(params['airlight'][0] > params['airlight'][1] > params['airlight'][2] for params in drawn['sand'])


def test_noise_has_the_published_modes_and_strengths(drawn):
    noises = [params['noise'] for params in drawn['noisy']]
    modes = [noise['mode'] for noise in noises]
    assert 0.3 < modes.count('colour') / DRAWS < 0.5 and 0.3 < modes.count('gray') / DRAWS < 0.5
    for noise in noises:
        covariance = np.array(noise['covariance'])
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
        sigma = np.sqrt(np.diag(covariance)) * 255
        assert (sigma <= 25 + 1e-9).all() and (noise['mode'] == 'correlated' or (sigma >= 2).all())


def test_the_same_seed_gives_the_same_image_and_label(view):
    for domain in DOMAINS:
        first, again, other = (degrade(*view, domain, seed) for seed in (7, 7, 8))
        np.testing.assert_array_equal(first.lq, again.lq)
        assert first.params == again.params != other.params
        assert (first.lq != other.lq).any()
        np.testing.assert_array_equal(first.gt, view[0])
        # the label makes the image, through JSON too
        np.testing.assert_array_equal(form_image(*view, json.loads(json.dumps(first.params))), first.lq)


def test_unknown_names_are_refused(view):
    with pytest.raises(ValueError, match="no domain 'fog'.*haze"):
        degrade(*view, 'fog')
    with pytest.raises(ValueError, match="'cid' or 'ridcp'"):
        degrade(*view, 'haze', order='first')
    with pytest.raises(ValueError, match='depth must have the shape'):
        degrade(view[0], view[1][:-1])


# ---------------------------------------------------------------------------------------------------------- formation


def test_haze_follows_the_published_equation(view):
    clear, depth = view
    near, far = depth_range(depth)
    assert far == 80, 'the sky is as far as anything gets'
    share = np.clip((depth.astype(np.float64) - near) / (far - near), 0, 1)
    transmission = np.exp(-2 * 1.0 * share)[..., None]
    expected = clear / 255 * transmission + 0.8 * (1 - transmission)
    np.testing.assert_allclose(form_image(clear, depth, plain()), expected * 255, atol=0.51)


def test_a_crop_is_as_hazy_as_in_its_image(view):
    clear, depth = view
    whole = form_image(clear, depth, plain())
    window = slice(20, 60), slice(10, 50)
    crop = form_image(clear[window], depth[window], plain(), depth_range(depth))
    np.testing.assert_array_equal(crop, whole[window])
    assert (form_image(clear[window], depth[window], plain()) != crop).any()


def test_low_light_darkens_the_scene_before_the_haze(view):
    clear, depth = view
    dark = form_image(clear, depth, plain(gamma=2.0))
    table = np.rint((np.arange(256) / 255)**2 * 255).astype(np.uint8)
    np.testing.assert_allclose(dark.astype(int), form_image(table[clear], depth, plain()), atol=2)


def test_the_cast_acts_on_scene_and_haze_alike(view):
    gains = [0.6, 0.8, 1.0]
    cast, without = form_image(*view, plain(gains=gains)), form_image(*view, plain())
    np.testing.assert_allclose(cast, without * np.array(gains), atol=1)


@pytest.mark.parametrize('mode', ['colour', 'gray', 'correlated'])
def test_noise_has_the_covariance_of_its_label(mode):
    params = next(params for params in (draw_parameters('noisy', seed) for seed in range(100))
                  if params['noise']['mode'] == mode)
    flat = np.full((200, 200, 3), 128, np.uint8)
    depth = np.ones((200, 200), np.float32)
    params = {**params, 'quality': None, 'airlight': [0.5] * 3}
    noise = form_image(flat, depth, params) / 255 - form_image(flat, depth, {**params, 'noise': None}) / 255
    np.testing.assert_allclose(np.cov(noise.reshape(-1, 3).T), params['noise']['covariance'], atol=3e-4)


def test_the_order_says_whether_haze_hides_the_noise(view):
    flat, far = np.full((64, 64, 3), 128, np.uint8), np.full((64, 64), 79.0, np.float32)
    noise = dict(mode='gray', covariance=[[0.01] * 3] * 3)
    spread = {order: form_image(flat, far, plain(order=order, noise=noise), (1.0, 80.0)).std()
              for order in ('cid', 'ridcp')}
    assert spread['ridcp'] == pytest.approx(spread['cid'] * np.exp(-2 * 78 / 79), rel=0.1)


def test_jpeg_of_a_low_quality_shows(view):
    good, bad, without = (form_image(*view, plain(quality=quality)).astype(int) for quality in (95, 30, None))
    assert 0 < np.abs(good - without).mean() < np.abs(bad - without).mean()


def test_lamps_are_bright_in_their_colour_and_the_rest_is_dark():
    clear, depth = np.full((120, 160, 3), 128, np.uint8), np.full((120, 160), 40.0, np.float32)
    lamp = dict(x=0.25, y=0.25, radius=0.08, power=1.0, colour=[1.0, 0.2, 0.2])
    night = dict(ambient=0.3, lamps=[lamp])
    image = form_image(clear, depth, plain(airlight=[0.1] * 3, night=night)).astype(int)
    at_lamp, beside, away = image[30, 40], image[30, 50], image[100, 140]
    assert at_lamp[0] > 250 and beside[0] > away[0] + 30 and beside[0] > beside[2] + 25
    assert away.max() < 60


def test_sand_takes_more_of_the_blue():
    clear, depth = np.full((8, 8, 3), 255, np.uint8), np.full((8, 8), 40.0, np.float32)
    params = plain(airlight=[0.0] * 3, scattering=draw_parameters('sand', 0)['scattering'])
    red, green, blue = form_image(clear, depth, params)[0, 0]
    assert red > green > blue


# -------------------------------------------------------------------------------------------------------------- depth


def test_estimated_depth_puts_the_pale_far_and_the_colourful_near():
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64], image[:, 64:] = (200, 205, 210), (20, 120, 30)
    depth = estimate_depth(image)
    assert depth.shape == (96, 128) and depth.dtype == np.float32
    assert depth.min() >= 3 and depth.max() <= 100
    assert depth[:, :60].mean() > 2 * depth[:, 68:].mean()
    # of two alike the lower is the nearer, unless the place is not to count
    assert depth[10, 20] > 2 * depth[90, 20]
    published = estimate_depth(image, place=0)
    assert published[10, 20] == pytest.approx(published[90, 20], rel=0.05)


def test_estimated_depth_orders_a_scene(view):
    scene = render_scene('drive', 1, (144, 256), seed=3)
    estimate, exact = estimate_depth(scene.frames[0]).ravel(), scene.depth[0].ravel()
    ranks = [np.argsort(np.argsort(values)) for values in (estimate, exact)]
    assert np.corrcoef(ranks)[0, 1] > 0.5


def test_estimated_depth_takes_any_size_and_flat_images():
    for size in ((1, 1), (5, 700), (480, 640)):
        depth = estimate_depth(np.full((*size, 3), 90, np.uint8))
        assert depth.shape == size and np.isfinite(depth).all()
    with pytest.raises(ValueError, match='uint8 RGB'):
        estimate_depth(np.zeros((4, 4)))


def test_guided_filter_smooths_but_keeps_the_edges_of_the_guide():
    step = np.zeros((40, 40), np.float32)
    step[:, 20:] = 1
    noisy = step + np.random.default_rng(0).normal(0, 0.1, step.shape).astype(np.float32)
    smooth = guided_filter(step, noisy, 4, 1e-3)
    assert np.abs(smooth - step).mean() < 0.25 * np.abs(noisy - step).mean()
    assert smooth[:, 19].max() < 0.2 and smooth[:, 20].min() > 0.8


# -------------------------------------------------------------------------------------------------------------- judge


def test_the_judge_compares_before_and_after_in_every_domain(view, root, monkeypatch):
    monkeypatch.syspath_prepend(root / 'tools')
    from judge_domains import judge, table

    scores = judge(lambda image: image // 2, [('scenes', *view), ('film', *view)])
    assert list(scores) == ['scenes', 'film'] and list(scores['film']) == [*DOMAINS, 'clear']
    before, after = scores['film']['night']
    made = degrade(*view, 'night', seed=1000)
    assert before == pytest.approx(psnr(made.lq, view[0])) and after == pytest.approx(psnr(made.lq // 2, view[0]))
    lines = table(scores).splitlines()
    assert len(lines) == 2 + len(DOMAINS) + 2
    mean = np.mean([scores['scenes'][domain] for domain in DOMAINS], axis=0)
    assert lines[-2].startswith(f'| **mean** | {mean[0]:.2f} | {mean[1]:.2f} | {mean[1] - mean[0]:+.2f} |')


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def clear_folder(tmp_path):
    """Two clear images of different sizes."""
    folder = tmp_path / 'clear images'
    folder.mkdir()
    for name, size in (('a_1', (40, 56)), ('b', (48, 48))):
        image = render_scene('drive', 1, size, seed=len(name)).frames[0]
        cv2.imwrite(str(folder / f'{name}.png'), image[..., ::-1])
    return folder


def test_a_folder_becomes_a_labelled_dataset(clear_folder, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run(clear_folder, out, '--domains', 'all', '--seed', 3, '--workers', 2) == 0
    assert '14 hazy images of 2 clear ones in 7 domains' in capsys.readouterr().out
    labels = [json.loads(line) for line in (out / 'labels.jsonl').read_text().splitlines()]
    assert len(labels) == 14 and {label['domain'] for label in labels} == set(DOMAINS)
    dataset = PairedImages(str(out), test_mode=True)
    assert len(dataset) == 14
    for index, info in enumerate(dataset[i] for i in range(14)):
        label = next(label for label in labels if label['lq'] == info['names'][0])
        assert DOMAINS[info['domain']] == label['domain'], index
        # what the label says makes the file
        clear = cv2.imread(str(clear_folder / label['gt']))[..., ::-1]
        np.testing.assert_array_equal(info['gt'][0], clear)
        expected = form_image(clear, estimate_depth(clear), label['params'], label['limits'])
        np.testing.assert_array_equal(info['lq'][0], expected)


def test_images_do_not_depend_on_workers_or_company(clear_folder, tmp_path):
    assert run(clear_folder, tmp_path / 'many', '--workers', 3, '-q') == 0
    assert run(clear_folder / 'b.png', tmp_path / 'one', '--domains', 'noisy,night', '--workers', 1, '-q') == 0
    for file in (tmp_path / 'one/hazy').iterdir():
        assert file.read_bytes() == (tmp_path / 'many/hazy' / file.name).read_bytes()


def test_a_stopped_run_is_continued(clear_folder, tmp_path, capsys):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    assert run(clear_folder, whole, '-q') == 0 and run(clear_folder, out, '-q') == 0
    # as if it had been killed while writing a label: the image is there, its line is not
    lines = (out / 'labels.jsonl').read_text().splitlines(keepends=True)
    (out / 'labels.jsonl').write_text(''.join(lines[:5]) + lines[5][:40])
    kept = [json.loads(line)['lq'] for line in lines[:5]]
    stamps = {name: (out / 'hazy' / name).stat().st_mtime_ns for name in kept}
    assert run(clear_folder, out) == 0
    assert '9 hazy images' in capsys.readouterr().out
    assert {name: (out / 'hazy' / name).stat().st_mtime_ns for name in kept} == stamps
    assert (out / 'labels.jsonl').read_text() == (whole / 'labels.jsonl').read_text()
    # images of two seeds in one folder would have labels that lie
    assert run(clear_folder, out, '--seed', 1) == 2
    assert 'made with another seed' in capsys.readouterr().err


def test_a_scene_has_exact_depth_and_maps_are_read(tmp_path, capsys):
    assert run('scene:walk', tmp_path / 'out', '--frames', 1, '--size', '64x48', '--domains', 'haze', '-q') == 0
    label = json.loads((tmp_path / 'out/labels.jsonl').read_text())
    depth = render_scene('walk', 1, (48, 64), seed=0).depth[0]
    assert label['depth'] == 'given' and label['limits'] == pytest.approx(depth_range(depth))
    # the same image with its depth as a 16-bit map in millimetres
    (tmp_path / 'maps').mkdir()
    image = next((tmp_path / 'out/clear').iterdir())
    millimetres = np.minimum(depth * 1000, 65535).round().astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'maps' / f'{image.stem}.png'), millimetres)
    assert run(image, tmp_path / 'again', '--depth', tmp_path / 'maps', '--domains', 'haze', '-q') == 0
    again = json.loads((tmp_path / 'again/labels.jsonl').read_text())
    assert again['limits'] == pytest.approx([depth.min(), 65.535], rel=1e-3)
    np.save(tmp_path / 'maps' / f'{image.stem}.npy', depth[:-1])
    assert run(image, tmp_path / 'third', '--depth', tmp_path / 'maps') == 2
    assert 'scale it' in capsys.readouterr().err


@pytest.mark.parametrize(('words', 'sentence'), [
    (('{clear}', '{tmp}/out', '--domains', 'haze,rain'), 'rain is not a domain'),
    (('{tmp}/nothing', '{tmp}/out'), 'does not exist'),
    (('{clear}', '{tmp}/out', '--depth', '{tmp}/maps'), 'no folder'),
    (('{clear}', '{clear}/b.png'), 'cannot be written to'),
])
def test_bad_input_gets_one_sentence(clear_folder, tmp_path, capsys, words, sentence):
    assert run(*(word.format(clear=clear_folder, tmp=tmp_path) for word in words)) == 2
    error = capsys.readouterr().err
    assert sentence in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / 'out').exists()
