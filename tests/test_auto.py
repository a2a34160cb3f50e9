"""``--model auto``: the degradation is named, the network that helps is taken, what is clean stays as it is."""
import io
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_pipe import planes, y4m
from video_fixtures import Darken, packets, ramp_frames, read_video, turn, write_video

from mmweather.cli.main import main
from mmweather.errors import UserError
from mmweather.inference import open_source, restore_many, restore_stream, restore_video
from mmweather.inference.auto import Choice, Rewindable, Untouched, pass_through
from mmweather.inference.detection import MODELS, Detection
from mmweather.synthesis import SceneRenderer
from mmweather.synthesis.rainy import RainOn

FILE = Path(__file__)


class Found(dict):
    """Detections by words in names of inputs, and the networks that were loaded."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.loaded = []


@pytest.fixture
def found(monkeypatch):
    """What is detected, by a word in the input's name or else ``found['']``; networks half the brightness."""
    found = Found({'': 'rain'})

    def detect(source):
        if isinstance(source, Path):
            open_source(source)  # as it does
        word = next((word for word in found if word and word in str(source)), '')
        return Detection(*found[word]) if isinstance(found[word], tuple) else Detection(found[word], 0.93, {})

    def load_network(name, checkpoint=None):
        found.loaded.append(name)
        return Darken()

    monkeypatch.setattr('mmweather.inference.auto.detect', detect)
    monkeypatch.setattr('mmweather.zoo.bundled_weights', lambda: dict.fromkeys(filter(None, MODELS.values()), FILE))
    for module in ('restore', 'batch'):
        monkeypatch.setattr(f'mmweather.inference.{module}.load_network', load_network)
    return found


@pytest.fixture
def film(tmp_path):
    """A short film with sound and uneven frame times."""
    return write_video(tmp_path / 'film.mp4', ramp_frames(9), audio='aac', times=[0, 3, 4, 9, 10, 11, 20, 22, 23],
                       time_base=Fraction(1, 90))


def run(*arguments):
    """The exit code of the command."""
    with pytest.raises(SystemExit) as end:
        main(['restore', *map(str, arguments)])
    return end.value.code


@pytest.mark.parametrize(('name', 'model'), [(name, model) for name, model in MODELS.items() if model])
def test_the_network_follows_from_what_is_wrong_and_one_line_says_so(found, film, tmp_path, capfd, name, model):
    found[''] = name
    assert run(film, '-o', tmp_path / 'out.mp4', '--model', 'auto') == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f'{film}: {name}, 93 % sure, so {model} restores it' and len(lines) == 2
    assert found.loaded == [model]
    restore_video(film, tmp_path / 'expected.mp4', Darken())
    assert (tmp_path / 'out.mp4').read_bytes() == (tmp_path / 'expected.mp4').read_bytes()


def test_clean_files_and_folders_are_copied_byte_by_byte(found, film, tmp_path, capfd):
    found[''] = 'clean'
    (tmp_path / 'photos').mkdir()
    for index, frame in enumerate(ramp_frames(3)):
        cv2.imwrite(str(tmp_path / 'photos' / f'{index}.jpg'), frame)
    photo = tmp_path / 'photos' / '1.jpg'
    for source, output in [(film, 'out.mp4'), (photo, 'out.jpg'), (tmp_path / 'photos', 'out')]:
        assert run(source, '-o', tmp_path / output, '--model', 'auto') == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines[0] == f'{source}: clean, 93 % sure, so it stays as it is'
        assert lines[1].startswith(f'{tmp_path / output}: passed through untouched')
    assert (tmp_path / 'out.mp4').read_bytes() == film.read_bytes()
    assert (tmp_path / 'out.jpg').read_bytes() == photo.read_bytes()
    assert {path.name: path.read_bytes() for path in (tmp_path / 'out').iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / 'photos').iterdir()}
    assert not found.loaded


@pytest.mark.parametrize('is_turned', [False, True])
def test_a_clean_video_keeps_frames_times_and_sound_in_another_container(film, tmp_path, is_turned):
    if is_turned:
        turn(film, (0, 1, -1, 0))
    assert isinstance(pass_through(film, tmp_path / 'out.mkv'), Untouched)
    assert packets(tmp_path / 'out.mkv', 'video')[3][0] == packets(film, 'video')[3][0]
    source, after = open_source(film), open_source(tmp_path / 'out.mkv')
    assert after.size == source.size == ((64, 48) if is_turned else (48, 64))
    assert all(map(np.array_equal, source, after)) and len(source.times) == len(after.times) == 9
    # Matroska counts milliseconds, and none below zero, where the priming of the sound lies
    pictures, sound = ([[time for _, time in packets(path, kind)] for path in (film, tmp_path / 'out.mkv')]
                       for kind in ('video', 'audio'))
    shift = sound[1][0] - sound[0][0]
    assert [time + shift for time in pictures[0]] == pytest.approx(pictures[1], abs=0.0015)
    assert [data for data, _ in packets(tmp_path / 'out.mkv')] == [data for data, _ in packets(film)]


def test_what_is_clean_is_written_anew_where_its_kind_changes(film, tmp_path):
    pass_through(film, tmp_path / 'frames')
    expected = list(open_source(film))
    assert all(map(np.array_equal, open_source(tmp_path / 'frames'), expected))
    pass_through(tmp_path / 'frames' / '00000004.png', tmp_path / 'one.bmp')
    assert np.array_equal(next(iter(open_source(tmp_path / 'one.bmp'))), expected[4])
    # MP4 has no room for FFV1
    pass_through(film, tmp_path / 'out.mkv')
    restore_video(film, tmp_path / 'ffv1.mkv', Darken(), lossless=True)
    pass_through(tmp_path / 'ffv1.mkv', tmp_path / 'ffv1.mp4', crf=0)
    for frame, other in zip(open_source(tmp_path / 'ffv1.mp4'), open_source(tmp_path / 'ffv1.mkv')):
        assert np.abs(frame.astype(int) - other).mean() < 2
    pass_through(film, tmp_path / 'preview.mp4', preview=0.05)
    assert len(read_video(tmp_path / 'preview.mp4')['frames']) < 9


def test_a_clean_input_is_not_written_over(found, film, tmp_path):
    found[''] = 'clean'
    with pytest.raises(UserError, match='would be overwritten'):
        restore_video(film, film, 'auto')
    (tmp_path / 'out.mp4').write_text('mine')
    with pytest.raises(UserError, match='exists already'):
        restore_video(film, tmp_path / 'out.mp4', 'auto', overwrite=False)
    assert (tmp_path / 'out.mp4').read_text() == 'mine'


def test_a_guess_is_no_reason_to_change_anything(found, film, tmp_path):
    found[''] = ('snow', 0.41, {})
    choices = []
    restore_video(film, tmp_path / 'out.mp4', 'auto', announce=choices.append)
    assert choices == [Choice(str(film), Detection('snow', 0.41, {}), None)]
    assert 'too little to go by' in str(choices[0])
    assert (tmp_path / 'out.mp4').read_bytes() == film.read_bytes()


def test_without_weights_one_sentence_and_code_two(found, film, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr('mmweather.zoo.bundled_weights', lambda: {'vimpnet_tiny': FILE})
    found[''] = 'snow'
    assert run(film, '-o', tmp_path / 'out.mp4', '--model', 'auto') == 2
    errors = capfd.readouterr().err
    assert 'shows snow (93 % sure), but no weights ship for svdnet_tiny' in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / 'out.mp4').exists()


def test_each_of_many_inputs_gets_its_own_network_and_the_clean_ones_none(found, film, tmp_path, capfd):
    names = {'wet': 'rain', 'white': 'snow', 'clear': 'clean', 'also_wet': 'drops'}
    found.update(names)
    videos = [tmp_path / f'{name}.mp4' for name in names]
    for video in videos:
        video.write_bytes(film.read_bytes())
    arguments = *videos, tmp_path / 'missing.mp4', '-o', tmp_path / 'out', '--model', 'auto'
    assert run(*arguments) == 2
    output = capfd.readouterr().out
    assert '4 of 5 restored, 1 failed' in output and output.count('% sure') == 4
    # drops and rain are one network's
    assert found.loaded == ['vimpnet_tiny', 'svdnet_tiny']
    assert (tmp_path / 'out' / 'clear.mp4').read_bytes() == film.read_bytes()
    assert (tmp_path / 'out' / 'wet.mp4').read_bytes() != film.read_bytes()
    # once more, and only what failed is tried
    assert run(*arguments) == 2 and capfd.readouterr().out.count('finished by an earlier run') == 4


def test_pipes_are_judged_by_their_first_frames_and_lose_none(found):
    data = y4m(ramp_frames(30))
    choices, output = [], io.BytesIO()
    summary = restore_stream(io.BytesIO(data), output, 'auto', announce=choices.append)
    assert summary.frames == 30 and str(choices[0]).startswith('-: rain') and found.loaded == ['vimpnet_tiny']
    expected = io.BytesIO()
    restore_stream(io.BytesIO(data), expected, Darken())
    assert output.getvalue() == expected.getvalue() and len(planes(output.getvalue())[1]) == 30


def test_a_clean_pipe_is_passed_on_byte_by_byte_and_becomes_a_file_frame_by_frame(found, film, tmp_path):
    found[''] = 'clean'
    data, output = y4m(ramp_frames(30)), io.BytesIO()
    restore_stream(io.BytesIO(data), output, 'auto')
    assert output.getvalue() == data
    restore_stream(io.BytesIO(data), tmp_path / 'out.mp4', 'auto')
    assert len(read_video(tmp_path / 'out.mp4')['frames']) == 30
    output = io.BytesIO()
    restore_stream(film, output, 'auto')
    assert len(planes(output.getvalue())[1]) == 9


def test_a_stream_is_read_twice_in_any_pieces():
    data = bytes(range(200)) + b'line\n' + bytes(100)
    stream = Rewindable(io.BytesIO(data))
    assert stream.read(150) + stream.readline(4096) == data[:150] + data[150:205]
    stream.rewind()
    again = stream.readline(5) + stream.readline(4096) + stream.read(197)
    assert again == data[:len(again)] and again[:11] == data[:11]
    assert again + stream.readline(7) + stream.read(1000) == data and stream.read(1) == b''


def test_what_auto_does_not_go_with_is_refused(found, film, tmp_path, capfd):
    for arguments, fault in [(('--checkpoint', 'x.pth'), 'name the model'), (('--stereo', 'sbs'), '--stereo'),
                             (('--save-parts', ), '--save-parts')]:
        assert run(film, '-o', tmp_path / 'out.mp4', '--model', 'auto', *arguments) == 2
        assert fault in capfd.readouterr().err
    with pytest.raises(UserError, match='leave the checkpoint out'):
        restore_many([film], tmp_path / 'out', 'auto', 'x.pth')


def test_a_rainy_drive_is_recognised_and_restored_and_the_clean_one_is_not_touched(tmp_path, capfd):
    renderer, rain = SceneRenderer('drive', (192, 320), 930_001), RainOn((192, 320), 3)
    views = [renderer.frame(t) for t in range(6)]
    clean = [view.frame for view in views]
    rainy = [rain(view.frame, t, view.depth)['lq'] for t, view in enumerate(views)]
    for name, frames in (('clean', clean), ('rainy', rainy)):
        (tmp_path / name).mkdir()
        for index, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / name / f'{index}.png'), frame[..., ::-1])
        assert run(tmp_path / name, '-o', tmp_path / f'{name}_out', '--model', 'auto') == 0
    output = capfd.readouterr().out
    assert 'rainy: rain, ' in output and 'so vimpnet_tiny restores it' in output and 'clean: clean, ' in output
    error = [np.mean((np.stack(list(frames)).astype(float) - clean)**2)
             for frames in (rainy, open_source(tmp_path / 'rainy_out'))]
    assert error[1] < 0.6 * error[0]
    for path in (tmp_path / 'clean').iterdir():
        assert (tmp_path / 'clean_out' / path.name).read_bytes() == path.read_bytes()
