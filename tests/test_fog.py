"""The fog simulation for photographed stereo pairs, and the converter that makes SFVC with it."""
import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from mmweather.datasets import SFVC
from mmweather.errors import UserError
from mmweather.synthesis import render_scene
from mmweather.synthesis.depth_completion import complete_disparity, fill_nearest, warp_to_right
from mmweather.synthesis.fog import (
    ColorGuidedFilter,
    StereoCamera,
    StereoFog,
    dark_channel,
    decode_disparity,
    estimate_airlight,
    match_disparity,
)
from mmweather.synthesis.noise import fractal_noise
from mmweather.synthesis.scenes import SKY_DEPTH

# Cityscapes' own: a focal length of 2262.52 pixels, 0.209313 m apart
CITYSCAPES = {'extrinsic': {'baseline': 0.209313, 'pitch': 0.038, 'roll': 0.0, 'x': 1.7, 'y': 0.1, 'yaw': -0.0195,
                            'z': 1.22},
              'intrinsic': {'fx': 2262.52, 'fy': 2265.3017905988554, 'u0': 1096.98, 'v0': 513.137}}


def textured(size, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([np.clip(120 + 45 * fractal_noise(size, rng, 1.2), 0, 255) for _ in range(3)], -1).astype(np.uint8)


@pytest.fixture(scope='module')
def scene():
    return render_scene('drive', 2, (128, 256), seed=4, stereo=True)


@pytest.fixture(scope='module')
def camera(scene):
    return StereoCamera(**scene.intrinsics, baseline=scene.baseline)


# reading


def test_disparity_decodes_to_hand_computed_values():
    values = np.array([[0, 1, 257, 32769, 65535]], np.uint16)
    disparity = decode_disparity(values)
    assert disparity.dtype == np.float32
    np.testing.assert_array_equal(disparity, np.array([[np.nan, 0, 1, 128, 65534 / 256]], np.float32))


def test_disparity_of_8_bits_is_refused():
    with pytest.raises(ValueError, match='16-bit'):
        decode_disparity(np.zeros((2, 2), np.uint8))


def test_depth_follows_from_cityscapes_camera_file(tmp_path):
    path = tmp_path / 'camera.json'
    path.write_text(json.dumps(CITYSCAPES))
    camera = StereoCamera.read(path)
    assert (camera.cx, camera.cy) == (1096.98, 513.137)
    # a disparity of 10 pixels: 2262.52 * 0.209313 / 10
    assert camera.depth_unit / 10 == pytest.approx(47.3575, abs=1e-4)


@pytest.mark.parametrize('content', ['', '[]', '{"intrinsic": {"fx": 1}}', json.dumps(CITYSCAPES).replace('0.2', '-')])
def test_a_camera_file_that_is_none_is_named(tmp_path, content):
    path = tmp_path / 'camera.json'
    path.write_text(content)
    with pytest.raises(UserError, match=r'camera\.json'):
        StereoCamera.read(path)


# from disparity to depth


def test_completion_extends_a_plane_over_what_is_unknown():
    # a slanted plane is linear in disparity; a third of it is unknown
    rows, columns = np.mgrid[:96, :192].astype(np.float32)
    plane = 6 + 0.02 * columns + 0.04 * rows
    right = textured((128, 256), 1)[:96, :192]
    left = cv2.remap(right, columns - np.rint(plane), rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    sparse = plane.copy()
    sparse[:, 90:150] = np.nan
    completed = complete_disparity(sparse, left, right, depth_unit=100.0)
    assert np.isfinite(completed).all()
    # a superpixel takes the plane of another, which here is the same plane
    np.testing.assert_allclose(completed[:, 90:150], plane[:, 90:150], rtol=0.02)
    known = np.isfinite(sparse)
    np.testing.assert_array_equal(completed[known], plane[known])


def test_completion_replaces_outliers_far_off_the_plane_only():
    plane = np.full((96, 192), 10, np.float32)  # 10 m with this unit
    right = textured((128, 256), 2)[:96, :192]
    left = np.roll(right, 10, axis=1)
    faulty = plane.copy()
    faulty[40:44, 100:104] = 1.0  # 100 m: contradicted by the right view and far off
    faulty[60:64, 100:104] = 9.0  # 11 m: contradicted too, but within 50 m
    completed = complete_disparity(faulty, left, right, depth_unit=100.0)
    np.testing.assert_allclose(completed[40:44, 100:104], 10, atol=1e-3)
    np.testing.assert_array_equal(completed[60:64, 100:104], 9.0)


def test_completion_is_the_same_for_the_same_seed(scene, camera):
    sparse = match_disparity(scene.frames[0], scene.right[0])
    first, second = (complete_disparity(sparse, scene.frames[0], scene.right[0], camera.depth_unit, 3) for _ in 'ab')
    np.testing.assert_array_equal(first, second)


def test_completion_needs_something_to_go_by():
    view = np.zeros((32, 64, 3), np.uint8)
    with pytest.raises(ValueError, match='single known pixel'):
        complete_disparity(np.full((32, 64), np.nan, np.float32), view, view, 100.0)
    # no superpixel can have a plane of five pixels: the nearest value serves
    sparse = np.full((32, 64), np.nan, np.float32)
    sparse[10, 20:25] = 5
    np.testing.assert_array_equal(complete_disparity(sparse, view, view, 100.0), 5)


def test_fill_nearest_takes_the_nearest():
    known = np.zeros((5, 9), bool)
    known[2, 0] = known[2, 8] = True
    values = np.full((5, 9), 7, np.float32)
    values[2, 0], values[2, 8] = 1, 2
    filled = fill_nearest(values, known)
    assert (filled[:, :4] == 1).all() and (filled[:, 5:] == 2).all()


def test_the_right_view_sees_the_left_views_disparity_from_its_own_place():
    disparity = np.full((4, 40), 2, np.float32)
    disparity[:, 20:28] = 10  # a near box
    right = warp_to_right(disparity)
    expected = np.full((4, 40), 2, np.float32)
    expected[:, 10:18] = 10  # it stands 10 pixels to the left and hides what is behind; the gap is background
    np.testing.assert_array_equal(right, expected)


def test_right_disparity_of_a_scene_agrees_with_its_exact_one(scene, camera):
    right = warp_to_right(scene.disparity[0])
    error = np.abs(right - camera.depth_unit / scene.right_depth[0])
    assert np.median(error) < 0.05 and (error > 1).mean() < 0.1


def test_matching_finds_the_disparity_of_a_scene(scene):
    disparity = match_disparity(scene.frames[0], scene.right[0], 32)
    known = np.isfinite(disparity)
    assert known.mean() > 0.5
    assert (np.abs(disparity - scene.disparity[0])[known] < 1).mean() > 0.85


# light


def test_airlight_is_the_median_of_the_haziest_thousandth():
    image = np.full((100, 200, 3), 40, np.uint8)
    image[:30] = (200, 210, 220)
    image[50:52, 50:52] = 255  # a lamp: bright, but its neighbourhood is dark
    assert dark_channel(image)[51, 51] == 40
    np.testing.assert_allclose(estimate_airlight(image), np.array([200, 210, 220]) / 255, atol=1e-6)


def test_guided_filter_equals_least_squares_in_every_window():
    rng = np.random.default_rng(0)
    guide, image = rng.integers(0, 256, (12, 14, 3), np.uint8), rng.uniform(0, 1, (12, 14)).astype(np.float32)
    window, eps = 5, 1e-3
    result = ColorGuidedFilter(guide, window, eps)(image)
    # the definition: ridge regression per window, then the mean of all models that cover the pixel
    half = window // 2
    padded = np.pad(guide / 255, ((2 * half, ) * 2, (2 * half, ) * 2, (0, 0)), 'symmetric')
    target = np.pad(image, 2 * half, 'symmetric')
    row, column = 6, 7
    models = []
    for top in range(row, row + window):
        for left in range(column, column + window):
            colors = padded[top:top + window, left:left + window].reshape(-1, 3)
            values = target[top:top + window, left:left + window].ravel()
            centred = colors - colors.mean(0)
            slope = np.linalg.solve(centred.T @ centred / window**2 + eps * np.eye(3),
                                    centred.T @ (values - values.mean()) / window**2)
            models.append(slope @ (guide[row, column] / 255) + values.mean() - slope @ colors.mean(0))
    assert result[row, column] == pytest.approx(np.mean(models), abs=1e-4)


def test_transmission_on_a_plane_is_the_closed_form():
    # everything 20 m ahead: the guided filter leaves a smooth map alone
    view = textured((128, 256), 3)
    camera = StereoCamera(200, 200, 100, 60, 0.2)
    fog = StereoFog(np.roll(view, 2, axis=1), view, camera, np.full((128, 256), 2, np.float32))
    left, right = fog.transmission(0.02)
    rows, columns = np.mgrid[:128, :256]
    exact = np.exp(-0.02 * 20 * np.sqrt(1 + ((columns - 100) / 200)**2 + ((rows - 60) / 200)**2))
    for transmission in (left, right):
        np.testing.assert_allclose(transmission[20:-20, 20:-20], exact[20:-20, 20:-20], atol=0.004)
        np.testing.assert_allclose(transmission, exact, atol=0.02)  # windows are cut off at the borders


def test_fog_of_a_matched_pair_is_that_of_the_exact_depth(scene, camera):
    from mmweather.synthesis import stereo_haze
    airlight = (0.8, 0.82, 0.85)
    fog = StereoFog(scene.frames[0], scene.right[0], camera)
    exact = stereo_haze(scene.frames[:1], scene.right[:1], scene.depth[:1], scene.right_depth[:1], 0.02, airlight,
                        intrinsics=scene.intrinsics)
    for foggy, view, transmission in zip(fog(0.02, airlight), exact, fog.transmission(0.02)):
        error = np.abs(transmission - view.transmission[0])
        assert np.median(error) < 0.03 and error.mean() < 0.08
        assert np.abs(foggy.astype(int) - view.lq[0]).mean() < 10
    sky = scene.depth[0] == SKY_DEPTH
    assert sky.any() and np.median(fog.transmission(0.02)[0][sky]) < 0.05


def test_views_that_do_not_match_are_refused(camera):
    left = np.zeros((64, 96, 3), np.uint8)
    with pytest.raises(ValueError, match='must be the same'):
        StereoFog(left, left[:32], camera)
    with pytest.raises(UserError, match='left and right of one moment'):
        StereoFog(left, left, camera, np.full((64, 96), np.nan, np.float32))


# the converter

FRAMES = 3
SIZE = (64, 128)


@pytest.fixture(scope='module')
def cityscapes(tmp_path_factory):
    """A miniature of Cityscapes: three clips, the last with disparity files, and a frame beyond each end of one."""
    root = tmp_path_factory.mktemp('cityscapes')
    rendered = render_scene('drive', 5, SIZE, seed=4, stereo=True)
    for split, city in [('train', 'aachen'), ('train', 'ulm'), ('val', 'lindau')]:
        name = f'{city}_000000_000019'
        write(root / 'camera' / split / city / f'{name}_camera.json', json.dumps(
            {'extrinsic': {'baseline': rendered.baseline},
             'intrinsic': {**rendered.intrinsics, 'u0': rendered.intrinsics['cx'], 'v0': rendered.intrinsics['cy']}}))
        for t in range(5):
            frame = f'{city}_000000_{17 + t:06d}'
            for side, frames in (('left', rendered.frames), ('right', rendered.right)):
                write(root / f'{side}Img8bit_sequence/{split}/{city}/{frame}_{side}Img8bit.png', frames[t][..., ::-1])
            if split == 'val':
                values = np.rint(rendered.disparity[t] * 256 + 1).astype(np.uint16)
                write(root / 'disparity_sequence' / split / city / f'{frame}_disparity.png', values)
    return root


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        cv2.imwrite(str(path), content)


@pytest.fixture(scope='module')
def sfvc(root):
    """The converter's main, in this process: from arguments to (exit code, standard output, standard error)."""
    spec = importlib.util.spec_from_file_location('sfvc_converter', root / 'tools' / 'dataset_converters' / 'sfvc.py')
    converter = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = converter
    spec.loader.exec_module(converter)

    def run(*arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = converter.main([*map(str, arguments), '-q', '--workers', '1'])
        return code, out.getvalue(), err.getvalue()

    yield run
    del sys.modules[spec.name]


@pytest.fixture(scope='module')
def converted(sfvc, cityscapes, tmp_path_factory):
    out = tmp_path_factory.mktemp('sfvc') / 'published'
    code, said, _ = sfvc(cityscapes, out, '--frames', FRAMES, '--beta', 0.01, 0.02)
    assert code == 0 and '3 clips, 3 of them new' in said
    return out


def read_lists(out, beta):
    folder = out / f'lists_file_names_{beta}'
    return {name: (folder / name).read_text().split() for name in sorted(os.listdir(folder))}


def test_converter_writes_the_published_lists(converted):
    assert sorted(path.name for path in converted.iterdir()) == [
        'Stereo_Foggy_Video_Cityscapes', 'lists_file_names_0.01', 'lists_file_names_0.02', 'manifest.jsonl']
    lists = read_lists(converted, 0.02)
    assert list(lists) == ['leftImg8bit_trainval_fog_filenames.txt', 'leftImg8bit_trainval_refined_clean_filenames.txt',
                           'rightImg8bit_trainval_fog_filenames.txt', 'rightImg8bit_trainval_refined_filenames.txt']
    frames = [f'{city}_000000_{number:06d}' for city in ('aachen', 'ulm', 'lindau') for number in (18, 19, 20)]
    for lines in lists.values():
        assert ['_'.join(line.rpartition('/')[2].split('_')[:3]) for line in lines] == frames
        assert ['train' in line for line in lines] == [True] * 6 + [False] * 3
        assert all((converted / 'Stereo_Foggy_Video_Cityscapes' / line).is_file() for line in lines)
    assert lists['rightImg8bit_trainval_fog_filenames.txt'][0].endswith(
        'aachen_000000_000018_rightImg8bit_foggy_beta_0.02.png')
    for split, clips in (('train', 2), ('test', 1)):
        dataset = SFVC(str(converted), split=split, beta=0.02, num_frames=None, test_mode=True)
        assert [len(dataset.get_data_info(index)['frame_names']['lq']) for index in range(len(dataset))] == [3] * clips


def test_converted_frames_are_clear_frames_in_fog_of_one_colour(converted, cityscapes):
    images = converted / 'Stereo_Foggy_Video_Cityscapes'
    records = [json.loads(line) for line in (converted / 'manifest.jsonl').read_text().splitlines()]
    assert records[0] == {'settings': {'beta': [0.01, 0.02], 'frames': 3, 'layout': 'published', 'seed': 0}}
    by_clip = {record['clip']: record for record in records[1:]}
    assert by_clip['aachen_000000_000019']['disparity'] == 'semi-global matching'
    record = by_clip['lindau_000000_000019']
    assert record['disparity'] == 'disparity_sequence' and record['split'] == 'val'
    airlight = np.array(record['airlight']) * 255
    shares = {}
    for beta in ('0.01', '0.02'):
        lists = read_lists(converted, beta)
        for view, clean in (('left', 'refined_clean'), ('right', 'refined')):
            lines = [lists[f'{view}Img8bit_trainval_{kind}_filenames.txt'][-1] for kind in ('fog', clean)]
            foggy, clear = (cv2.imread(str(images / line))[..., ::-1] for line in lines)
            source = cityscapes / f'{view}Img8bit_sequence/val/lindau/lindau_000000_000020_{view}Img8bit.png'
            np.testing.assert_array_equal(clear, cv2.imread(str(source))[..., ::-1])
            # every pixel lies between the clear one and the airlight, by the same share in all channels
            span = airlight - clear
            telling = (np.abs(span) > 60).all(axis=-1)
            share = (foggy - clear.astype(float))[telling] / span[telling]
            assert telling.mean() > 0.1 and np.ptp(share, axis=-1).max() < 0.03
            shares[view, beta] = share.mean()
    assert shares['left', '0.02'] > shares['left', '0.01'] + 0.05
    assert abs(shares['left', '0.02'] - shares['right', '0.02']) < 0.05


def test_converter_writes_the_plain_layout(sfvc, cityscapes, tmp_path):
    code, _, _ = sfvc(cityscapes, tmp_path / 'plain', '--frames', 1, '--beta', 0.01, '--layout', 'plain', '--splits',
                      'val', '--copy')
    assert code == 0
    files = sorted(str(path.relative_to(tmp_path / 'plain')) for path in (tmp_path / 'plain').rglob('*.png'))
    name = 'lindau_000000_000019'
    assert files == sorted(f'test/{view}_{kind}/{name}/{name}.png' for view in ('left', 'right')
                           for kind in ('clear', 'hazy_0.01'))


def test_converter_takes_up_a_killed_run(root, sfvc, cityscapes, tmp_path):
    out = tmp_path / 'sfvc'
    arguments = [cityscapes, out, '--frames', FRAMES, '--beta', 0.01]
    process = subprocess.Popen(
        [sys.executable, root / 'tools' / 'dataset_converters' / 'sfvc.py', *map(str, arguments), '--workers', '2'],
        env={**os.environ, 'PYTHONPATH': str(root)}, stderr=subprocess.DEVNULL)
    manifest = out / 'manifest.jsonl'
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (manifest.is_file() and manifest.read_text().count('\n') >= 2):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [json.loads(line)['clip'] for line in manifest.read_text().splitlines()[1:]]
    assert done and not list(out.glob('lists_*'))
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob('*foggy_beta*.png') if path.name[:-4].startswith(
        tuple(name.rpartition('_')[0] for name in done))}
    # as a kill in the middle of a line would leave it
    with manifest.open('a') as file:
        file.write('{"clip": "ul')
    code, said, _ = sfvc(*arguments)
    assert code == 0 and f'3 clips, {3 - len(done)} of them new' in said
    assert stamps and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert all(len(lines) == 3 * FRAMES for lines in read_lists(out, 0.01).values())
    assert [json.loads(line) for line in manifest.read_text().splitlines()]  # each line is whole again
    assert not list(out.rglob('.*.part'))


def test_converter_makes_a_clip_anew_whose_file_is_gone(sfvc, cityscapes, converted):
    victim = next(converted.rglob('ulm*left*_foggy_beta_0.02.png'))
    before = victim.read_bytes()
    victim.unlink()
    _, said, _ = sfvc(cityscapes, converted, '--frames', FRAMES, '--beta', 0.01, 0.02)
    assert '3 clips, 1 of them new' in said
    assert victim.read_bytes() == before


def test_converter_names_what_is_wrong(sfvc, cityscapes, converted, tmp_path):
    def fails(*arguments):
        code, _, sentence = sfvc(*arguments)
        assert code == 2 and sentence.count('\n') == 1
        return sentence

    assert 'leftImg8bit_sequence does not exist: unpack' in fails(tmp_path, tmp_path / 'out')
    assert 'must be odd' in fails(cityscapes, tmp_path / 'out', '--frames', 4)
    assert 'holds no clip of 9 frames' in fails(cityscapes, tmp_path / 'out', '--frames', 9)
    assert 'says that beta was [0.01, 0.02]' in fails(cityscapes, converted, '--frames', FRAMES, '--beta', 0.03)
    assert 'is not empty' in fails(cityscapes, cityscapes, '--frames', FRAMES)
    assert not (tmp_path / 'out').exists()
