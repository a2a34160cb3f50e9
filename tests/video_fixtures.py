"""Videos and networks that the tests of reading, writing and restoring share."""
from fractions import Fraction

import av
import numpy as np

from mmweather.models.temporal import ClipNetwork, ClipProtocol, RecurrentNetwork

FILM = Fraction(24000, 1001)


class Darken(ClipNetwork):
    """Half the brightness, pixel by pixel, in windows and tiles."""

    window, window_overlap = 5, 2
    size_divisor, min_size = 4, 32
    tile, tile_overlap = 64, 16
    protocols = dict(published=ClipProtocol(5, 4, 64, 32, 16, 'mean'))

    def forward(self, clip):
        return dict(output=clip / 2)


class Identity(ClipNetwork):
    """Every frame as it is."""

    def forward(self, clip):
        return clip


class Step(RecurrentNetwork):
    """The mean of the previous, the current and the next frame."""

    lookahead = 1
    size_divisor = 8

    def init_state(self, frames):
        return frames[:, 0]

    def step(self, frames, state):
        return (state + frames[:, 0] + frames[:, 1]) / 3, frames[:, 0]


def ramp_frames(count, size=(48, 64)):
    """Frames uint8 (H, W, 3) that get brighter with time, red to the right, green downwards."""
    height, width = size
    down, right = np.mgrid[0:height, 0:width]
    for index in range(count):
        level = np.full(size, 40 + 8 * (index % 20))
        yield np.stack([100 * right // width + 60, 100 * down // height + 60, level], axis=-1).astype(np.uint8)


def write_video(path, frames, rate=FILM, times=None, time_base=None, audio=None, pix_fmt='yuv420p', codec='libx264',
                tags=None, metadata=None):
    """Write a video with PyAV itself, not with what is tested.

    Args:
        path (Path): Where to.
        frames (Iterable[ndarray]): RGB frames, or frames of ``av`` as they are.
        rate (Fraction): Frame rate.
        times (list[int], optional): Presentation times in ``time_base``; None for one frame after the other.
        time_base (Fraction, optional): Defaults to one frame.
        audio (str, optional): Codec of a second of noise.
        pix_fmt (str): Pixel format.
        codec (str): Encoder.
        tags (dict, optional): Attributes of the encoder, such as ``colorspace``.
        metadata (dict, optional): Tags of the container.

    Returns:
        Path: The path.
    """
    time_base = time_base or 1 / rate
    with av.open(str(path), 'w') as output:
        output.metadata.update(metadata or {})
        video = output.add_stream(codec, rate=rate, options={'crf': '10'} if codec == 'libx264' else {})
        video.pix_fmt = pix_fmt
        video.codec_context.time_base = time_base
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        sound = output.add_stream(audio, rate=44100, layout='mono') if audio else None
        for index, frame in enumerate(frames):
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(frame, 'rgb24')
            if index == 0:
                video.width, video.height = frame.width, frame.height
            frame.pts = times[index] if times else index
            frame.time_base = time_base
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if sound:
            for frame in _noise(sound):
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))
    return path


def _noise(stream):
    samples = np.random.default_rng(0).standard_normal((1, 44100)).astype(np.float32) / 10
    kind = stream.codec_context.format.name
    if kind == 's16':
        samples = (samples * 32767).astype(np.int16)
    elif kind == 'u8':
        samples = (samples * 127 + 128).astype(np.uint8)
    size = stream.codec_context.frame_size or 1024
    for start in range(0, samples.shape[1] - size, size):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start:start + size]), kind, 'mono')
        frame.rate, frame.pts, frame.time_base = 44100, start, Fraction(1, 44100)
        yield frame


def turn(path, matrix):
    """Put a display matrix (a, b, c, d) into the first track of an MP4, as phones do for portrait videos."""
    a, b, c, d = (value << 16 for value in matrix)
    data = bytearray(path.read_bytes())
    start = data.index(b'tkhd') + 44
    data[start:start + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], '>i4').tobytes()
    path.write_bytes(data)
    return path


def read_video(path):
    """Facts about the video stream: dict(frames, times, rate, duration, format, colorspace, color_range, start)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return dict(
            frames=[frame.to_ndarray(format='rgb24') for frame in frames],
            times=[frame.pts * frame.time_base for frame in frames],
            rate=stream.average_rate, duration=stream.duration and stream.duration * stream.time_base,
            format=frames[0].format.name, colorspace=frames[0].colorspace, color_range=frames[0].color_range)


def packets(path, kind='audio'):
    """Payload and time in seconds of all packets of the first stream of a kind."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        return [(bytes(packet), packet.pts * packet.time_base) for packet in container.demux(stream)
                if packet.size]
