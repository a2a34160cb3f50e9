"""Videos in and out through PyAV (FFmpeg): frames as uint8 RGB, everything else about the video kept.

Kept are the frame times (variable frame rates included), the rational frame rate, the colour matrix and tags, the
pixel aspect ratio, audio and subtitle packets byte for byte, chapters, and the offsets between the streams. Rotation
and mirroring noted in the container are applied, so frames are upright; the written video needs no such note.

Video is written as H.264 in ``yuv420p``, or in ``yuv444p`` where the height or width is odd, since 4:2:0 cannot hold
such a frame and cropping or padding would change its size; HEVC, AV1 and lossless RGB on demand (:data:`CODECS`).
Video of more than 8 bits per sample is written with 10, in lossless FFV1 with up to 16. HDR is refused: the networks
know pictures as screens show them. Interlaced frames are taken as they are, and transparency is dropped.
"""
import math
import os
from array import array
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from mmweather.errors import UserError
from mmweather.inference.files import check_file, part_file, writing_fault

__all__ = ['CODECS', 'MATRICES', 'SCALING', 'VIDEO_SUFFIXES', 'VideoEncoder', 'VideoSink', 'VideoSource',
           'copy_streams', 'default_matrix']

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv')
#: Names of the codecs that video can be written with.
CODECS = ('h264', 'hevc', 'av1', 'ffv1')
# transfer functions of HDR (numbers of H.273)
_HDR = {16: 'PQ', 18: 'HLG'}

#: H.273 matrix coefficients -> swscale's number for them, not all named before PyAV 18
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _SMPTE170M = 1, 6
# swscale's default rounding costs 1.3 grey levels on average in a round trip through yuv420p, this costs 0.4
SCALING = 0x4 | 0x40000 | 0x2000  # SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT, not named before PyAV 18
# top-level boxes of MP4 and MOV
_BOXES = {b'ftyp', b'styp', b'moov', b'moof', b'mdat', b'mfra', b'sidx', b'uuid', b'udta', b'meta', b'wide', b'free',
          b'skip', b'pdin', b'pnot'}
# demuxers that make "video" of any text, or that open further files named in the one they are given
_FOREIGN_FORMATS = {'tty', 'bin', 'xbin', 'adf', 'idf', 'concat', 'hls', 'dash', 'image2', 'lavfi'}


class VideoSource:
    """The frames of a video.

    Args:
        path (str or Path): A file in any container and codec that FFmpeg reads. Audio, cover pictures and all but the
            first video stream are passed over.

    Attributes:
        path (Path): The file.
        size (tuple[int, int]): Height and width of the upright frames.
        fps (Fraction): Average frame rate.
        frame_count (int or None): Number of frames as stated by the container, or estimated from its duration.
        names (None): Frames of a video have no names.
        times (array): Presentation times of the frames read so far, in units of ``time_base``.
        durations (array): Durations of these frames in the same units.
        time_base (Fraction): Seconds per unit of ``times``.
        depth (int): Bits per sample.
        first (int): Number of the first frame in the file, other than 0 after :meth:`cut`.

    Raises:
        UserError: If it is missing, empty, no video, cut off, without frames, not decodable or HDR.
    """

    names = None

    def __init__(self, path):
        self.path = check_file(path)
        self.times = array('q')
        self.durations = array('q')
        self.first, self._stop, self._index = 0, None, None
        with self._container() as container:
            stream = _video_stream(container)
            self.fps = stream.average_rate or stream.guessed_rate or Fraction(25)
            self.time_base, self._ticks, self._step = _time_grid(stream.time_base, self.fps)
            self.frame_count = stream.frames or _estimated_frames(container, stream, self.fps)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise UserError(f'{path} has no frames: record or export it again')
            self._orientation = _orientation(first)
            self.depth = max(component.bits for component in first.format.components)
            self.size = _upright(np.empty((first.height, first.width, 0)), self._orientation).shape[:2]
            self.colorspace = _matrix(first)
            self.color_primaries = stream.codec_context.color_primaries
            self.color_trc = stream.codec_context.color_trc
            if self.color_trc in _HDR:
                raise UserError(f'{path} is HDR video ({_HDR[self.color_trc]}), whose brightness the networks do not '
                                'know: convert it to SDR (BT.709) first')
            self.sample_aspect_ratio = stream.sample_aspect_ratio
            if self.sample_aspect_ratio and self._orientation[0]:
                self.sample_aspect_ratio = 1 / self.sample_aspect_ratio

    def __iter__(self):
        """Decode the video from its start in 8 bits.

        Yields:
            ndarray: Upright uint8 RGB frames (H, W, 3).

        Raises:
            UserError: If the video cannot be decoded to its end or changes its frame size.
        """
        return self._read(0, 'rgb24')

    def full_depth(self, start=0):
        """Decode the video with the depth it has.

        Args:
            start (int): Number of the first frame that is wanted; those before are decoded and left out. Defaults
                to 0.

        Yields:
            ndarray: Upright uint8 RGB frames (H, W, 3), or uint16 in [0, 65535] if the video has more than 8 bits.

        Raises:
            UserError: If the video cannot be decoded to its end or changes its frame size.
        """
        return self._read(start, 'rgb24' if self.depth == 8 else 'rgb48le')

    def index(self):
        """List the frames by their packets, without decoding them, so that frames can be found quickly.

        Returns:
            int or None: The number of frames, None if the container does not say enough about them.
        """
        if self._index is None:
            self._index = self._listed()
            for time, duration in zip(*self._index):
                self._note_time(time, duration)
        return len(self._index[0]) - self.first if self._index[0] else None

    def cut(self, first, stop):
        """From now on, show only some of the frames, as if the video had no others.

        Args:
            first (int): Number of the first frame.
            stop (int): Number of the frame after the last one.
        """
        self.first, self._stop = first, stop
        self.frame_count = stop - first

    @property
    def start_time(self):
        """Fraction: Seconds at which the first frame is shown if the video was cut, otherwise None."""
        return self.times[self.first] * self.time_base if self.first else None

    @property
    def stop_time(self):
        """Fraction: Seconds at which the last frame's time ends if the video was cut, otherwise None."""
        if self._stop is None or len(self.times) < self._stop:
            return None
        return (self.times[self._stop - 1] + self.durations[self._stop - 1]) * self.time_base

    def thumbnails(self, size=256):
        """Decode the key frames only, small.

        Args:
            size (int): Pixels of the longer side. Defaults to 256.

        Yields:
            tuple[Fraction, ndarray]: Seconds from the start of the file, and the uint8 RGB frame (h, w, 3).
        """
        with self._container() as container:
            stream = _video_stream(container)
            stream.codec_context.skip_frame = 'NONKEY'
            for frame in self._decoded(container, stream):
                if frame.pts is not None:
                    scale = min(1., size / max(frame.width, frame.height))
                    height, width = (max(1, round(scale * length)) for length in (frame.height, frame.width))
                    yield frame.pts * stream.time_base, frame.to_ndarray(format='rgb24', width=width, height=height)

    def _listed(self):
        """Presentation times and durations of all packets in the order of presentation; nothing where they are odd."""
        found = []
        with self._container() as container, suppress(av.FFmpegError, OSError):
            stream = _video_stream(container)
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    found.append((packet.pts, packet.duration or 0))
        if any(time is None for time, _ in found):
            return [], []
        found.sort()
        times = [time for time, _ in found]
        if any(after <= before for before, after in zip(times, times[1:])):
            return [], []
        return times, [duration for _, duration in found]

    def _read(self, start, pixels):
        reformatter = VideoReformatter()
        start += self.first
        with self._container() as container:
            stream = _video_stream(container)
            stream.thread_type = 'AUTO'
            found = start and self._index and self._index[0] and self._sought(container, stream, start)
            frames = found or enumerate(self._decoded(container, stream))
            for index, frame in frames:
                if index == self._stop:
                    return
                if index == len(self.times):
                    self._note_time(frame.pts, frame.duration)
                if index < start:
                    continue
                if found and (index >= len(self._index[0]) or frame.pts != self._index[0][index]):
                    raise UserError(f'{self.path} has frames that cannot be found by their times, such as frame '
                                    f'{index}: convert it first, or restore it from its start in one process')
                image = reformatter.reformat(
                    frame, format=pixels, interpolation=SCALING, src_colorspace=MATRICES[_matrix(frame)],
                    dst_colorspace=MATRICES[_matrix(frame)], src_color_range=_color_range(frame),
                    dst_color_range=ColorRange.JPEG).to_ndarray()
                image = _upright(image, self._orientation)
                if image.shape[:2] != self.size:
                    raise UserError(f'{self.path} changes its frame size from {_by(self.size)} to {_by(image.shape)} '
                                    f'at frame {index}: split it there')
                yield np.ascontiguousarray(image)

    def _sought(self, container, stream, start):
        """Frames from number ``start`` on with their numbers, found by its time; None if that does not succeed."""
        wanted = self._index[0][start] if start < len(self._index[0]) else None
        try:
            container.seek(wanted, stream=stream)
            frames = container.decode(stream)
            for frame in frames:
                if frame.is_corrupt or frame.pts is None or frame.pts > wanted:
                    break
                if frame.pts == wanted:
                    return enumerate(chain([frame], self._faultless(frames, start)), start)
        except (av.FFmpegError, OSError, TypeError):
            pass
        container.seek(0)
        return None

    def _note_time(self, time, duration):
        """Append a frame's time; where the container has none, or time stands still, one frame's time further."""
        duration = (duration or 0) * self._ticks or self._step
        if time is None:
            time = self.times[-1] + self._step if self.times else 0
        else:
            time = time * self._ticks
            # a container that rounds times to its ticks is off the true rate by less than one tick on either side
            nearest = self.times[0] + round((time - self.times[0]) / self._step) * self._step if self.times else time
            if abs(time - nearest) < self._ticks:
                time = nearest
            if abs(duration - self._step) < self._ticks:
                duration = self._step
        if self.times and time <= self.times[-1]:
            time = self.times[-1] + 1
        self.times.append(time)
        self.durations.append(duration)

    @contextmanager
    def _container(self):
        missing = _missing_bytes(self.path)
        if missing:
            size = self.path.stat().st_size
            raise UserError(f'{self.path} is cut off ({size:,} of {size + missing:,} bytes are there): copy or '
                            'download it again')
        try:
            # "file:" keeps a name with a colon from being taken for a protocol
            container = av.open(f'file:{self.path}', metadata_errors='replace')
        except (av.FFmpegError, OSError) as error:
            raise UserError(f'{self.path} is not a video that can be read ({_reason(error)}): check that it plays, or '
                            'convert it') from error
        with container:
            if _FOREIGN_FORMATS & set(container.format.name.split(',')):
                raise UserError(f'{self.path} is not a video: give a video, an image or a folder of images')
            if _video_stream(container) is None:
                kinds = ' and '.join(sorted({stream.type for stream in container.streams if stream.type != 'video'}))
                raise UserError(f'{self.path} has no video in it{kinds and f", only {kinds}"}: give a file that has')
            yield container

    def _decoded(self, container, stream):
        """Yield the stream's frames, with decoding faults as UserErrors."""
        return self._faultless(container.decode(stream), 0)

    def _faultless(self, frames, index):
        try:
            for frame in frames:
                yield frame
                index += 1
        except (av.FFmpegError, OSError) as error:
            raise UserError(f'{self.path} cannot be decoded beyond its first {index} frames ({_reason(error)}): it is '
                            'damaged or cut off, so copy it again or convert what plays of it') from error


class VideoEncoder:
    """How frames become the video of a file: codec, quality, pixel format and colour tags.

    Args:
        path (Path): The file, for its suffix and for messages.
        like (VideoSource or ImageSource, optional): Where the frames come from. Defaults to None.
        fps (Fraction or int, optional): Frame rate if ``like`` has none. Defaults to None, which means 25.
        codec (str, optional): One of :data:`CODECS`. Defaults to None, which means H.264, or for lossless video in
            ``.mkv`` FFV1.
        crf (int): Constant rate factor, 0 to 51. Defaults to 16.
        preset (str): Preset of libx264 and libx265. Defaults to ``'medium'``.
        lossless (bool): Keep every frame exactly, in RGB. Defaults to False.

    Attributes:
        time_base (Fraction): Seconds per unit of the times of frames.
        fps (Fraction): The frame rate.

    Raises:
        UserError: If codec, container and options do not go together.
    """

    def __init__(self, path, like=None, *, fps=None, codec=None, crf=16, preset='medium', lossless=False):
        in_matroska = path.suffix.lower() == '.mkv'
        codec = codec or ('ffv1' if lossless and in_matroska else 'h264')
        if codec not in CODECS:
            raise UserError(f"the codec {codec!r} is not known: use {', '.join(CODECS)}")
        if codec == 'ffv1' and not in_matroska:
            raise UserError(f'{path} cannot hold lossless FFV1 video: name it {path.stem}.mkv')
        if codec == 'av1' and lossless:
            raise UserError(f'{path} cannot be lossless AV1: use ffv1, h264 or hevc')
        self.path, self.like = path, like if isinstance(like, VideoSource) else None
        self.fps = Fraction(fps or getattr(like, 'fps', None) or 25).limit_denominator(1 << 20)
        self.time_base = self.like.time_base if self.like else 1 / self.fps
        self.lossless = lossless or codec == 'ffv1'
        # more than 8 bits are kept where the codec can, in whichever of its forms
        self.depth = 8 if self.like is None else self.like.depth
        if codec == 'h264' and lossless and self.depth > 8:
            codec = 'hevc'
        self.codec, self._crf, self._preset = codec, crf, preset
        self.reformatter = VideoReformatter()
        self._matrix = None

    def configure(self, context, height, width):
        """Set a codec context up for frames of a size.

        Args:
            context (CodecContext): The encoder's context, not yet open.
            height (int): Height of the frames.
            width (int): Width of the frames.

        Raises:
            UserError: If the codec cannot hold frames of that size.
        """
        like = self.like
        context.width, context.height = width, height
        context.time_base, context.framerate = self.time_base, self.fps
        context.pix_fmt = self.pix_fmt = self._pixel_format(height, width)
        context.options = self._options()
        if self.codec == 'hevc':
            context.codec_tag = 'hvc1'  # the tag that Apple's players insist on
        # every thread holds frames of its own; more than these are no faster
        context.thread_count = min(16, os.cpu_count() or 1)
        if not self.lossless:
            self._matrix = like.colorspace if like else default_matrix(height, width)
            context.colorspace = self._matrix
            context.color_range = ColorRange.MPEG
        if like:
            context.color_primaries, context.color_trc = like.color_primaries, like.color_trc
            if like.sample_aspect_ratio:
                context.sample_aspect_ratio = like.sample_aspect_ratio

    @property
    def name(self):
        """str: FFmpeg's name of the encoder."""
        if self.codec == 'h264':
            return 'libx264rgb' if self.lossless else 'libx264'
        return {'hevc': 'libx265', 'av1': 'libsvtav1', 'ffv1': 'ffv1'}[self.codec]

    def picture(self, frame, time, duration):
        """Turn a frame into what the encoder takes.

        Args:
            frame (ndarray): uint8 or uint16 RGB (H, W, 3).
            time (int): Its presentation time in ``time_base``.
            duration (int): Its duration.

        Returns:
            av.VideoFrame: The picture.
        """
        pixels = 'rgb24' if frame.dtype == np.uint8 else 'rgb48le'
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), pixels)
        if self._matrix is None:
            picture = self.reformatter.reformat(picture, format=self.pix_fmt, interpolation=SCALING)
        else:
            picture = self.reformatter.reformat(
                picture, format=self.pix_fmt, interpolation=SCALING, dst_colorspace=MATRICES[self._matrix],
                src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG)
        picture.pts, picture.duration, picture.time_base = time, duration, self.time_base
        return picture

    def time(self, index):
        """Presentation time and duration of a frame, as its source has it.

        Args:
            index (int): Number of the frame, which must have been read from the source.

        Returns:
            tuple[int, int]: Both in ``time_base``.
        """
        if self.like is None:
            return index, 1
        index += self.like.first
        if index >= len(self.like.times):
            raise ValueError(f'frame {index} is written before its source has been read that far')
        return self.like.times[index], self.like.durations[index]

    @contextmanager
    def faults(self):
        """Turn faults of writing and encoding inside the block into UserErrors."""
        try:
            yield
        except OSError as error:
            raise writing_fault(self.path, error) from error
        except av.FFmpegError as error:
            raise UserError(f'{self.path} could not be encoded ({_reason(error)}): try another suffix or codec'
                            ) from error

    def _pixel_format(self, height, width):
        if self.codec == 'ffv1':
            bits = next((bits for bits in (8, 10, 12) if bits >= self.depth), 14)
            return 'bgr0' if bits == 8 else f'gbrp{bits}le'
        if self.lossless:
            return 'rgb24' if self.codec == 'h264' else 'gbrp' if self.depth == 8 else 'gbrp10le'
        odd = height % 2 or width % 2
        if odd and self.codec == 'av1':
            raise UserError(f'{self.path} cannot hold frames of {width}x{height} as AV1, which needs even sizes: use '
                            'h264 or hevc')
        return ('yuv444p' if odd else 'yuv420p') + ('' if self.depth == 8 else '10le')

    def _options(self):
        if self.codec == 'ffv1':
            return {'level': '3', 'slicecrc': '1'}
        if self.codec == 'av1':
            return {'crf': str(self._crf), 'preset': '8'}
        quality = {'crf': str(self._crf)}
        if self.lossless:
            quality = {'qp': '0'} if self.codec == 'h264' else {'x265-params': 'lossless=1:log-level=error'}
        elif self.codec == 'hevc':
            quality['x265-params'] = 'log-level=error'
        if self.codec == 'h264':
            # without it x264's choice of quantisers differs from run to run, and what is resumed would differ too
            quality['x264-params'] = 'cpu-independent=1'
        return {**quality, 'preset': self._preset}


class _OnlyChecking(Exception):
    """Leaves a file unwritten."""


class VideoSink:
    """Write a video; it appears under its name when the block ends without an exception.

    Args:
        path (Path): A file with one of :data:`VIDEO_SUFFIXES`.
        like (VideoSource or ImageSource, optional): Where the frames come from. From a video everything but the
            frames is taken over. Defaults to None.
        encoding (dict): Arguments of :class:`VideoEncoder`.

    Attributes:
        dropped (list[str]): Streams of ``like`` that the container cannot hold and that are not essential, in words.
        encoder (VideoEncoder): How frames are encoded.

    Raises:
        UserError: If codec and container do not go together.
    """

    def __init__(self, path, like=None, **encoding):
        self.path = path
        self.dropped = []
        self.encoder = VideoEncoder(path, like, **encoding)
        self._count = 0
        self._copier = None

    def __enter__(self):
        with ExitStack() as stack:
            part = stack.enter_context(part_file(self.path))
            with self.encoder.faults():
                self._container = av.open(f'file:{part}', 'w', container_options=self._muxer_options())
                stack.push(self._close)
                self._stream = self._container.add_stream(self.encoder.name, rate=self.encoder.fps)
                if self.encoder.like:
                    self._copier = _Copier(self.encoder.like, self._container, self.path)
                    self.dropped = self._copier.dropped
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        return self._stack.__exit__(*exception)

    def check(self):
        """See whether the file can be made and what it will have to leave out, without making it.

        Raises:
            UserError: If the file cannot be written or cannot hold the source's sound.
        """
        with suppress(_OnlyChecking), self:
            raise _OnlyChecking

    def write(self, frame):
        """Write the next frame.

        Args:
            frame (ndarray): uint8 or uint16 RGB (H, W, 3), of the same size as the frames before it.

        Raises:
            UserError: If the disk is full or the file cannot be written.
        """
        with self.encoder.faults():
            self._start(*frame.shape[:2])
            time, duration = self.encoder.time(self._count)
            picture = self.encoder.picture(frame, time - self._offset, duration)
            self._container.mux(self._stream.encode(picture))
            self._copy(until=picture.pts)
        self._count += 1

    def write_packets(self, packets, size):
        """Write frames that were encoded as this sink's encoder does it.

        Args:
            packets (Iterable[tuple]): Payload, presentation time, decoding time, duration and whether it is a key
                frame, in decoding order, times as in the source.
            size (tuple[int, int]): Height and width of the frames.

        Raises:
            UserError: If the disk is full or the file cannot be written.
        """
        for payload, pts, dts, duration, is_key in packets:
            with self.encoder.faults():
                self._start(*size)
                packet = av.Packet(payload)
                packet.stream, packet.time_base, packet.is_keyframe = self._stream, self.encoder.time_base, is_key
                packet.pts, packet.dts, packet.duration = pts - self._offset, dts - self._offset, duration
                self._container.mux(packet)
                self._copy(until=pts - self._offset)
            self._count += 1

    @property
    def _offset(self):
        return self._copier.offset if self._copier else 0

    def _copy(self, until):
        if self._copier:
            self._copier.copy(until=until * self.encoder.time_base)

    def _muxer_options(self):
        if self.path.suffix.lower() == '.mkv':
            return {}
        # an index in front lets players start while the file still loads
        options = {'movflags': '+faststart'}
        # the start of a stream is stored in units of the movie, by default milliseconds
        if self.encoder.like and 1000 <= self.encoder.time_base.denominator <= 1_000_000:
            options['movie_timescale'] = str(self.encoder.time_base.denominator)
        return options

    def _start(self, height, width):
        """Set what depends on the frames; the header is written with the first packet."""
        if not self._count:
            self.encoder.configure(self._stream.codec_context, height, width)
            self._stream.time_base = self.encoder.time_base

    def _close(self, kind, error, trace):
        """Finish the file, or only let go of it if the block failed."""
        try:
            if kind is None:
                if not self._count:
                    raise ValueError(f'no frame was written to {self.path}')
                with self.encoder.faults():
                    self._container.mux(self._stream.encode(None))
                    if self._copier:
                        self._copier.copy()
                    self._container.close()
        finally:
            # closed twice after success, which does nothing; after a fault the part file is thrown away, and whether
            # its end could be written is of no interest
            with suppress(av.FFmpegError, OSError):
                self._container.close()
            if self._copier:
                self._copier.close()


def copy_streams(source, path):
    """Move a video into another container without decoding it.

    Args:
        source (VideoSource): The video.
        path (Path): The output, a file with one of :data:`VIDEO_SUFFIXES`, which appears when it is whole.

    Returns:
        list[str]: Streams that the container cannot hold, in words.

    Raises:
        UserError: If the file cannot be written, or cannot hold the sound.
        ValueError: If the container cannot hold the video's codec.
        av.FFmpegError: If the packets do not suit the container, for instance for want of times.
    """
    try:
        with part_file(path) as part, av.open(f'file:{source.path}', metadata_errors='replace') as container, \
                av.open(f'file:{part}', 'w') as output:
            stream = _video_stream(container)
            target = output.add_stream_from_template(stream)
            copier = _Copier(source, output, path)
            try:
                for packet in container.demux(stream):
                    if packet.size:
                        time = packet.pts if packet.dts is None else packet.dts
                        if time is not None:
                            copier.copy(until=time * packet.time_base - copier.start)
                        copier.shift(packet)
                        packet.stream = target
                        output.mux(packet)
                copier.copy()
            finally:
                copier.close()
    except av.FFmpegError:
        raise
    except OSError as error:
        raise writing_fault(path, error) from error
    return copier.dropped


class _Copier:
    """Copies what is not video from the source's file: audio and subtitle packets, tags, chapters.

    The file is opened a second time for it, so that the packets can be taken at the pace of the written frames.

    Args:
        source (VideoSource): The video.
        output (OutputContainer): Where to.
        path (Path): The output's final name, for messages.
    """

    def __init__(self, source, output, path):
        self._output = output
        self._input = av.open(f'file:{source.path}', metadata_errors='replace')
        self.dropped = []
        # transport streams count from wherever their clock stood; the copy starts at zero
        discontinuous = self._input.format.flags & av.format.Flags.ts_discont.value
        start = self._input.start_time if discontinuous else None
        self.start = Fraction(start, av.time_base) if start else Fraction(0)
        is_cut = source.start_time is not None or source.stop_time is not None
        if source.start_time is not None:
            self.start = source.start_time
        # what is heard before the first frame of the file belongs to it, such as the priming of an encoder
        self._span = (-math.inf if source.start_time is None else source.start_time, source.stop_time or math.inf)
        self.offset = round(self.start / source.time_base)
        self._targets = {}
        for stream in self._input.streams:
            if stream.type in ('audio', 'subtitle'):
                self._add(stream, path)
        for key, value in self._input.metadata.items():
            if key.lower() not in ('encoder', 'major_brand', 'minor_version', 'compatible_brands'):
                output.metadata[key] = value
        if not is_cut:
            output.set_chapters(self._input.chapters())
        streams = [self._input.streams[index] for index in self._targets]
        self._packets = self._input.demux(streams) if streams else iter(())
        if is_cut:
            self._packets = filter(self._is_inside, self._packets)
        self._waiting = next(self._packets, None)

    def _is_inside(self, packet):
        """Whether a packet belongs to what was cut out of the video."""
        time = packet.pts if packet.dts is None else packet.dts
        return time is not None and self._span[0] <= time * packet.time_base < self._span[1]

    def _add(self, stream, path):
        try:
            target = self._output.add_stream_from_template(stream)
        except ValueError as error:
            name = f'{stream.type} stream {stream.index} ({_codec_name(stream)})'
            if stream.type == 'audio':
                raise UserError(f'{path} cannot hold the {name} of {self._input.name.removeprefix("file:")}: name the '
                                f'output {path.stem}.mkv') from error
            self.dropped.append(name)
            return
        target.metadata.update(stream.metadata)
        target.disposition = stream.disposition.value
        self._targets[stream.index] = target

    def copy(self, until=None):
        """Copy the packets due by ``until`` seconds, all that are left for None."""
        while self._waiting is not None:
            packet = self._waiting
            time = packet.pts if packet.dts is None else packet.dts
            if until is not None and time is not None and time * packet.time_base - self.start > until:
                return
            if packet.size:  # the last packet of a stream is empty and only says so
                self.shift(packet)
                packet.stream = self._targets[packet.stream.index]
                self._output.mux(packet)
            self._waiting = next(self._packets, None)

    def shift(self, packet):
        """Move a packet's times to where the copy starts."""
        offset = round(self.start / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - offset
        packet.dts = None if packet.dts is None else packet.dts - offset

    def close(self):
        self._input.close()


def _video_stream(container):
    """The first video stream that is not a cover picture."""
    attached = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video
                 if not stream.disposition & attached and stream.codec_context), None)


def _codec_name(stream):
    return stream.codec_context.name if stream.codec_context else 'unknown codec'


def _estimated_frames(container, stream, fps):
    if stream.duration:
        return round(stream.duration * stream.time_base * fps)
    if container.duration:
        return round(Fraction(container.duration, av.time_base) * fps)
    return None


def _time_grid(time_base, fps):
    """Choose a time base in which the container's times and the frame rate are both exact.

    Matroska and transport streams round times to ticks that do not divide the time of a frame, such as milliseconds
    at 24000/1001 frames per second.

    Args:
        time_base (Fraction): Seconds per tick of the container.
        fps (Fraction): Frame rate.

    Returns:
        tuple[Fraction, int, int]: Seconds per unit, units per tick, units per frame. Where the ticks serve as they
        are, or the rate is no standard one and thus no more than an average, one unit is one tick.
    """
    step = 1 / (fps * time_base)
    if step.denominator == 1 or fps.denominator not in (1, 1001) or time_base.numerator != 1:
        return time_base, 1, max(1, round(step))
    units = math.lcm(fps.numerator, time_base.denominator)
    return Fraction(1, units), units // time_base.denominator, units * fps.denominator // fps.numerator


def default_matrix(height, width):
    """What players assume of untagged video: BT.709 from HD on, BT.601 below.

    Args:
        height (int): Height of the frames.
        width (int): Width of the frames.

    Returns:
        int: Number of the matrix coefficients in H.273.
    """
    return _BT709 if max(height, width) >= 1280 or min(height, width) > 576 else _SMPTE170M


def _matrix(frame):
    """The frame's YCbCr matrix (number of H.273), assumed by its size where it is not stated."""
    if frame.colorspace in MATRICES:
        return frame.colorspace
    return default_matrix(frame.height, frame.width)


def _color_range(frame):
    if frame.color_range in (ColorRange.MPEG, ColorRange.JPEG):
        return ColorRange(frame.color_range)
    full = frame.format.is_rgb or frame.format.name.startswith(('yuvj', 'gray', 'pal8', 'mono'))
    return ColorRange.JPEG if full else ColorRange.MPEG


def _orientation(frame):
    """Read (transposed, mirrored left to right, mirrored top to bottom) from the frame's display matrix."""
    data = frame.side_data.get('DISPLAYMATRIX')
    if data is None:
        return False, False, False
    # displayed x = a x + c y, displayed y = b x + d y
    a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
    transposed = abs(b) > abs(a)
    return (True, c < 0, b < 0) if transposed else (False, a < 0, d < 0)


def _upright(image, orientation):
    transposed, left_right, top_bottom = orientation
    image = image.swapaxes(0, 1) if transposed else image
    image = image[:, ::-1] if left_right else image
    return image[::-1] if top_bottom else image


def _missing_bytes(path):
    """How many bytes a file lacks by what its container says of its own length; 0 where it does not say.

    MP4 and MOV are a row of boxes, AVI is one RIFF chunk, Matroska one segment; each states its length in front.
    """
    size = path.stat().st_size
    with open(path, 'rb') as file:
        head = file.read(64)
        if head[4:8] in _BOXES:
            end = 0
            while end < size:
                file.seek(end)
                box = file.read(16)
                length = int.from_bytes(box[:4], 'big')
                if length == 1:
                    length = int.from_bytes(box[8:16], 'big')
                if length < 8 or box[4:8] not in _BOXES:  # to the end of the file, or no box but something appended
                    return 0
                end += length
        elif head[:4] == b'RIFF':
            end = 8 + int.from_bytes(head[4:8], 'little')
        elif head[:4] == b'\x1aE\xdf\xa3':
            length, start = _ebml_size(head, 4)
            file.seek(start + (length or 0))
            segment = file.read(12)
            length, start = _ebml_size(segment, 4) if segment[:4] == b'\x18S\x80g' else (None, 0)
            if length is None:
                return 0
            end = file.tell() - len(segment) + start + length
        else:
            return 0
    return max(0, end - size)


def _ebml_size(data, position):
    """The variable-length number of Matroska at ``position``: (value or None if unknown, position after it)."""
    width = 9 - data[position].bit_length()
    value = int.from_bytes(data[position:position + width], 'big') & ((1 << 7 * width) - 1)
    return (None if value == (1 << 7 * width) - 1 else value), position + width


def _by(shape):
    return f'{shape[1]}x{shape[0]}'


def _reason(error):
    return (error.strerror or str(error)).lower() if isinstance(error, (av.FFmpegError, OSError)) else str(error)
