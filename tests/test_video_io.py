"""Reading and writing videos and images: pixels, times, sound and everything else that has to survive."""
import os
import struct
import subprocess
import sys
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from video_fixtures import FILM, packets, ramp_frames, read_video, turn, write_video

from mmweather.errors import UserError
from mmweather.inference import open_sink, open_source

MPEG, JPEG = 1, 2


def copy(src, dst, **options):
    """Every frame of ``src`` into ``dst`` as it is."""
    source = open_source(src)
    with open_sink(dst, like=source, **options) as sink:
        for frame in source:
            sink.write(frame)
    return sink


def ycbcr(rgb, kr, kb, full):
    """8-bit Y'CbCr of an RGB colour by the definition in H.273."""
    red, green, blue = (value / 255 for value in rgb)
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    chroma = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if full:
        return [255 * luma, *(128 + 255 * value for value in chroma)]
    return [16 + 219 * luma, *(128 + 224 * value for value in chroma)]


MATRICES = {'bt601': (6, .299, .114), 'bt709': (1, .2126, .0722), 'bt2020': (9, .2627, .0593)}


@pytest.fixture
def film(tmp_path):
    """Ten frames at 24000/1001 with AAC."""
    return write_video(tmp_path / 'film.mp4', ramp_frames(10), audio='aac')


def test_source_states_what_it_holds(film):
    source = open_source(film)
    assert (source.size, source.fps, source.frame_count, source.names) == ((48, 64), FILM, 10, None)
    frames = list(source)
    assert len(frames) == 10 and all(frame.dtype == np.uint8 for frame in frames)
    assert len(list(source)) == 10 and len(source.times) == 10
    errors = [np.abs(frame.astype(int) - expected).mean() for frame, expected in zip(frames, ramp_frames(10))]
    assert max(errors) < 3


@pytest.mark.parametrize('matrix', MATRICES)
@pytest.mark.parametrize('color_range', [MPEG, JPEG])
def test_tagged_colours_are_read_by_their_matrix_and_range(tmp_path, matrix, color_range):
    colour = (200, 60, 30)
    number, kr, kb = MATRICES[matrix]
    planes = np.array(ycbcr(colour, kr, kb, color_range == JPEG)).round().astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.broadcast_to(planes[:, None, None], (3, 32, 48)).copy(), 'yuv444p')
    path = write_video(tmp_path / 'colour.mkv', [frame], pix_fmt='yuv444p', codec='ffv1',
                       tags=dict(colorspace=number, color_range=color_range))
    assert np.abs(next(iter(open_source(path)))[16, 24] - np.array(colour)).max() <= 2


@pytest.mark.parametrize(('size', 'matrix'), [((480, 640), 'bt601'), ((720, 1280), 'bt709')])
def test_untagged_colours_are_read_as_players_do(tmp_path, size, matrix):
    colour = (30, 180, 60)
    planes = np.array(ycbcr(colour, *MATRICES[matrix][1:], full=False)).round().astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.broadcast_to(planes[:, None, None], (3, *size)).copy(), 'yuv444p')
    path = write_video(tmp_path / 'colour.mkv', [frame], pix_fmt='yuv444p', codec='ffv1')
    assert np.abs(next(iter(open_source(path)))[16, 24] - np.array(colour)).max() <= 2


@pytest.mark.parametrize('matrix', ['bt601', 'bt709'])
def test_colours_are_written_with_the_matrix_of_the_input_and_tagged(tmp_path, matrix):
    number, kr, kb = MATRICES[matrix]
    colour = (200, 60, 30)
    frames = [np.full((32, 48, 3), colour, np.uint8)] * 3
    source = write_video(tmp_path / 'in.mp4', frames, tags=dict(colorspace=number, color_range=MPEG))
    source = open_source(source)
    with open_sink(tmp_path / 'out.mp4', like=source) as sink:
        for _ in source:
            sink.write(frames[0])
    with av.open(str(tmp_path / 'out.mp4')) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range, frame.format.name) == (number, MPEG, 'yuv420p')
    luma = frame.to_ndarray()[:32].mean()
    assert luma == pytest.approx(ycbcr(colour, kr, kb, full=False)[0], abs=1)


@pytest.mark.parametrize(('src', 'dst'), [('mp4', 'mp4'), ('mp4', 'mov'), ('mkv', 'mp4'), ('mp4', 'mkv')])
def test_rate_times_and_sound_survive_a_change_of_container(tmp_path, src, dst):
    source = write_video(tmp_path / f'in.{src}', ramp_frames(12), audio='aac')
    copy(source, tmp_path / f'out.{dst}')
    before, after = read_video(source), read_video(tmp_path / f'out.{dst}')
    assert len(after['frames']) == 12
    assert after['rate'] == FILM
    tick = Fraction(1, 1000) if 'mkv' in (src, dst) else 0
    # Matroska has no negative times, so there everything moves by what the sound of an MP4 starts before zero
    shift = after['times'][0] - before['times'][0]
    assert max(abs(a - b - shift) for a, b in zip(after['times'], before['times'])) <= tick
    if dst != 'mkv':
        # Matroska's milliseconds must not have spoilt the times
        assert shift == 0
        assert after['times'] == [index / FILM for index in range(12)]
        assert after['duration'] == 12 / FILM
    sound, copied = packets(source), packets(tmp_path / f'out.{dst}')
    assert [data for data, _ in copied] == [data for data, _ in sound]
    assert max(abs(a - b - shift) for (_, a), (_, b) in zip(copied, sound)) <= tick


def test_variable_frame_times_are_kept_exactly(tmp_path):
    times = [0, 3003, 7503, 9003, 15003, 15100, 90000]
    source = write_video(tmp_path / 'in.mp4', ramp_frames(7), times=times, time_base=Fraction(1, 90000))
    copy(source, tmp_path / 'out.mp4')
    assert read_video(tmp_path / 'out.mp4')['times'] == [Fraction(time, 90000) for time in times]


def test_offset_between_picture_and_sound_is_kept(tmp_path):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(6), rate=Fraction(25), times=list(range(25, 31)), audio='aac')
    copy(source, tmp_path / 'out.mp4')
    assert read_video(tmp_path / 'out.mp4')['times'][0] == 1
    assert packets(tmp_path / 'out.mp4')[0][1] == packets(source)[0][1]


def test_transport_streams_start_at_zero_with_picture_and_sound_together(tmp_path):
    source = write_video(tmp_path / 'in.ts', ramp_frames(6), times=[900000 + 3754 * index for index in range(6)],
                         time_base=Fraction(1, 90000), audio='mp2')
    before = read_video(source)['times'][0] - packets(source)[0][1]
    copy(source, tmp_path / 'out.mp4')
    first, sound = read_video(tmp_path / 'out.mp4')['times'][0], packets(tmp_path / 'out.mp4')[0][1]
    assert min(first, sound) == 0
    assert first - sound == pytest.approx(before, abs=1 / 44100)


@pytest.mark.parametrize('size', [(47, 64), (48, 63), (31, 33), (1, 1), (16, 2)])
def test_odd_sizes_keep_their_size(tmp_path, size):
    with open_sink(tmp_path / 'out.mp4') as sink:
        for frame in ramp_frames(4, size):
            sink.write(frame)
    written = read_video(tmp_path / 'out.mp4')
    assert written['frames'][0].shape[:2] == size
    assert written['format'] == ('yuv420p' if not any(side % 2 for side in size) else 'yuv444p')
    assert len(written['frames']) == 4


@pytest.mark.parametrize(('matrix', 'operation'), [
    ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),   # clockwise by 90 degrees, as for a phone held upright
    ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    ((-1, 0, 0, 1), np.fliplr),
    ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
])
def test_rotation_in_the_container_is_applied_and_not_passed_on(tmp_path, matrix, operation):
    plain = write_video(tmp_path / 'plain.mp4', ramp_frames(3))
    flat = list(open_source(plain))
    source = open_source(turn(plain, matrix))
    upright = list(source)
    assert source.size == upright[0].shape[:2] == operation(flat[0]).shape[:2]
    assert all(np.array_equal(frame, operation(before)) for frame, before in zip(upright, flat))
    copy(plain, tmp_path / 'out.mp4')
    again = open_source(tmp_path / 'out.mp4')
    assert np.abs(next(iter(again)).astype(int) - upright[0]).mean() < 3


def test_pixel_aspect_ratio_is_kept_and_turned_with_the_frame(tmp_path):
    source = write_video(tmp_path / 'in.mp4', ramp_frames(3), tags=dict(sample_aspect_ratio=Fraction(4, 3)))
    copy(source, tmp_path / 'out.mp4')
    assert open_source(tmp_path / 'out.mp4').sample_aspect_ratio == Fraction(4, 3)
    copy(turn(source, (0, 1, -1, 0)), tmp_path / 'turned.mp4')
    assert open_source(tmp_path / 'turned.mp4').sample_aspect_ratio == Fraction(3, 4)


def test_ffv1_is_lossless_and_needs_mkv(tmp_path):
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 31, 46, 3), dtype=np.uint8))
    with open_sink(tmp_path / 'out.mkv', codec='ffv1') as sink:
        for frame in frames:
            sink.write(frame)
    assert all(np.array_equal(a, b) for a, b in zip(open_source(tmp_path / 'out.mkv'), frames))
    with pytest.raises(UserError, match=r'out\.mkv'):
        open_sink(tmp_path / 'out.mp4', codec='ffv1')


def test_smaller_crf_is_nearer_to_the_frames(tmp_path):
    frames = list(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8).cumsum(axis=2) // 32)
    frames = [frame.astype(np.uint8) for frame in frames]
    sizes = []
    for crf in (4, 40):
        with open_sink(tmp_path / f'{crf}.mp4', crf=crf) as sink:
            for frame in frames:
                sink.write(frame)
        sizes.append((tmp_path / f'{crf}.mp4').stat().st_size)
    assert sizes[0] > 1.5 * sizes[1]


def test_tags_and_chapters_are_kept(tmp_path):
    source = write_video(tmp_path / 'in.mkv', ramp_frames(5), metadata=dict(title='Drive home'))
    with av.open(str(source)) as container, av.open(str(tmp_path / 'chapters.mkv'), 'w') as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        output.metadata['title'] = container.metadata['title']
        output.set_chapters([dict(id=1, start=0, end=100, time_base=Fraction(1, 1000), metadata=dict(title='Rain'))])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    copy(tmp_path / 'chapters.mkv', tmp_path / 'out.mp4')
    with av.open(str(tmp_path / 'out.mp4')) as container:
        assert container.metadata['title'] == 'Drive home'
        assert [chapter['metadata']['title'] for chapter in container.chapters()] == ['Rain']


def with_subtitles(path, video):
    """The video with one subtitle, shown from 0.1 s for 0.2 s."""
    with av.open(str(video)) as container, av.open(str(path), 'w') as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        subtitles = output.add_mux_stream('subrip', time_base=Fraction(1, 1000))
        words = av.Packet(b'Is it still raining?')
        words.pts = words.dts = 100
        words.duration, words.time_base, words.stream = 200, Fraction(1, 1000), subtitles
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
        output.mux(words)
    return path


def test_subtitles_are_kept_where_the_container_holds_them_and_named_where_not(tmp_path):
    source = with_subtitles(tmp_path / 'in.mkv', write_video(tmp_path / 'plain.mkv', ramp_frames(8)))
    assert copy(source, tmp_path / 'out.mkv').dropped == []
    assert packets(tmp_path / 'out.mkv', 'subtitle') == [(b'Is it still raining?', Fraction(1, 10))]
    sink = copy(source, tmp_path / 'out.mp4')
    assert len(sink.dropped) == 1 and 'subtitle stream 1' in sink.dropped[0]


def test_sound_that_the_container_cannot_hold_is_refused_before_any_work(tmp_path):
    source = open_source(write_video(tmp_path / 'in.mkv', ramp_frames(3), audio='pcm_u8'))
    with pytest.raises(UserError, match=r'pcm_u8.*out\.mkv'), open_sink(tmp_path / 'out.mp4', like=source):
        pytest.fail('the block must not be entered')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['in.mkv']


def test_video_appears_only_when_it_is_whole(tmp_path, film):
    def names():
        return sorted(path.name for path in tmp_path.iterdir())

    (tmp_path / 'out.mp4').write_bytes(b'earlier result')
    with pytest.raises(KeyboardInterrupt), open_sink(tmp_path / 'out.mp4', like=None) as sink:
        for frame in ramp_frames(3):
            sink.write(frame)
        assert names() == ['.out.part.mp4', 'film.mp4', 'out.mp4']
        raise KeyboardInterrupt
    assert names() == ['film.mp4', 'out.mp4']
    assert (tmp_path / 'out.mp4').read_bytes() == b'earlier result'


def test_video_without_frames_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match='no frame'), open_sink(tmp_path / 'out.mp4'):
        pass
    assert not list(tmp_path.iterdir())


# --- bad videos ------------------------------------------------------------------------------------------------------

def cut(path, share):
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    return path


def index_in_front(path, source):
    """The same MP4 with its index before the data, as streaming sites deliver it."""
    with av.open(str(source)) as container, \
            av.open(str(path), 'w', container_options={'movflags': '+faststart'}) as output:
        stream = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    return path


@pytest.mark.parametrize('share', [.5, .95])
@pytest.mark.parametrize('kind', ['mp4', 'faststart', 'mkv', 'avi'])
def test_cut_off_videos_are_recognised_before_any_work(tmp_path, film, kind, share):
    if kind == 'faststart':
        path = index_in_front(tmp_path / 'in.mp4', film)
    elif kind == 'avi':
        path = write_video(tmp_path / 'in.avi', ramp_frames(10), codec='mpeg4')
    else:
        path = write_video(tmp_path / f'in.{kind}', ramp_frames(10), audio='aac')
    assert open_source(path).size == (48, 64)
    with pytest.raises(UserError, match=rf'in\.{path.suffix[1:]} is cut off'):
        open_source(cut(path, share))


def bad_missing(path):
    return path


def bad_empty(path):
    path.touch()


def bad_text(path):
    path.write_text('This is a text, and no FFmpeg demuxer may make a video of it.\n' * 40)


def bad_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def bad_playlist(path):
    path.write_text('ffconcat version 1.0\nfile other.mp4\n')


def bad_audio_only(path):
    source = write_video(path.with_name('both.mp4'), ramp_frames(3), audio='aac')
    with av.open(str(source)) as container, av.open(str(path), 'w', format='mp4') as output:
        stream = output.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(audio=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)


def bad_zero_frames(path):
    with av.open(str(path), 'w', format='avi') as output:
        stream = output.add_stream('mpeg4', rate=25)
        stream.width = stream.height = 32
        output.start_encoding()


def bad_cover_only(path):
    """An audio file whose only picture is its cover."""
    source = write_video(path.with_name('both.mp4'), ramp_frames(3), audio='mp2')
    with av.open(str(source)) as container, av.open(str(path), 'w', format='mp3') as output:
        stream = output.add_stream_from_template(container.streams.audio[0])
        cover = output.add_stream('png', rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, 'rgb24'
        cover.disposition = av.stream.Disposition.attached_pic.value
        output.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))))
        for packet in container.demux(audio=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)


@pytest.mark.parametrize(('make', 'fault'), [
    (bad_missing, 'does not exist'), (bad_empty, 'empty'), (bad_text, 'not a video'), (bad_noise, 'not a video'),
    (bad_playlist, 'not a video'), (bad_audio_only, 'no video in it, only audio'), (bad_zero_frames, 'no frames'),
    (bad_cover_only, 'no video in it')])
@pytest.mark.parametrize('name', ['bad.mp4', 'bad.txt', 'bad'])
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path, make, fault, name):
    path = tmp_path / name
    make(path)
    with pytest.raises(UserError, match=fault) as caught:
        open_source(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_fifo_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.mp4')
    with pytest.raises(UserError, match='not a regular file'):
        open_source(tmp_path / 'pipe.mp4')


def test_change_of_size_names_the_frame(tmp_path):
    parts = [write_video(tmp_path / f'{index}.ts', ramp_frames(5, size)) for index, size in
             enumerate([(48, 64), (64, 64)])]
    path = tmp_path / 'in.ts'
    path.write_bytes(b''.join(part.read_bytes() for part in parts))
    with pytest.raises(UserError, match='from 64x48 to 64x64 at frame 5'):
        list(open_source(path))


def test_damage_names_how_many_frames_can_be_read(tmp_path):
    path = write_video(tmp_path / 'in.mov', ramp_frames(6), codec='png', pix_fmt='rgb24')
    with av.open(str(path)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][4]
    data = bytearray(path.read_bytes())
    start = data.index(b'\x89PNG', position)
    data[start:start + 8] = bytes(8)
    path.write_bytes(data)
    with pytest.raises(UserError, match='cannot be decoded beyond its first 4 frames'):
        list(open_source(path))


# --- outputs that cannot be written ----------------------------------------------------------------------------------

def test_suffixes_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(UserError, match=r'out\.wmv.*\.mkv.*\.mp4'):
        open_sink(tmp_path / 'out.wmv')


@pytest.mark.parametrize('name', ['nowhere/out.mp4', 'nowhere/out.png', 'nowhere/out'])
def test_missing_folder_is_named(tmp_path, name):
    with pytest.raises(UserError, match='nowhere'), open_sink(tmp_path / name) as sink:
        sink.write(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs a folder that even root cannot write to')
@pytest.mark.parametrize('name', ['out.mp4', 'out.png', 'out'])
def test_place_that_may_not_be_written_to_is_named(name):
    with pytest.raises(UserError, match=rf'/proc/{name}'), open_sink(f'/proc/{name}') as sink:
        sink.write(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize('name', ['out.mp4', 'out.mkv', 'out'])
def test_full_disk_is_one_sentence_and_leaves_no_part(tmp_path, name):
    # a limit on the size of files stands in for the full disk: writing fails in the same calls
    script = f"""
import resource, signal, sys
import numpy as np
from mmweather.errors import UserError
from mmweather.inference import open_sink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
frames = np.random.default_rng(0).integers(0, 256, (60, 96, 96, 3), dtype=np.uint8)
try:
    with open_sink({str(tmp_path / name)!r}) as sink:
        for frame in frames:
            sink.write(frame)
except UserError as error:
    print(error)
    sys.exit(error.exit_code)
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert name in done.stdout and 'free some space' in done.stdout
    assert done.stderr == ''
    assert [path for path in tmp_path.rglob('*') if path.is_file()] == []


# --- images ----------------------------------------------------------------------------------------------------------

def image(size=(20, 30), channels=3, dtype=np.uint8, seed=0):
    shape = size if channels == 1 else (*size, channels)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write(path, array, *flags):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), array, list(flags))
    return path


def test_folder_is_read_in_natural_order_without_what_is_no_image(tmp_path):
    for index in (10, 2, 1):
        write(tmp_path / 'in' / f'frame{index}.png', np.full((4, 4, 3), index, np.uint8))
    (tmp_path / 'in' / 'notes.txt').write_text('wet')
    (tmp_path / 'in' / '.hidden.png').write_text('no image')
    (tmp_path / 'in' / 'more.png').mkdir()
    source = open_source(tmp_path / 'in')
    assert source.names == ['frame1.png', 'frame2.png', 'frame10.png']
    assert [int(frame[0, 0, 0]) for frame in source] == [1, 2, 10]
    assert (source.frame_count, source.fps, source.size) == (3, None, (4, 4))


@pytest.mark.parametrize(('suffix', 'channels', 'dtype'), [
    ('.png', 1, np.uint8), ('.png', 3, np.uint8), ('.png', 4, np.uint8),
    ('.png', 1, np.uint16), ('.png', 3, np.uint16), ('.png', 4, np.uint16),
    ('.tif', 3, np.uint16), ('.tiff', 4, np.uint8), ('.bmp', 3, np.uint8), ('.webp', 4, np.uint8)])
def test_images_come_back_as_they_were(tmp_path, suffix, channels, dtype):
    original = image(channels=channels, dtype=dtype)
    flags = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == '.webp' else ()
    write(tmp_path / 'in' / f'a{suffix}', original, *flags)
    source = open_source(tmp_path / 'in')
    frame = next(source.full_depth())
    assert frame.shape == (20, 30, 3) and frame.dtype == dtype
    with open_sink(tmp_path / 'out', like=source) as sink:
        sink.write(frame)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == [f'a{suffix}']
    again = cv2.imread(str(tmp_path / 'out' / f'a{suffix}'), cv2.IMREAD_UNCHANGED)
    assert again.dtype == dtype and again.shape == original.shape
    if suffix == '.webp':
        # colours below full transparency are the encoder's own
        assert np.array_equal(again[..., 3], original[..., 3])
    else:
        assert np.array_equal(again, original)


def test_deep_images_are_iterated_in_eight_bits(tmp_path):
    write(tmp_path / 'a.png', np.array([[0, 128, 129, 257 * 77, 65535]], np.uint16))
    frame = next(iter(open_source(tmp_path / 'a.png')))
    assert frame.dtype == np.uint8
    assert frame[0, :, 1].tolist() == [0, 0, 1, 77, 255]


def test_alpha_goes_with_changed_pixels(tmp_path):
    original = write(tmp_path / 'a.png', image(channels=4))
    source = open_source(original)
    with open_sink(tmp_path / 'b.png', like=source) as sink:
        sink.write(255 - next(iter(source)))
    before, after = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (original, tmp_path / 'b.png'))
    assert np.array_equal(after[..., 3], before[..., 3])
    assert np.array_equal(after[..., :3], 255 - before[..., :3])


def test_formats_without_alpha_or_depth_take_the_rest(tmp_path):
    source = open_source(write(tmp_path / 'a.png', image(channels=4, dtype=np.uint16)))
    for name in ('b.bmp', 'b.jpg'):
        with open_sink(tmp_path / name, like=source) as sink:
            sink.write(next(source.full_depth()))
    written = cv2.imread(str(tmp_path / 'b.bmp'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written[..., ::-1], next(iter(source)))


def test_photographs_are_turned_upright(tmp_path):
    write(tmp_path / 'flat.jpg', np.repeat(np.arange(0, 240, 8, np.uint8)[None, :, None], 16, 0).repeat(3, 2))
    data = (tmp_path / 'flat.jpg').read_bytes()
    # orientation 6: turn clockwise by 90 degrees to view
    exif = b'Exif\0\0' + b'MM\0*' + struct.pack('>IHHHIHHI', 8, 1, 0x0112, 3, 1, 6, 0, 0)
    (tmp_path / 'turned.jpg').write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + data[2:])
    flat, turned = (next(iter(open_source(tmp_path / name))) for name in ('flat.jpg', 'turned.jpg'))
    assert np.array_equal(turned, np.rot90(flat, -1))


def test_jpeg_is_written_with_little_loss(tmp_path):
    smooth = cv2.GaussianBlur(image((64, 64)), (0, 0), 2)
    source = open_source(write(tmp_path / 'a.jpg', smooth, cv2.IMWRITE_JPEG_QUALITY, 100))
    frame = next(iter(source))
    with open_sink(tmp_path / 'b.jpg', like=source) as sink:
        sink.write(frame)
    again = next(iter(open_source(tmp_path / 'b.jpg')))
    assert np.abs(again.astype(int) - frame).mean() < 1


def test_frames_of_a_video_are_numbered_from_zero(tmp_path, film):
    copy(film, tmp_path / 'frames')
    assert sorted(path.name for path in (tmp_path / 'frames').iterdir()) == [f'{index:08d}.png' for index in range(10)]
    assert all(np.array_equal(a, b) for a, b in zip(open_source(tmp_path / 'frames'), open_source(film)))


def test_images_become_a_video_of_the_rate_asked_for(tmp_path):
    for index, frame in enumerate(ramp_frames(4)):
        write(tmp_path / 'in' / f'{index}.png', frame)
    copy(tmp_path / 'in', tmp_path / 'default.mp4')
    copy(tmp_path / 'in', tmp_path / 'film.mp4', fps=FILM)
    assert read_video(tmp_path / 'default.mp4')['rate'] == 25
    assert read_video(tmp_path / 'film.mp4')['rate'] == FILM
    assert read_video(tmp_path / 'film.mp4')['duration'] == 4 / FILM


def test_images_of_another_size_are_named(tmp_path):
    for index, size in enumerate([(8, 8), (8, 8), (8, 10), (9, 8)]):
        write(tmp_path / 'in' / f'{index}.png', image(size))
    frames = iter(open_source(tmp_path / 'in'))
    assert [next(frames).shape for _ in range(2)] == [(8, 8, 3)] * 2
    with pytest.raises(UserError, match=r'2\.png is 10x8 but 0\.png is 8x8'):
        next(frames)


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.bmp', '.tif'])
@pytest.mark.parametrize('share', [.1, .6, .97])
def test_cut_off_images_are_named(tmp_path, suffix, share):
    path = cut(write(tmp_path / f'a{suffix}', image((64, 64))), share)
    with pytest.raises(UserError, match=rf'a\{suffix} (is cut off|is not an image)'):
        open_source(path)


@pytest.mark.parametrize(('make', 'fault'), [
    (bad_missing, 'does not exist'), (bad_empty, 'empty'), (bad_text, 'not an image'), (bad_noise, 'not an image')])
def test_what_is_no_image_is_refused_in_one_sentence(tmp_path, make, fault, capfd):
    path = tmp_path / 'bad.png'
    make(path)
    with pytest.raises(UserError, match=fault) as caught:
        open_source(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)
    assert capfd.readouterr().err == ''


def test_floating_point_images_are_refused(tmp_path):
    write(tmp_path / 'a.tif', np.ones((8, 8, 3), np.float32))
    with pytest.raises(UserError, match=r'a\.tif has float32 samples'):
        open_source(tmp_path / 'a.tif')


def test_folders_without_images_say_so(tmp_path):
    with pytest.raises(UserError, match='holds no images'):
        open_source(tmp_path)
    (tmp_path / 'lq').mkdir()
    with pytest.raises(UserError, match='only folders'):
        open_source(tmp_path)


def test_several_frames_do_not_go_into_one_image(tmp_path, film):
    with pytest.raises(UserError, match=r'out\.png is one image'):
        open_sink(tmp_path / 'out.png', like=open_source(film))
