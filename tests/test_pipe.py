"""``mmweather restore - -o -``: y4m in, y4m out, and what is no y4m."""
import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video_fixtures import FILM, Darken, Identity, ramp_frames, read_video, write_video

from mmweather.errors import UserError
from mmweather.inference import restore_stream
from mmweather.inference.y4m import Y4MSink, Y4MSource

TESTS = Path(__file__).parent


def y4m(frames, pix_fmt='yuv420p', rate=FILM):
    """A stream as FFmpeg writes it."""
    buffer = io.BytesIO()
    with av.open(buffer, 'w', format='yuv4mpegpipe', options={'strict': '-1'}) as output:
        stream = output.add_stream('wrapped_avframe', rate=rate, options={'strict': '-1'})
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, 'rgb24').reformat(format=pix_fmt)
            if not index:
                stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, pix_fmt
            picture.pts = index
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def planes(data):
    """The frames of a stream as bytes, and its header."""
    header, _, rest = data.partition(b'\n')
    return header, rest.split(b'FRAME\n')[1:]


def through(data, network=None, **options):
    output = io.BytesIO()
    summary = restore_stream(io.BytesIO(data), output, network or Identity(), **options)
    return summary, output.getvalue()


@pytest.mark.parametrize('pix_fmt', ['yuv420p', 'yuv422p', 'yuv444p', 'gray', 'yuv420p10le', 'yuv444p12le'])
@pytest.mark.parametrize('size', [(48, 64), (37, 51)])
def test_a_stream_passes_through_in_its_own_kind(pix_fmt, size):
    data = y4m(ramp_frames(5, size), pix_fmt)
    source = Y4MSource(io.BytesIO(data))
    assert source.size == size and source.fps == FILM
    summary, output = through(data)
    before, after = planes(data), planes(output)
    assert summary.frames == len(after[1]) == 5 and source.space.encode() in after[0].split(b' C')[1]
    for one, other in zip(before[1], after[1]):
        kind = np.uint8 if source.depth == 8 else np.uint16
        difference = np.frombuffer(one, kind).astype(float) - np.frombuffer(other, kind)
        # chroma is scaled up and down again
        assert np.abs(difference).mean() < 1.5 * 2**(source.depth - 8)


def test_ffmpeg_reads_what_is_written(tmp_path):
    _, output = through(y4m(ramp_frames(7)), Darken())
    (tmp_path / 'out.y4m').write_bytes(output)
    video = read_video(tmp_path / 'out.y4m')
    assert len(video['frames']) == 7 and video['rate'] == FILM
    for frame, expected in zip(video['frames'], ramp_frames(7)):
        assert np.abs(frame - expected / 2.).mean() < 2


def test_a_stream_becomes_a_file_and_a_file_a_stream(tmp_path):
    restore_stream(io.BytesIO(y4m(ramp_frames(7))), tmp_path / 'out.mp4', Identity())
    assert read_video(tmp_path / 'out.mp4')['rate'] == FILM
    source = write_video(tmp_path / 'in.mkv', ramp_frames(7), pix_fmt='yuv420p10le', rate=Fraction(30))
    output = io.BytesIO()
    restore_stream(source, output, Identity())
    assert planes(output.getvalue())[0].startswith(b'YUV4MPEG2 W64 H48 F30:1 ') and b'C420p10' in output.getvalue()[:80]


@pytest.mark.parametrize(('data', 'fault'), [
    (b'', 'is not y4m'), (b'\0' * 500, 'is not y4m'), (b'YUV4MPEG2 W64 H48 F25:1 C411\n', 'C411'),
    (b'YUV4MPEG2 W64 F25:1\n', 'header'), (b'YUV4MPEG2 W0 H0 F25:1\n', 'header'),
    (b'YUV4MPEG2 W64 H48 F25\n', 'header'), (b'YUV4MPEG2 W64 H48 F25:1\n', 'no frames'),
    (b'YUV4MPEG2 W4 H4 F25:1\nFRAME\n' + bytes(24) + b'GAME\n', 'after frame 1'),
    (b'YUV4MPEG2 W4 H4 F25:1\nFRAME\n' + bytes(23), 'within frame 0')])
def test_what_is_no_stream_is_refused_in_a_sentence(data, fault):
    with pytest.raises(UserError, match=fault) as caught:
        through(data)
    assert '\n' not in str(caught.value)


def test_frames_leave_the_pipe_while_others_still_come():
    class Watched(io.BytesIO):
        seen = 0

        def readline(self, *size):
            line = super().readline(*size)
            self.seen += line == b'FRAME\n'
            return line

    source, gaps = Watched(y4m(ramp_frames(60))), []

    class Sink(io.BytesIO):
        written = 0

        def write(self, data):
            self.written += data == b'FRAME\n'
            gaps.append(source.seen - self.written)

    restore_stream(source, Sink(), Darken())
    assert max(gaps) < 30


def test_full_range_is_kept():
    output = io.BytesIO()
    white = bytes([255] * 16 + [128] * 32)
    source = Y4MSource(io.BytesIO(b'YUV4MPEG2 W4 H4 F25:1 C444 XCOLORRANGE=FULL\nFRAME\n' + white))
    with Y4MSink(output, source) as sink:
        for frame in source:
            assert frame.min() == 255
            sink.write(frame)
    assert b'XCOLORRANGE=FULL' in output.getvalue() and output.getvalue()[-48:] == white


def test_the_command_is_a_filter_that_says_nothing_on_its_output():
    script = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from video_fixtures import Darken
from mmweather.cli.main import main
from mmweather.inference import restore
restore.load_network = lambda *_: print('a word of a library') or Darken()
main(['restore', '-', '-o', '-'])
"""
    data = y4m(ramp_frames(9))
    done = subprocess.run([sys.executable, '-c', script], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(planes(done.stdout)[1]) == 9 and len(done.stdout) == pytest.approx(len(data), abs=60)
    assert b'9 frames in' in done.stderr
    closed = subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    closed.stdout.close()
    closed.stdin.write(data)
    closed.stdin.close()
    errors = closed.stderr.read()
    closed.stderr.close()
    assert closed.wait() == 2 and b'Traceback' not in errors and b'after the pipe has ended' in errors
