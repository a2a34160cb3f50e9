"""Falling snow: particles, their layers, the RVSD layout and dataset, and the command line."""
import shutil

import cv2
import numpy as np
import pytest

from mmweather.cli.main import main
from mmweather.datasets import RVSD, SyntheticSnow
from mmweather.datasets.check import check_dataset
from mmweather.datasets.rvsd import PUBLISHED_ORDER, first_frames_are_misordered
from mmweather.evaluation import psnr
from mmweather.synthesis import Snow, SnowOn, random_snow, render_scene, snow_on, write_rvsd
from mmweather.synthesis.snow import DIAMETER, NEAREST

SIZE = (120, 216)


@pytest.fixture(scope='module')
def clean():
    """A short walk, not too bright."""
    return render_scene('walk', 7, SIZE, seed=3)


def test_flakes_are_a_function_of_seed_and_time():
    here, again, other = (Snow(SIZE, seed=seed) for seed in (5, 5, 6))
    later = again.render(40)
    np.testing.assert_array_equal(here.flakes(17).position, again.flakes(17).position)
    np.testing.assert_array_equal(here.render(40), later)
    assert not np.array_equal(later, other.render(40))
    assert not np.array_equal(later, here.render(41))


@pytest.mark.parametrize('density', [10, 40])
def test_there_are_as_many_flakes_as_asked_for(density):
    snow = Snow(SIZE, seed=1, density=density, strength=0.5)
    position = snow.flakes(12).position
    assert len(position) == round(0.5 * density * float(np.prod(snow.box)))
    # everywhere alike, at any time: no air gathers or loses flakes
    inside = np.abs(position[:, :2]) < 0.25 * snow.box[:2]
    assert inside.all(axis=1).mean() == pytest.approx(0.25, abs=0.02)
    assert position[:, 2].min() >= NEAREST - 0.01
    assert np.median(snow.flakes(0).diameter) == pytest.approx(DIAMETER, rel=0.02)


@pytest.mark.parametrize(('speed', 'wind', 'forward'), [(1.5, 0.0, 0.0), (0.8, -3.0, 6.0)])
def test_flakes_move_as_asked(speed, wind, forward):
    snow = Snow(SIZE, seed=2, speed=speed, wind=wind, forward=forward, turbulence=0)
    velocity = snow.flakes(30).velocity
    assert velocity.mean(axis=0) == pytest.approx([wind, speed, -forward], abs=0.02)
    # no two flakes fall alike, and all fall
    assert 0.05 < velocity[:, 1].std() / speed < 0.25 and velocity[:, 1].min() > 0


def test_turbulence_stirs_neighbours_together():
    calm, stirred = (Snow(SIZE, seed=2, wind=0.0, turbulence=strength) for strength in (0.0, 1.0))
    swirl = stirred.flakes(9).velocity - calm.flakes(9).velocity
    assert 0.2 < swirl.std() < 2
    position = stirred.flakes(9).position
    near = [np.linalg.norm(position - flake, axis=1) < 0.4 for flake in position[:20]]
    assert np.mean([swirl[some].std(axis=0).mean() for some in near]) < 0.7 * swirl.std(axis=0).mean()


def test_a_flake_follows_its_path_from_frame_to_frame():
    snow = Snow(SIZE, seed=4, turbulence=0.3)
    before, after = snow.flakes(10), snow.flakes(11)
    step = after.position - before.position
    stays = np.abs(step).max(axis=1) < 1  # the others came in on the other side
    assert stays.mean() > 0.95
    np.testing.assert_allclose(step[stays], (before.velocity * 0.04)[stays], atol=0.004)


def one_flake(distance, **options):
    """The opacity of one flake in the middle of the frame, ``distance`` metres away."""
    snow = Snow((96, 96), density=0, turbulence=0, wind=0.0, focal=400, **options)
    snow.count = 1
    snow._scatter()
    snow._home[0] = *(snow.box[:2] / 2), distance - NEAREST
    snow._diameter[0] = 0.01
    return snow.render(0)


def thickness(opacity):
    """Optical thickness, which adds up where opacity saturates."""
    return float(-np.log1p(-opacity).sum())


def test_near_flakes_are_larger_and_out_of_focus():
    far, near = one_flake(6.0, exposure=1e-4, aperture=0.0), one_flake(0.8, exposure=1e-4, aperture=0.0)
    assert thickness(near) / thickness(far) == pytest.approx((6 / 0.8)**2, rel=0.2)
    blurred = one_flake(0.8, exposure=1e-4, aperture=0.006, focus=8.0)
    assert blurred.max() < 0.8 * near.max() and (blurred > 0.01).sum() > 1.5 * (near > 0.01).sum()
    # in focus it is as sharp as through a pinhole
    np.testing.assert_allclose(one_flake(0.8, exposure=1e-4, aperture=0.006, focus=0.8), near, atol=1e-6)


def test_a_longer_exposure_makes_longer_and_fainter_streaks():
    short, long = (one_flake(1.5, exposure=seconds, speed=2.0, aperture=0.0) for seconds in (1e-4, 0.05))
    rows, columns = np.nonzero(long > 0.02)
    # 2 m/s * 0.05 s * 400 px / 1.5 m, give or take a flake that is slower or faster
    assert np.ptp(rows) == pytest.approx(27, abs=10) and np.ptp(columns) < 8
    assert long.max() < 0.7 * short.max()
    assert thickness(long) == pytest.approx(thickness(short), rel=0.1)


def test_surfaces_hide_the_flakes_behind_them():
    snow = Snow(SIZE, seed=1)
    depth = np.full(SIZE, 100, np.float32)
    depth[:, :100] = 1.0
    opened, hidden = snow.render(3), snow.render(3, depth)
    # a few flakes are nearer than a metre, and their blur reaches over the edge
    assert hidden[:, :80].mean() < 0.5 * opened[:, :80].mean()
    np.testing.assert_allclose(hidden[:, 130:], opened[:, 130:], atol=1e-6)


def test_the_veil_thickens_with_density_and_distance():
    depth = np.full(SIZE, 10, np.float32)
    optical = [-np.log(Snow(SIZE, seed=1, strength=strength).veil_transmission(0, depth)) for strength in (0.5, 1.0)]
    np.testing.assert_allclose(optical[1], 2 * optical[0], rtol=1e-3)
    twice = -np.log(Snow(SIZE, seed=1).veil_transmission(0, 2 * depth))
    np.testing.assert_allclose(twice, 2 * optical[1], rtol=1e-3)
    assert (Snow(SIZE, veil=0.0).veil_transmission(0) == 1).all()
    assert np.abs(Snow(SIZE, seed=1).veil_transmission(25) - Snow(SIZE, seed=1).veil_transmission(0)).max() > 0.001


def test_layers_put_together_are_the_snowy_frame(clean):
    snowy = snow_on(clean.frames, seed=2, depth=clean.depth)
    gt, snow, light = (array.astype(np.float32) for array in (snowy.gt, snowy.snow, snowy.airlight))
    transmission = snowy.transmission.astype(np.float32) / 255
    composed = gt * transmission + light * (1 - transmission) + snow
    assert np.abs(composed.clip(0, 255) - snowy.lq).max() < 3
    assert snowy.mask.max() > 200 and (snowy.mask == 0).mean() > 0.2
    # flakes hide what is behind them, beyond what the veil hides
    covered = snowy.mask[..., 0] > 128
    assert snowy.transmission[covered].max() < 128


def test_snow_on_is_snow_frame_by_frame(clean):
    snowy = snow_on(clean.frames, seed=2, start=5)
    alone = SnowOn(SIZE, seed=2)(clean.frames[4], 9)
    for name in ('lq', 'gt', 'snow', 'transmission', 'airlight', 'mask'):
        np.testing.assert_array_equal(getattr(snowy, name)[4], alone[name])


def test_no_strength_no_snow(clean):
    snowy = snow_on(clean.frames[:2], strength=0)
    np.testing.assert_array_equal(snowy.lq, snowy.gt)
    assert (snowy.transmission == 255).all() and not snowy.snow.any() and not snowy.mask.any()


def test_default_snow_is_calibrated_and_gradual():
    frames = [render_scene(kind, 2, (240, 432), seed=seed).frames for kind, seed in (('drive', 1), ('walk', 2))]
    scores = [np.mean([psnr(*pair) for clip in frames
                       for pair in zip(snow_on(clip, seed=7, strength=strength).lq, clip)])
              for strength in (0.4, 1.0, 1.5)]
    assert 20 < scores[1] < 24.5
    assert scores[0] > scores[1] + 2 and scores[1] > scores[2] + 0.7


def test_random_snow_follows_its_generator_and_varies(clean):
    def draw(seed):
        return random_snow(SIZE, np.random.default_rng(seed))(clean.frames[0], 3)['lq']

    np.testing.assert_array_equal(draw(1), draw(1))
    scores = [psnr(draw(seed), clean.frames[0]) for seed in range(8)]
    assert max(scores) - min(scores) > 5


@pytest.mark.parametrize('size', [(16, 16), (65, 31), (17, 200)])
def test_any_size_can_be_snowed_on(size):
    frame = np.full((*size, 3), 90, np.uint8)
    made = SnowOn(size, seed=1)(frame, 0)
    assert made['lq'].shape == frame.shape and made['mask'].shape == (*size, 1)


# --- RVSD -------------------------------------------------------------------------------------------------------------


def parts(snowy, order=None):
    """The frames of a clip for the writer; ``order`` shuffles the clean ones as the published training set does."""
    clean = list(snowy.gt)
    if order:
        shuffled = list(clean)
        for snow_index, clean_index in enumerate(order):
            shuffled[clean_index] = clean[snow_index]
        clean = shuffled
    return [dict(lq=lq, gt=gt) for lq, gt in zip(snowy.lq, clean)]


@pytest.fixture(scope='module')
def rvsd(tmp_path_factory, clean):
    """Two training videos, the second of which is misordered, and a test video."""
    root = tmp_path_factory.mktemp('data') / 'RVSD'
    drive = render_scene('drive', 7, SIZE, seed=8)
    write_rvsd(root, 'a', parts(snow_on(clean.frames, seed=1)))
    write_rvsd(root, 'b', parts(snow_on(drive.frames, seed=2), PUBLISHED_ORDER))
    write_rvsd(root, 'c', parts(snow_on(drive.frames, seed=3)), 'test')
    return root


LOAD = [dict(type='LoadFrames')]


def gt_of(root, **options):
    dataset = RVSD(str(root), num_frames=None, test_mode=True, pipeline=LOAD, **options)
    return {sample['video']: sample['gt'] for sample in dataset}


def test_rvsd_layout(rvsd):
    names = [f'{index:05d}.jpg' for index in range(7)]
    for folder in ('train_video/snow/a', 'train_video/clean/b', 'test_video/snow/c', 'test_video/clean/c'):
        assert sorted(path.name for path in (rvsd / folder).iterdir()) == names


def test_misordered_first_frames_are_read_in_the_right_order(rvsd):
    as_is, repaired = gt_of(rvsd, repair_order=False), gt_of(rvsd)
    np.testing.assert_array_equal(as_is['a'], repaired['a'])
    np.testing.assert_array_equal(as_is['b'][[*PUBLISHED_ORDER, 5, 6]], repaired['b'])
    drive = render_scene('drive', 7, SIZE, seed=8).frames
    assert min(psnr(*pair) for pair in zip(repaired['b'], drive)) > 30
    # training clips are mended too, wherever they begin
    dataset = RVSD(str(rvsd), num_frames=3, pipeline=LOAD)
    seen = {}
    for draw in range(30):
        sample = dataset[1, draw]
        start = int(sample['names'][0][:5])
        seen[start] = True
        np.testing.assert_array_equal(sample['gt'], repaired['b'][start:start + 3])
    assert {0, 1, 2, 3, 4} == set(seen)


def test_a_video_in_order_is_left_alone(clean):
    for seed in range(2):
        frames = render_scene(('drive', 'walk')[seed % 2], 5, SIZE, seed=seed).frames
        snowy = snow_on(frames, seed=seed, strength=1.5).lq
        assert not first_frames_are_misordered(snowy, frames)
        shuffled = [part['gt'] for part in parts(snow_on(frames), PUBLISHED_ORDER)]
        assert first_frames_are_misordered(snowy, shuffled)
    # a camera at rest: any order is as good, and nothing is mended
    still = [clean.frames[0]] * 5
    assert not first_frames_are_misordered([SnowOn(SIZE, seed=1)(frame, t)['lq'] for t, frame in enumerate(still)],
                                           still)


def test_check_tells_of_the_order_without_calling_it_a_fault(rvsd):
    report = check_dataset(RVSD, rvsd)
    assert report.ok and len(report.remarks) == 1 and report.remarks[0].startswith('train b: the first clean frames')
    counts = {(row['split'], row['key']): (row['videos'], row['frames']) for row in report.rows}
    assert counts == {('train', 'lq'): (2, 14), ('train', 'gt'): (2, 14), ('test', 'lq'): (1, 7),
                      ('test', 'gt'): (1, 7)}


def test_turtles_layout_and_mixed_formats_are_read(rvsd, tmp_path):
    for old, new in (('train_video/snow', 'train/blur'), ('train_video/clean', 'train/gt')):
        shutil.copytree(rvsd / old, tmp_path / new)
    for path in sorted((tmp_path / 'train/gt/a').iterdir())[::2]:
        cv2.imwrite(str(path.with_suffix('.png')), cv2.imread(str(path)))
        path.unlink()
    sample = RVSD(str(tmp_path), num_frames=None, test_mode=True, pipeline=LOAD)[0]
    np.testing.assert_array_equal(sample['gt'], gt_of(rvsd)['a'])
    report = check_dataset(RVSD, tmp_path)
    assert report.ok and {row['layout'] for row in report.rows} == {'TURTLE'}


def test_data_check_knows_rvsd(rvsd, capsys):
    with pytest.raises(SystemExit) as end:
        main(['data', 'check', '--dataset', 'rvsd', str(rvsd)])
    out = capsys.readouterr().out
    assert end.value.code == 0 and 'misordered' in out and 'Nothing to mend' in out


def test_a_cached_copy_is_mended_too(rvsd, tmp_path):
    from mmweather.datasets.cache import cache_frames
    cache_frames(RVSD, rvsd, tmp_path / 'cache')
    for video, frames in gt_of(tmp_path / 'cache').items():
        np.testing.assert_array_equal(frames, gt_of(rvsd)[video])


# --- on the fly, and from the command line ----------------------------------------------------------------------------


def test_synthetic_snow_has_all_layers_and_is_reproducible(tmp_path):
    dataset = SyntheticSnow(scenes=1, scene_frames=4, scene_size=(80, 96), num_frames=3, crop_size=64,
                            cache_dir=str(tmp_path), pipeline=[dict(type='PackClip')])
    sample, again, other = dataset[0, 5], dataset[0, 5], dataset[0, 6]
    assert sample['inputs'].shape == (3, 3, 64, 64) and (sample['inputs'] == again['inputs']).all()
    assert not (sample['inputs'] == other['inputs']).all()
    layers = sample['data_samples']
    assert layers.snow.shape == (3, 3, 64, 64) and layers.airlight.shape == (3, 3, 1, 1)
    assert layers.transmission.shape == layers.mask.shape == (3, 1, 64, 64)
    whole = SyntheticSnow(scenes=1, scene_frames=4, scene_size=(80, 96), num_frames=3, test_mode=True,
                          cache_dir=str(tmp_path))
    assert len(whole) == 1 and whole[0]['lq'].shape == (3, 80, 96, 3)
    dry = SyntheticSnow(scenes=1, scene_frames=4, scene_size=(80, 96), num_frames=3, crop_size=64, clean_share=1.0,
                        cache_dir=str(tmp_path))[0, 1]
    np.testing.assert_array_equal(dry['lq'], dry['gt'])


def test_snow_from_the_command_line(tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as end:
            main(['synth', 'snow', *map(str, words)])
        return end.value.code

    assert run('scene:drive', '-o', tmp_path / 'out', '--frames', 2, '--size', '96x64', '--seed', 4, '--wind', 2,
               '--save-parts') == 0
    scene = render_scene('drive', 2, (64, 96), seed=4)
    expected = SnowOn((64, 96), seed=4, wind=2.0)(scene.frames[1], 1, scene.depth[1])
    for name, part in (('', 'lq'), ('_gt', 'gt'), ('_snow', 'snow')):
        frame = cv2.imread(str(tmp_path / f'out{name}' / '00000001.png'))[..., ::-1]
        np.testing.assert_array_equal(frame, expected[part])
    for name in ('transmission', 'mask'):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f'out_{name}' / '00000001.png'), 0),
                                      expected[name][..., 0])
    assert run('scene:walk', '-o', tmp_path / 'RVSD', '--layout', 'rvsd', '--videos', 1, '--test-videos', 1,
               '--frames', 2, '--size', '64x48') == 0
    assert '1 training and 1 test videos, 4 frames' in capsys.readouterr().out
    assert (tmp_path / 'RVSD/test_video/snow/walk_0001/00001.jpg').is_file()
    assert run('scene:drive', '-o', tmp_path / 'x.mp4', '--videos', 2) == 2
    assert 'are for --layout rvsd' in capsys.readouterr().err
