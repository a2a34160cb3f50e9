"""Haze over scenes of known depth: closed forms, patches consistent in time and between views, and files."""
import cv2
import numpy as np
import pytest
from video_fixtures import ramp_frames

from mmweather.cli.main import main
from mmweather.errors import UserError
from mmweather.inference import open_sink, open_source
from mmweather.synthesis import HazeOn, haze, random_haze, render_scene, stereo_haze, write_sfvc
from mmweather.synthesis.haze import random_airlight, ray_length, scatter
from mmweather.synthesis.randomness import generator
from mmweather.synthesis.scenes import SKY_DEPTH

CAMERA = {'fx': 50.0, 'fy': 40.0, 'cx': 20.0, 'cy': 10.0}
SIZE = (24, 40)
AIRLIGHT = (0.8, 0.82, 0.85)


@pytest.fixture(scope='module')
def scene():
    return render_scene('drive', 3, (96, 160), seed=1, stereo=True)


def numeric_optical_depth(air, t, pixel, depth, offset, steps=20000):
    """The density of three waves, summed up along the ray in small steps."""
    row, column = pixel
    ray = np.array([(column - CAMERA['cx']) / CAMERA['fx'], (row - CAMERA['cy']) / CAMERA['fy'], 1.0])
    z = (np.arange(steps) + 0.5) * depth / steps
    points = z[:, None] * ray + [offset, 0, 0] - air.wind * t / air.fps
    density = np.full(steps, 1.0)
    for vector, amplitude, phase in air._waves:
        density += amplitude * np.sin(points @ vector + phase)
    assert density.min() > -1e-9 and density.max() < 8 + 1e-9
    return air.beta * density.mean() * depth * np.linalg.norm(ray)


# the scattering model


def test_transmission_of_a_plane_is_the_closed_form():
    # a wall 30 m ahead: the distance grows with the angle from the axis
    transmission = HazeOn(SIZE, beta=0.02, intrinsics=CAMERA).transmission(0, np.full(SIZE, 30.0))
    assert transmission.dtype == np.float32
    assert transmission[10, 20] == pytest.approx(np.exp(-0.6), rel=1e-5)
    # 10 columns to the right and 8 rows down: 30 m * sqrt(1 + 0.2^2 + 0.2^2)
    assert transmission[18, 30] == pytest.approx(np.exp(-0.02 * 30 * np.sqrt(1.08)), rel=1e-5)


def test_transmission_of_the_ground_is_the_closed_form():
    # a road 1.5 m below the camera: depth = 1.5 fy / (y - cy)
    rows = np.arange(SIZE[0])[:, None].astype(np.float64)
    depth = np.broadcast_to(np.where(rows > 10, 1.5 * 40 / np.maximum(rows - 10, 1e-9), SKY_DEPTH), SIZE)
    transmission = HazeOn(SIZE, beta=0.02, intrinsics=CAMERA).transmission(0, depth)
    assert transmission[20, 20] == pytest.approx(np.exp(-0.02 * 6 * np.sqrt(1 + 0.25**2)), rel=1e-5)
    assert transmission[5].max() < 1e-6


def test_ray_length_stretches_depth():
    length = ray_length(np.full((2, *SIZE), 10), CAMERA)
    assert length.shape == (2, *SIZE) and length[1, 10, 20] == 10
    assert length[0, 10, 35] == pytest.approx(10 * np.sqrt(1 + 0.3**2))


def test_scattering_mixes_frame_and_airlight_and_rounds():
    frame = np.array([[[100, 0, 255]]], np.uint8)
    # 100 * 0.25 + 204 * 0.75 = 178; 0 + 153 * 0.75 = 114.75; 63.75 + 0
    np.testing.assert_array_equal(scatter(frame, np.float32([[0.25]]), (0.8, 0.6, 0.0)), [[[178, 115, 64]]])


def test_no_haze_and_no_sight_are_the_ends(scene):
    clear = haze(scene.frames, scene.depth, beta=0)
    np.testing.assert_array_equal(clear.lq, scene.frames)
    assert (clear.transmission == 1).all()
    thick = haze(scene.frames, np.full_like(scene.depth, np.inf), 0.5, AIRLIGHT, patchy=0.5)
    np.testing.assert_array_equal(np.unique(thick.lq.reshape(-1, 3), axis=0), [[204, 209, 217]])


def test_a_ceiling_lets_the_sky_through():
    air = HazeOn(SIZE, beta=0.01, intrinsics=CAMERA, ceiling=20)
    transmission = air.transmission(0, np.full(SIZE, np.inf))
    # row 0 looks up by 10 / 40: the ray leaves 20 m above at a depth of 80 m
    assert transmission[0, 20] == pytest.approx(np.exp(-0.01 * 80 * np.sqrt(1 + 0.25**2)), rel=1e-4)
    assert transmission[12, 20] < 1e-6  # below the horizon it never leaves
    near = np.full(SIZE, 15.0)
    np.testing.assert_array_equal(air.transmission(0, near), HazeOn(SIZE, beta=0.01, intrinsics=CAMERA).transmission(
        0, near))


def test_haze_of_the_foggy_data_sets_looks_as_dense_as_theirs(scene):
    psnrs = [10 * np.log10(255**2 / np.square(haze(scene.frames, scene.depth, beta, AIRLIGHT, intrinsics=scene.
                                                   intrinsics).lq - scene.frames.astype(float)).mean())
             for beta in (0.005, 0.01, 0.02)]
    # hazy SFVC has 18.6, 14.5 and 11.0 dB; streets of scenes are narrower and shorter
    assert 30 > psnrs[0] > psnrs[1] + 2 > psnrs[2] + 4 and psnrs[2] > 9


# patches


def test_patches_are_the_integral_of_the_waves_along_the_ray():
    air = HazeOn(SIZE, seed=5, beta=0.015, patchy=1.0, intrinsics=CAMERA, wind=(1.0, 0.2, -3.0))
    depth = np.full(SIZE, 70.0)
    for t, offset in ((0, 0.0), (30, 0.4)):
        transmission = air.transmission(t, depth, offset)
        for pixel in ((0, 0), (12, 20), (23, 39)):
            expected = numeric_optical_depth(air, t, pixel, 70.0, offset)
            assert -np.log(transmission[pixel]) == pytest.approx(expected, rel=2e-3, abs=1e-4)


def test_patches_keep_the_mean_density_and_vary():
    depth = np.full(SIZE, 60.0)
    tau = np.array([-np.log(HazeOn(SIZE, seed, 0.01, patchy=1.0, intrinsics=CAMERA).transmission(0, depth))
                    for seed in range(150)])
    even = -np.log(HazeOn(SIZE, 0, 0.01, intrinsics=CAMERA).transmission(0, depth))
    assert tau.mean() == pytest.approx(even.mean(), rel=0.2)
    assert tau.std() > 0.3 * even.mean()


def test_patches_move_slowly_and_with_the_wind():
    depth = np.full(SIZE, 60.0)
    air = HazeOn(SIZE, 3, 0.02, patchy=1.0, intrinsics=CAMERA, wind=(2.0, 0.0, 0.0), fps=25)
    first, next_frame, later = (air.transmission(t, depth) for t in (0, 1, 75))
    assert 0 < np.abs(next_frame - first).max() < 0.01
    assert np.abs(later - first).max() > 0.02
    # the air that moved 6 m to the right in 3 s is what a camera 6 m to the left sees: the field is in the world
    np.testing.assert_allclose(later, air.transmission(0, depth, offset=-6.0), atol=1e-5)


def test_both_views_look_into_the_same_air(scene):
    # a point of the scene has nearly the same transmission in both views, a baseline apart
    left, right = stereo_haze(scene.frames, scene.right, scene.depth, scene.right_depth, 0.02, patchy=1.0, seed=2,
                              intrinsics=scene.intrinsics, baseline=scene.baseline)
    columns = np.arange(scene.frames.shape[2])[None] - np.rint(scene.disparity[0]).astype(int)
    matched = np.take_along_axis(right.transmission[0], np.maximum(columns, 0), axis=1)
    partner = np.take_along_axis(scene.right_depth[0], np.maximum(columns, 0), axis=1)
    same = (columns >= 0) & (np.abs(partner / scene.depth[0] - 1) < 0.01)
    assert same.mean() > 0.6
    assert np.abs(matched - left.transmission[0])[same].max() < 0.05
    np.testing.assert_array_equal(left.airlight, right.airlight)


def test_frames_can_be_made_alone_in_any_order(scene):
    clip = haze(scene.frames, scene.depth, 0.01, patchy=0.7, seed=4)
    assert clip.lq.dtype == np.uint8 and clip.transmission.shape == scene.depth.shape
    air = HazeOn(scene.frames.shape[1:3], 4, 0.01, patchy=0.7)
    last = air(scene.frames[2], 2, scene.depth[2])
    np.testing.assert_array_equal(last['lq'], clip.lq[2])
    tail = haze(scene.frames[2:], scene.depth[2:], 0.01, patchy=0.7, seed=4, start=2)
    np.testing.assert_array_equal(tail.lq[0], clip.lq[2])
    assert np.abs(haze(scene.frames, scene.depth, 0.01, patchy=0.7, seed=5).lq.astype(int) - clip.lq).mean() > 0.5


def test_haze_of_a_crop_is_the_crop_of_the_haze(scene):
    whole = haze(scene.frames, scene.depth, 0.02, patchy=0.8, seed=1, intrinsics=scene.intrinsics)
    top, left = 20, 50
    shifted = {**scene.intrinsics, 'cx': scene.intrinsics['cx'] - left, 'cy': scene.intrinsics['cy'] - top}
    crop = haze(scene.frames[:, top:top + 40, left:left + 64], scene.depth[:, top:top + 40, left:left + 64], 0.02,
                patchy=0.8, seed=1, intrinsics=shifted)
    np.testing.assert_allclose(crop.transmission, whole.transmission[:, top:top + 40, left:left + 64], atol=1e-5)


def test_airlights_are_near_gray():
    colors = np.array([random_airlight(generator(seed, 'test')) for seed in range(200)])
    assert colors.min() > 0.55 and colors.max() < 1
    spread = np.ptp(colors, axis=1)
    assert 0.01 < np.median(spread) < 0.1 and spread.max() < 0.2


def test_random_haze_varies_and_repeats():
    airs = [random_haze(SIZE, np.random.default_rng(seed)) for seed in range(40)]
    assert min(air.beta for air in airs) < 0.006 and max(air.beta for air in airs) > 0.02
    assert 0 < sum(air.patchy == 0 for air in airs) < 40
    again = random_haze(SIZE, np.random.default_rng(7))
    depth = np.full(SIZE, 50.0)
    np.testing.assert_array_equal(again.transmission(3, depth), airs[7].transmission(3, depth))


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(beta=-0.1), 'extinction coefficient'), (dict(patchy=2), 'between 0 and 1'),
    (dict(airlight=(200, 200, 200)), r'in \[0, 1\]'), (dict(airlight=(0.5, 0.5)), 'three numbers'),
    (dict(ceiling=0), 'above the camera')])
def test_arguments_that_make_no_sense(arguments, message):
    with pytest.raises(ValueError, match=message):
        HazeOn(SIZE, **arguments)


def test_depths_that_do_not_fit():
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    with pytest.raises(ValueError, match='2 frames and 1 depth maps'):
        haze(frames, np.ones((1, *SIZE)))
    with pytest.raises(ValueError, match='has the shape'):
        haze(frames, np.ones((2, 5, 5)))
    with pytest.raises(ValueError, match='at least 0 metres'):
        haze(frames, np.full((2, *SIZE), np.nan))
    with pytest.raises(ValueError, match='must be the same'):
        stereo_haze(frames, frames[:1], np.ones((2, *SIZE)), np.ones((1, *SIZE)))


# files


def run(*words):
    """Runs a command, returns its exit code."""
    with pytest.raises(SystemExit) as end:
        main(['synth', 'haze', *(str(word) for word in words)])
    return end.value.code


def refused(capsys, *words):
    """Runs a command that must be refused with code 2, returns the sentence."""
    assert run(*words) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def frames_of(path):
    return np.stack(list(open_source(path)))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'clip.mkv'
    with open_sink(path, fps=25, codec='ffv1') as sink:
        for frame in ramp_frames(3):
            sink.write(frame)
    return path


def test_command_hazes_a_stereo_scene_with_one_air(tmp_path):
    assert run('scene:walk', '-o', tmp_path / 'hazy', '--stereo', '--size', '160x96', '--frames', 2, '--seed', 5,
               '--beta', 0.02, '--patchy', 0.5, '--airlight', '0.8,0.82,0.85', '--baseline', 0.3, '--save-parts') == 0
    from mmweather.synthesis import SceneRenderer
    renderer = SceneRenderer('walk', (96, 160), 5, stereo=True, baseline=0.3)
    views = [renderer.frame(t, flow=False) for t in range(2)]
    expected = stereo_haze([view.frame for view in views], [view.right for view in views],
                           [view.depth for view in views], [view.right_depth for view in views], 0.02, AIRLIGHT, 0.5, 5,
                           baseline=0.3, intrinsics=renderer.intrinsics)
    for suffix, clip in zip(('', '_right'), expected):
        np.testing.assert_array_equal(frames_of(tmp_path / f'hazy{suffix}'), clip.lq)
        np.testing.assert_array_equal(frames_of(tmp_path / f'hazy{suffix}_gt'), clip.gt)
        np.testing.assert_array_equal(frames_of(tmp_path / f'hazy{suffix}_transmission')[..., 0],
                                      np.rint(clip.transmission * 255))


def test_command_hazes_a_video_by_estimated_or_given_depth(video, tmp_path):
    from mmweather.synthesis import estimate_depth
    clean = frames_of(video)
    assert run(video, '-o', tmp_path / 'estimated', '--seed', 1, '-q') == 0
    expected = haze(clean, [estimate_depth(frame) for frame in clean], seed=1)
    np.testing.assert_array_equal(frames_of(tmp_path / 'estimated'), expected.lq)
    (tmp_path / 'depth').mkdir()
    depth = [np.full(clean.shape[1:3], 20.0 + t, np.float32) for t in range(3)]
    for t in range(3):
        np.save(tmp_path / 'depth' / f'{t}.npy', depth[t])
    assert run(video, '-o', tmp_path / 'given', '--seed', 1, '--depth', tmp_path / 'depth', '-q') == 0
    np.testing.assert_array_equal(frames_of(tmp_path / 'given'), haze(clean, depth, seed=1).lq)


def test_command_matches_the_views_of_a_pair(scene, tmp_path):
    for name, frames in (('left', scene.frames), ('right', scene.right)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '0.png'), frames[0][..., ::-1])
    assert run(tmp_path / 'left', '--right', tmp_path / 'right', '-o', tmp_path / 'hazy', '--beta', 0.05, '--airlight',
               '1,1,1', '-q') == 0
    for name, depth, clear in (('hazy', scene.depth[0], scene.frames[0]),
                               ('hazy_right', scene.right_depth[0], scene.right[0])):
        veil = (frames_of(tmp_path / name)[0].astype(int) - clear).mean(-1)
        share = veil / np.maximum(255 - clear.mean(-1), 1)
        exact = 1 - np.exp(-0.05 * depth)
        assert np.median(np.abs(share - exact)) < 0.12 and np.corrcoef(share.ravel(), exact.ravel())[0, 1] > 0.6


def test_command_writes_the_sfvc_layout(tmp_path):
    from mmweather.datasets import SFVC
    assert run('scene:drive', '-o', tmp_path / 'sfvc', '--layout', 'sfvc', '--size', '96x64', '--frames', 2,
               '--test-videos', 1, '-q') == 0
    for split in ('train', 'test'):
        dataset = SFVC(str(tmp_path / 'sfvc'), split=split, beta=None, num_frames=None, test_mode=True)
        assert len(dataset) == 1
        assert dataset.get_data_info(0)['video'] == ('drive_0000' if split == 'train' else 'drive_0001')


def test_sequence_that_fails_leaves_nothing(tmp_path):
    frame = np.zeros((16, 16, 3), np.uint8)

    def frames():
        yield dict(left_hazy=frame, right_hazy=frame, left_clear=frame, right_clear=frame)
        raise RuntimeError('the disk is gone')

    with pytest.raises(RuntimeError, match='disk'):
        write_sfvc(tmp_path / 'sfvc', 'a', frames())
    assert not (tmp_path / 'sfvc').exists()
    whole = [dict(left_hazy=frame, right_hazy=frame, left_clear=frame, right_clear=frame)]
    assert write_sfvc(tmp_path / 'sfvc', 'a', whole) == 1
    with pytest.raises(UserError, match='exists already'):
        write_sfvc(tmp_path / 'sfvc', 'a', whole)


def test_command_names_what_is_wrong(video, tmp_path, capsys):
    out = tmp_path / 'out.mp4'
    assert 'no colour' in refused(capsys, video, '-o', out, '--airlight', '200,1,1').replace('is not a', 'no')
    assert '--stereo' in refused(capsys, video, '-o', out, '--stereo')
    assert 'exact depth' in refused(capsys, 'scene:walk', '-o', out, '--depth', tmp_path)
    assert 'is no folder' in refused(capsys, video, '-o', out, '--depth', tmp_path / 'none')
    (tmp_path / 'depth').mkdir()
    np.save(tmp_path / 'depth' / '0.npy', np.ones((48, 64), np.float32))
    assert 'has 1 depth maps, fewer than' in refused(capsys, video, '-o', out, '--depth', tmp_path / 'depth')
    with open_sink(tmp_path / 'short.mkv', fps=25, codec='ffv1') as sink:
        sink.write(next(iter(ramp_frames(3))))
    with open_sink(tmp_path / 'large.mkv', fps=25, codec='ffv1') as sink:
        sink.write(np.zeros((96, 64, 3), np.uint8))
    assert 'another size or frame rate' in refused(capsys, video, '--right', tmp_path / 'large.mkv', '-o', out)
    assert 'short.mkv ends after 1 frames' in refused(capsys, video, '--right', tmp_path / 'short.mkv', '-o', out)
    assert not out.exists()
