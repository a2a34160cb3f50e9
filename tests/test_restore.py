"""Restoring from file to file, in Python and from the command line: what is kept, what is refused, what is left."""
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from video_fixtures import FILM, Darken, Identity, Step, packets, ramp_frames, read_video, write_video

from mmweather import zoo
from mmweather.cli import progress
from mmweather.cli.main import main
from mmweather.errors import UserError
from mmweather.inference import load_network, open_source, restore_video
from mmweather.inference.restore import RestoreSummary, _choose_precision, _choose_protocol
from mmweather.models.temporal import ClipNetwork, ClipProtocol

TESTS = Path(__file__).parent


@pytest.fixture
def film(tmp_path):
    """Thirteen frames at 24000/1001 with AAC."""
    return write_video(tmp_path / 'film.mp4', ramp_frames(13), audio='aac')


def png(path, array):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), array)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_restored_video_keeps_count_order_rate_duration_and_sound(tmp_path, film):
    summary = restore_video(film, tmp_path / 'out.mp4', Darken())
    before, after = read_video(film), read_video(tmp_path / 'out.mp4')
    assert summary.frames == len(after['frames']) == 13
    assert after['rate'] == FILM and after['times'] == before['times']
    assert after['duration'] == 13 / FILM
    assert packets(tmp_path / 'out.mp4') == packets(film)
    errors = [np.abs(a - b / 2.).mean() for a, b in zip(after['frames'], before['frames'])]
    assert max(errors) < 2
    assert names(tmp_path) == ['film.mp4', 'out.mp4']


@pytest.mark.parametrize('network', [Darken(), Step(), Identity()])
def test_every_kind_of_network_restores_every_frame_once(tmp_path, network):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(7), times=[0, 3, 4, 9, 10, 11, 20],
                         time_base=Fraction(1, 90))
    calls = []
    restore_video(source, tmp_path / 'out.mp4', network, progress=lambda *call: calls.append(call))
    assert calls == [(index, 7) for index in range(1, 8)]
    assert read_video(tmp_path / 'out.mp4')['times'] == [Fraction(time, 90) for time in [0, 3, 4, 9, 10, 11, 20]]


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('network', [Darken(), Step()])
def test_a_video_of_one_frame_or_two_is_a_video(tmp_path, network, count):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(count))
    assert restore_video(source, tmp_path / 'out.mp4', network).frames == count
    after, before = read_video(tmp_path / 'out.mp4'), read_video(source)
    assert after['times'] == before['times'] and after['rate'] == before['rate']
    if count == 1:
        expected = before['frames'][0] / (2. if isinstance(network, Darken) else 1.)
        assert np.abs(after['frames'][0] - expected).mean() < 2


def test_odd_sizes_keep_their_size(tmp_path):
    source = write_video(tmp_path / 'in.mkv', ramp_frames(3, (37, 51)), pix_fmt='yuv444p')
    restore_video(source, tmp_path / 'out.mp4', Darken())
    assert read_video(tmp_path / 'out.mp4')['frames'][0].shape == (37, 51, 3)


def test_options_reach_the_encoder(tmp_path, film):
    restore_video(film, tmp_path / 'out.mkv', Identity(), codec='ffv1')
    assert all(np.array_equal(a, b) for a, b in zip(open_source(tmp_path / 'out.mkv'), open_source(film)))
    for crf in (1, 40):
        restore_video(film, tmp_path / f'{crf}.mp4', Identity(), crf=crf)
    assert (tmp_path / '1.mp4').stat().st_size > (tmp_path / '40.mp4').stat().st_size


def test_frames_of_a_folder_keep_their_names_and_become_a_video_on_demand(tmp_path):
    for index, frame in enumerate(ramp_frames(6)):
        png(tmp_path / 'in' / f'{index}.png', frame[..., ::-1])
    restore_video(tmp_path / 'in', tmp_path / 'out', Darken())
    assert names(tmp_path / 'out') == [f'{index}.png' for index in range(6)]
    restored = cv2.imread(str(tmp_path / 'out' / '5.png'))[..., ::-1]
    assert np.array_equal(restored, np.round(list(ramp_frames(6))[5] / 2))
    restore_video(tmp_path / 'in', tmp_path / 'out.mp4', Darken(), fps=FILM)
    assert read_video(tmp_path / 'out.mp4')['rate'] == FILM


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_deep_images_are_restored_in_float_and_keep_gray_and_alpha(tmp_path, channels):
    levels = np.arange(0, 65536, 17, dtype=np.uint16)[:60 * 64].reshape(60, 64)
    original = levels if channels == 1 else np.stack([levels] * channels, axis=2)
    restore_video(png(tmp_path / 'in.png', original), tmp_path / 'out.png', Darken())
    restored = cv2.imread(str(tmp_path / 'out.png'), cv2.IMREAD_UNCHANGED)
    assert restored.shape == original.shape and restored.dtype == np.uint16
    colour = slice(None) if channels == 1 else np.s_[..., :3]
    assert np.abs(restored[colour] - original[colour] / 2.).max() <= 1
    if channels == 4:
        assert np.array_equal(restored[..., 3], original[..., 3])


def test_gray_and_alpha_of_eight_bits_are_kept(tmp_path):
    gray = np.arange(0, 250, dtype=np.uint8).reshape(10, 25)
    png(tmp_path / 'in' / '0.png', gray)
    png(tmp_path / 'in' / '1.png', np.stack([gray, gray, gray, 255 - gray], axis=2))
    restore_video(tmp_path / 'in', tmp_path / 'out', Darken())
    restored = [cv2.imread(str(tmp_path / 'out' / f'{index}.png'), cv2.IMREAD_UNCHANGED) for index in range(2)]
    assert np.array_equal(restored[0], np.round(gray / 2))
    assert np.array_equal(restored[1][..., 3], 255 - gray)


# --- faults in the middle --------------------------------------------------------------------------------------------

@pytest.mark.parametrize('fault', ['broken', 'other size'])
def test_what_was_restored_before_a_fault_in_a_folder_is_kept(tmp_path, fault):
    for index, frame in enumerate(ramp_frames(9)):
        png(tmp_path / 'in' / f'{index}.png', frame)
    if fault == 'broken':
        (tmp_path / 'in' / '7.png').write_bytes(b'no image')
    else:
        png(tmp_path / 'in' / '7.png', np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(UserError, match=r'7\.png') as caught:
        restore_video(tmp_path / 'in', tmp_path / 'out', Darken())
    assert 'the 7 images before it are in' in str(caught.value)
    assert names(tmp_path / 'out') == [f'{index}.png' for index in range(7)]
    restored = cv2.imread(str(tmp_path / 'out' / '6.png'))
    assert np.array_equal(restored, np.round(list(ramp_frames(9))[6] / 2))


def test_a_fault_in_the_folder_leaves_no_video(tmp_path):
    for index, frame in enumerate(ramp_frames(9)):
        png(tmp_path / 'in' / f'{index}.png', frame)
    (tmp_path / 'in' / '7.png').write_bytes(b'no image')
    with pytest.raises(UserError, match=r'7\.png is not an image'):
        restore_video(tmp_path / 'in', tmp_path / 'out.mp4', Darken())
    assert names(tmp_path) == ['in']


class Fail(ClipNetwork):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, clip):
        raise self.error


@pytest.mark.parametrize(('error', 'raised'), [
    (ZeroDivisionError('ours'), ZeroDivisionError), (KeyboardInterrupt(), KeyboardInterrupt),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"), UserError),
    (torch.cuda.OutOfMemoryError('CUDA out of memory'), UserError), (MemoryError(), UserError)])
def test_a_failing_network_ends_the_threads_and_leaves_nothing(tmp_path, film, error, raised):
    with pytest.raises(raised) as caught:
        restore_video(film, tmp_path / 'out.mp4', Fail(error))
    if raised is UserError:
        assert 'tiles' in str(caught.value)
    assert names(tmp_path) == ['film.mp4']
    assert not {thread.name[:6] for thread in threading.enumerate()} & {'decode', 'encode'}


def test_a_failing_encoder_is_reported_and_writes_nothing_after_the_fault(tmp_path, monkeypatch):
    for index, frame in enumerate(ramp_frames(12)):
        png(tmp_path / 'in' / f'{index}.png', frame)
    written = []

    def write_image(path, image):
        written.append(path.name)
        if len(written) == 3:
            raise UserError('no room')

    monkeypatch.setattr('mmweather.inference.frames.write_image', write_image)
    with pytest.raises(UserError, match='no room'):
        restore_video(tmp_path / 'in', tmp_path / 'out', Identity())
    assert written == ['0.png', '1.png', '2.png']


# --- options ---------------------------------------------------------------------------------------------------------

def test_output_must_not_be_the_input(tmp_path, film):
    (tmp_path / 'link.mp4').symlink_to(film)
    data = film.read_bytes()
    for output in (film, tmp_path / 'link.mp4', tmp_path / 'in' / '..' / 'film.mp4'):
        (tmp_path / 'in').mkdir(exist_ok=True)
        with pytest.raises(UserError, match='overwritten'):
            restore_video(film, output, Identity())
    image = png(tmp_path / 'in' / '0.png', np.zeros((8, 8, 3), np.uint8))
    for source, output in [(tmp_path / 'in', tmp_path / 'in'), (image, image), (image, tmp_path / 'in'),
                           (tmp_path / 'in', image)]:
        with pytest.raises(UserError, match=r'overwritten|one image'):
            restore_video(source, output, Identity())
    assert film.read_bytes() == data


def test_overwriting_can_be_refused(tmp_path, film):
    (tmp_path / 'out.mp4').write_bytes(b'earlier')
    with pytest.raises(UserError, match='exists already'):
        restore_video(film, tmp_path / 'out.mp4', Identity(), overwrite=False)
    assert (tmp_path / 'out.mp4').read_bytes() == b'earlier'
    restore_video(film, tmp_path / 'out.mp4', Identity())
    assert len(read_video(tmp_path / 'out.mp4')['frames']) == 13


@pytest.mark.parametrize(('options', 'expected'), [
    (dict(), ClipProtocol(5, 2, 64, 16)),
    (dict(window=9), ClipProtocol(9, 2, 64, 16)),
    (dict(window=1), ClipProtocol(1, 0, 64, 16)),
    (dict(tile=0), ClipProtocol(5, 2)),
    (dict(tile=128), ClipProtocol(5, 2, 128, 16)),
    (dict(protocol='published'), Darken.protocols['published']),
    (dict(protocol='published', tile=32), ClipProtocol(5, 4, 32, 16, 8, 'mean')),
])
def test_window_and_tile_override_the_protocol(options, expected):
    assert _choose_protocol(Darken(), **dict(dict(protocol=None, window=None, tile=None), **options)) == expected


@pytest.mark.parametrize(('options', 'fault'), [
    (dict(tile=30), 'multiple of 4 and at least 32'), (dict(tile=16), 'at least 32'),
    (dict(protocol='paper'), 'published'), (dict(device='abacus'), 'abacus'), (dict(precision='int3'), 'int3'),
    (dict(codec='theora'), 'theora')])
def test_options_that_do_not_suit_are_refused_in_a_sentence(tmp_path, film, options, fault):
    with pytest.raises(UserError, match=fault) as caught:
        restore_video(film, tmp_path / 'out.mp4', Darken(), **options)
    assert '\n' not in str(caught.value)
    assert names(tmp_path) == ['film.mp4']


def test_a_window_is_refused_for_recurrent_networks(tmp_path, film):
    with pytest.raises(UserError, match='no window'):
        restore_video(film, tmp_path / 'out.mp4', Step(), window=3)


def test_precision_is_float32_on_cpus_unless_asked_for(tmp_path, film):
    assert _choose_precision('auto', torch.device('cpu')) == 'fp32'

    class Notice(ClipNetwork):
        def forward(self, clip):
            self.half = torch.is_autocast_enabled('cpu') and torch.get_autocast_dtype('cpu')
            return clip

    network = Notice()
    assert restore_video(film, tmp_path / 'out.mp4', network).precision == 'fp32' and not network.half
    assert restore_video(film, tmp_path / 'out.mp4', network, precision='bf16').precision == 'bf16'
    assert network.half == torch.bfloat16


def test_weights_are_the_bundled_ones_unless_a_checkpoint_is_given(monkeypatch):
    calls = []
    monkeypatch.setattr(zoo, 'load_bundled', lambda name: calls.append(('bundled', name)) or Identity().train())
    monkeypatch.setattr(zoo, 'build_network', lambda name: calls.append(('build', name)) or Identity().train())
    monkeypatch.setattr(zoo, 'load_weights', lambda network, path: calls.append(('load', path)))
    assert not load_network('vimpnet_tiny').training
    assert not load_network('vimpnet', 'published.pth').training
    assert calls == [('bundled', 'vimpnet_tiny'), ('build', 'vimpnet'), ('load', 'published.pth')]


def test_summary_says_what_was_done():
    summary = RestoreSummary(Path('out.mp4'), 30, 12., 'cpu', 'fp32', ('subtitle stream 2 (subrip)', ))
    assert summary.fps == 2.5
    assert str(summary) == ('out.mp4: 30 frames in 12.0 s (2.5 frames/s, cpu, fp32); '
                            'left out: subtitle stream 2 (subrip)')


# --- memory ----------------------------------------------------------------------------------------------------------

def peak_of_restoring(path, folder):
    """Peak resident memory in KiB of a process that restores the video."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(TESTS)!r})
from video_fixtures import Darken
from mmweather.inference import restore_video
restore_video({str(path)!r}, {str(folder / 'out.mp4')!r}, Darken())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    return int(subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=True).stdout)


def test_memory_is_flat_in_the_length_of_the_video(tmp_path):
    size = (192, 256)
    peaks = [peak_of_restoring(write_video(tmp_path / f'{count}.mp4', ramp_frames(count, size)), tmp_path)
             for count in (40, 400)]
    # 360 more frames are 50 MiB as bytes and 200 MiB as floats
    assert peaks[1] <= 1.1 * peaks[0]


# --- command line ----------------------------------------------------------------------------------------------------

def run_cli(monkeypatch, capfd, *arguments):
    """Run ``mmweather restore`` with a network of the tests in place of the zoo's: (exit code, stdout, stderr)."""
    monkeypatch.setattr('mmweather.inference.restore.load_network', lambda *_: Darken())
    with pytest.raises(SystemExit) as end:
        main(['restore', *map(str, arguments)])
    return end.value.code, *capfd.readouterr()


def test_command_restores_and_says_so_in_one_line(tmp_path, film, monkeypatch, capfd):
    code, output, errors = run_cli(monkeypatch, capfd, film, '-o', tmp_path / 'out.mp4', '--protocol', 'published')
    assert code == 0, errors
    assert output.startswith(f'{tmp_path}/out.mp4: 13 frames in ') and output.count('\n') == 1
    assert len(read_video(tmp_path / 'out.mp4')['frames']) == 13
    assert run_cli(monkeypatch, capfd, film, '-o', tmp_path / 'out.mp4', '--quiet') == (0, '', '')


def bad_inputs(folder):
    video = write_video(folder / 'whole.mp4', ramp_frames(5))
    (folder / 'empty.mp4').touch()
    (folder / 'text.mp4').write_text('no video\n' * 100)
    (folder / 'cut.mp4').write_bytes(video.read_bytes()[:-200])
    (folder / 'nothing').mkdir()
    png(folder / 'mixed' / '0.png', np.zeros((8, 8, 3), np.uint8))
    png(folder / 'mixed' / '1.png', np.zeros((8, 9, 3), np.uint8))
    return {'missing.mp4': 'does not exist', 'empty.mp4': 'is empty', 'text.mp4': 'is not a video',
            'cut.mp4': 'is cut off', 'nothing': 'holds no images', 'mixed': '1.png is 9x8'}


def test_command_ends_bad_input_with_code_two_one_sentence_and_no_output(tmp_path, monkeypatch, capfd):
    folder = tmp_path / 'in'
    folder.mkdir()
    for name, fault in bad_inputs(folder).items():
        code, output, errors = run_cli(monkeypatch, capfd, folder / name, '-o', tmp_path / 'out.mp4')
        assert (code, output) == (2, ''), errors
        assert fault in errors and errors.count('\n') == 1
    for output in ('out.gif', 'no/out.mp4'):
        code, _, errors = run_cli(monkeypatch, capfd, folder / 'whole.mp4', '-o', tmp_path / output)
        assert code == 2 and errors.count('\n') == 1
    code, _, errors = run_cli(monkeypatch, capfd, folder / 'whole.mp4', '-o', tmp_path / 'out.mp4', '--fps', 'fast')
    assert code == 2 and 'fast is no frame rate' in errors
    assert names(tmp_path) == ['in']


@pytest.mark.parametrize(('sent', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_leaves_nothing(tmp_path, sent, code):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(300), rate=Fraction(25))
    script = f"""
import signal, sys, time
sys.path.insert(0, {str(TESTS)!r})
from video_fixtures import Identity
from mmweather.cli.main import main
from mmweather.inference import restore
class Slow(Identity):
    def forward(self, clip):
        time.sleep(.05)
        return clip
restore.load_network = lambda *_: Slow()
# a shell that runs the tests in the background has its children ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)
main(['restore', {str(source)!r}, '-o', {str(tmp_path / 'out.mp4')!r}])
"""
    process = subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / '.out.mp4.resume').glob('segment-*.part')):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(.05)
    time.sleep(.3)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert output == '' and 'Traceback' not in errors
    assert names(tmp_path) == ['in.mp4']


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capfd):
    lines = progress.Lines(interval=0)
    lines.start -= 10
    lines(20, 400)
    lines(410, 400)
    lines(20, None)
    written = capfd.readouterr().err.splitlines()
    assert written[0] == '20/400 frames, 2 frames/s, 3:10 left'
    assert written[1].startswith('410 frames') and written[2] == '20 frames, 2 frames/s'
    quiet = progress.Lines(interval=100)
    quiet(20, 400)
    assert capfd.readouterr().err == ''


def test_progress_on_a_terminal_shows_rate_and_time_left():
    from io import StringIO

    from rich.console import Console
    screen = StringIO()
    with progress.Bar(Console(file=screen, force_terminal=True, width=100)) as bar:
        bar.start -= 10
        for done in range(1, 31):
            bar(done, 400)
    assert '30/400' in screen.getvalue() and 'frames/s' in screen.getvalue() and 'left' in screen.getvalue()
