"""``mmweather synth``: scenes and rain from the command line."""
import json
from fractions import Fraction

import cv2
import numpy as np
import pytest
from video_fixtures import ramp_frames

from mmweather.cli.main import main
from mmweather.inference import open_sink, open_source
from mmweather.synthesis import RainOn, render_scene

FILM = Fraction(24000, 1001)


def run(*words):
    """Runs a command, returns its exit code."""
    with pytest.raises(SystemExit) as end:
        main(['synth', *(str(word) for word in words)])
    return end.value.code


def refused(capsys, *words):
    """Runs a command that must be refused with code 2, returns the sentence."""
    assert run(*words) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def video(tmp_path):
    """A clip of 8 frames, 64 wide and 48 high."""
    path = tmp_path / 'clip.mkv'
    with open_sink(path, fps=FILM, codec='ffv1') as sink:
        for frame in ramp_frames(8):
            sink.write(frame)
    return path


def frames_of(path):
    return np.stack(list(open_source(path)))


def test_rain_on_a_video_keeps_its_rate_and_length(video, tmp_path, capsys):
    assert run('rain', video, '-o', tmp_path / 'rainy.mp4', '--seed', 3) == 0
    rainy = open_source(tmp_path / 'rainy.mp4')
    assert rainy.fps == FILM and rainy.size == (48, 64) and len(frames_of(rainy.path)) == 8
    assert '8 rainy frames of 64x48' in capsys.readouterr().out
    rainer = RainOn((48, 64), seed=3, fps=float(FILM))
    expected = np.stack([rainer(frame, t)['lq'] for t, frame in enumerate(frames_of(video))])
    assert np.abs(frames_of(rainy.path).astype(int) - expected).mean() < 4


def test_rain_keeps_the_sound(tmp_path):
    import av
    from video_fixtures import write_video
    write_video(tmp_path / 'loud.mp4', ramp_frames(8), audio='aac')

    def sound(path):
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    assert run('rain', tmp_path / 'loud.mp4', '-o', tmp_path / 'rainy.mp4') == 0
    assert sound(tmp_path / 'rainy.mp4') == sound(tmp_path / 'loud.mp4')
    # half of the frames with all of the sound would be wrong
    assert run('rain', tmp_path / 'loud.mp4', '-o', tmp_path / 'half.mp4', '--frames', 4) == 0
    with av.open(str(tmp_path / 'half.mp4')) as container:
        assert not container.streams.audio and container.streams.video[0].frames == 4


def test_the_same_seed_gives_the_same_frames(video, tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        assert run('rain', video, '-o', tmp_path / name, '--seed', seed, '-q') == 0
    first, again, other = (frames_of(tmp_path / name) for name in 'abc')
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rain_on_a_folder_keeps_the_names(tmp_path):
    (tmp_path / 'in').mkdir()
    for name, frame in zip(('x2.png', 'x10.png'), ramp_frames(2)):
        cv2.imwrite(str(tmp_path / 'in' / name), frame)
    assert run('rain', tmp_path / 'in', '-o', tmp_path / 'out') == 0
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['x10.png', 'x2.png']
    rainer = RainOn((48, 64), fps=25)
    expected = [rainer(frame, t)['lq'] for t, frame in enumerate(frames_of(tmp_path / 'in'))]
    np.testing.assert_array_equal(frames_of(tmp_path / 'out'), expected)


def test_rain_on_one_image(tmp_path):
    cv2.imwrite(str(tmp_path / 'photo.png'), next(ramp_frames(1)))
    assert run('rain', tmp_path / 'photo.png', '-o', tmp_path / 'wet.png', '--strength', 1.5) == 0
    assert (frames_of(tmp_path / 'wet.png') != frames_of(tmp_path / 'photo.png')).any()


def test_parts_lie_beside_the_output_and_fit(video, tmp_path):
    assert run('rain', video, '-o', tmp_path / 'rainy', '--save-parts', '--no-drops') == 0
    parts = {name: frames_of(tmp_path / f'rainy{name}') for name in ('', '_gt', '_drop', '_mask', '_streak')}
    np.testing.assert_array_equal(parts['_gt'], frames_of(video))
    np.testing.assert_array_equal(parts['_drop'], parts['_gt'])
    assert not parts['_mask'].any()
    untouched = parts['_streak'][..., 0] == 0
    assert 0 < untouched.mean() < 1
    np.testing.assert_allclose(parts[''][untouched].astype(int), parts['_gt'][untouched], atol=1)


def test_no_streaks_leaves_the_drops(video, tmp_path):
    assert run('rain', video, '-o', tmp_path / 'rainy', '--save-parts', '--no-streaks') == 0
    assert not frames_of(tmp_path / 'rainy_streak').any()
    np.testing.assert_array_equal(frames_of(tmp_path / 'rainy'), frames_of(tmp_path / 'rainy_drop'))


def test_rain_on_a_scene_falls_behind_what_is_near(tmp_path):
    assert run('rain', 'scene:drive', '-o', tmp_path / 'out', '--frames', 2, '--size', '96x64', '--seed', 4,
               '--save-parts') == 0
    scene = render_scene('drive', 2, (64, 96), seed=4)
    np.testing.assert_array_equal(frames_of(tmp_path / 'out_gt'), scene.frames)
    expected = RainOn((64, 96), seed=4)(scene.frames[1], 1, scene.depth[1])
    np.testing.assert_array_equal(frames_of(tmp_path / 'out')[1], expected['lq'])


def test_vrds_of_scenes(tmp_path, capsys):
    assert run('rain', 'scene:walk', '-o', tmp_path / 'data/VRDS', '--layout', 'vrds', '--videos', 2,
               '--test-videos', 1, '--frames', 2, '--size', '64x48', '--seed', 5) == 0
    assert '2 training and 1 test videos, 6 frames' in capsys.readouterr().out
    folders = {path.name: sorted(video.name for video in path.iterdir()) for path in (tmp_path / 'data/VRDS').iterdir()}
    train, test = ['walk_0005', 'walk_0006'], ['walk_0007']
    assert folders == {'lq': train, 'gt': train, '01drop': train, 'drop': train, 'mstreak': train, 'testlq': test,
                       'testgt': test}
    first, second = (frames_of(tmp_path / 'data/VRDS/gt' / name) for name in train)
    assert first.shape == (2, 48, 64, 3) and not np.array_equal(first, second)


def test_vrds_of_a_folder_of_videos(video, tmp_path):
    (tmp_path / 'in').mkdir()
    for name in ('a.mkv', 'b.mkv'):
        (tmp_path / 'in' / name).write_bytes(video.read_bytes())
    (tmp_path / 'in/c').mkdir()
    cv2.imwrite(str(tmp_path / 'in/c/0.png'), next(ramp_frames(1)))
    (tmp_path / 'in/notes.txt').write_text('not a video')
    assert run('rain', tmp_path / 'in', '-o', tmp_path / 'data', '--layout', 'vrds', '--test-videos', 1,
               '--frames', 3) == 0
    assert sorted(path.name for path in (tmp_path / 'data/lq').iterdir()) == ['a', 'b']
    assert [path.name for path in (tmp_path / 'data/testgt').iterdir()] == ['c']
    np.testing.assert_array_equal(frames_of(tmp_path / 'data/gt/a'), frames_of(video)[:3])
    # the same clean frames under different rain
    assert not np.array_equal(frames_of(tmp_path / 'data/lq/a'), frames_of(tmp_path / 'data/lq/b'))


def test_scene_with_geometry(tmp_path):
    assert run('scene', 'drive', '-o', tmp_path / 's.mkv', '--frames', 2, '--size', '96x64', '--stereo',
               '--with-geometry', '--fps', 10) == 0
    scene = render_scene('drive', 2, (64, 96), stereo=True, fps=10)
    assert open_source(tmp_path / 's.mkv').fps == 10
    assert np.abs(frames_of(tmp_path / 's.mkv').astype(int) - scene.frames).mean() < 6
    assert np.abs(frames_of(tmp_path / 's_right.mkv').astype(int) - scene.right).mean() < 6
    camera = json.loads((tmp_path / 's_geometry/camera.json').read_text())
    assert camera == {**scene.intrinsics, 'baseline': scene.baseline, 'fps': 10}
    first, last = (np.load(tmp_path / f's_geometry/{t:08d}.npz') for t in range(2))
    np.testing.assert_array_equal(first['flow_forward'], scene.flow_forward[0])
    np.testing.assert_array_equal(last['depth'], scene.depth[1])
    assert set(last) == {'depth', 'disparity', 'right_depth'}


@pytest.mark.parametrize('words, sentence', [
    (['rain', 'nothing.mp4', '-o', 'x.mp4'], 'nothing.mp4 does not exist'),
    (['rain', 'scene:sea', '-o', 'x.mp4'], 'scene:sea is not a scene: use scene:drive or scene:walk'),
    (['rain', 'scene:drive', '-o', 'x.avi'], 'x.avi has a suffix that cannot be written'),
    (['rain', 'scene:drive', '-o', 'nowhere/x.mp4'], 'the folder nowhere does not exist'),
    (['rain', 'scene:drive', '-o', 'x.png'], 'x.png is one image'),
    (['rain', 'scene:drive', '-o', 'x', '--layout', 'video'], 'x is not the name of a video'),
    (['rain', 'scene:drive', '-o', 'x.mp4', '--layout', 'frames'], 'x.mp4 is not the name of a folder'),
    (['rain', 'clip.mkv', '-o', 'clip.mkv'], 'clip.mkv is the input'),
    (['rain', 'clip.mkv', '-o', 'x.mp4', '--size', '64x64'], 'leave --size out'),
    (['rain', 'clip.mkv', '-o', 'x', '--layout', 'vrds', '--test-videos', '3'], 'holds 1 video but'),
    (['rain', 'clip.mkv', '-o', 'x.mp4', '--no-streaks', '--no-drops'], 'leave no rain'),
    (['rain', 'clip.mkv', '-o', 'x.mp4', '--videos', '2'], 'are for --layout vrds'),
    (['scene', 'drive', '-o', 'x.mp4', '--size', 'big'], 'big is not a frame size'),
    (['scene', 'drive', '-o', 'nowhere/x', '--with-geometry'], 'the folder nowhere does not exist'),
])
def test_bad_input_is_refused_in_a_sentence_and_leaves_nothing(video, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    before = video.read_bytes()
    options = ['--frames', '2'] if 'scene:drive' in words or words[0] == 'scene' else []
    assert sentence in refused(capsys, *words, *options)
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mkv'] and video.read_bytes() == before


def test_a_broken_video_leaves_no_output(video, tmp_path, capsys):
    whole = video.read_bytes()
    video.write_bytes(whole[:len(whole) // 2])
    assert 'clip.mkv' in refused(capsys, 'rain', video, '-o', tmp_path / 'x.mp4', '--save-parts')
    assert 'clip.mkv' in refused(capsys, 'rain', video, '-o', tmp_path / 'x', '--layout', 'vrds')
    assert list(tmp_path.iterdir()) == [video]
