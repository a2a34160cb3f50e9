"""Uncompressed video through pipes: the YUV4MPEG2 format ("y4m") that ffmpeg, mpv and x264 write and read.

A stream is a line of parameters, and before each frame another line; frames follow as planes of Y, Cb and Cr. Read are
4:2:0, 4:2:2, 4:4:4 and gray in 8 bits, and the former three in 10, 12, 14 and 16 bits; interlaced frames are taken as
they are. Nothing is sought in the stream and no more than a frame is held.
"""
import re
from array import array
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from mmweather.errors import UserError
from mmweather.inference.video import MATRICES, SCALING, default_matrix

__all__ = ['Y4MSink', 'Y4MSource']

_HEADER = b'YUV4MPEG2'
_LONGEST_LINE = 4096
# colour space tags -> pixel formats; where chroma lies within 4:2:0 matters to none of our computations
_SPACES = {'420': 'yuv420p', '420jpeg': 'yuv420p', '420mpeg2': 'yuv420p', '420paldv': 'yuv420p', '422': 'yuv422p',
           '444': 'yuv444p', 'mono': 'gray',
           **{f'{space}p{bits}': f'yuv{space}p{bits}le' for space in (420, 422, 444) for bits in (10, 12, 14, 16)}}


class Y4MSource:
    """Frames from a stream, which can be read once.

    Args:
        stream (BinaryIO): Where to read; nothing is read ahead of the header.

    Attributes:
        path (Path): ``-``, for messages.
        size (tuple[int, int]): Height and width.
        fps (Fraction): Frame rate.
        frame_count (None): Only the end of the stream tells.
        depth (int): Bits per sample.
        names (None): Frames of a video have no names.

    Raises:
        UserError: If the stream is no y4m.
    """

    names = frame_count = None
    path = Path('-')

    def __init__(self, stream):
        self._stream = stream
        words = self._line().split(b' ')
        if words[0] != _HEADER:
            raise UserError("the standard input is not y4m: pipe in what 'ffmpeg -i VIDEO -f yuv4mpegpipe -' writes")
        tags = {word[:1].decode('latin-1'): word[1:].decode('latin-1') for word in words[1:] if word[:1] != b'X'}
        extensions = [word[1:].decode('latin-1') for word in words[1:] if word[:1] == b'X']
        self.space = tags.get('C', '420jpeg')
        if self.space not in _SPACES:
            raise UserError(f'the standard input has frames of kind C{self.space}, which are not known: use 420, 422 '
                            'or 444')
        try:
            self.size = int(tags['H']), int(tags['W'])
            rate, aspect = (_fraction(tags.get(tag)) for tag in 'FA')
        except (KeyError, ValueError) as error:
            raise UserError('the standard input is y4m with a header that makes no sense: its size or rate is wrong'
                            ) from error
        if not 0 < min(self.size) <= max(self.size) < 1 << 16:
            raise UserError('the standard input is y4m with a header that makes no sense: its size or rate is wrong')
        self.fps, self.sample_aspect_ratio = rate or Fraction(25), aspect
        self.full_range = 'COLORRANGE=FULL' in extensions
        self.format = av.VideoFormat(_SPACES[self.space], self.size[1], self.size[0])
        self.depth = self.format.components[0].bits
        self.matrix = default_matrix(*self.size)
        self.times = array('q')

    def __iter__(self):
        """Read the frames.

        Yields:
            ndarray: RGB frames (H, W, 3), uint8, or uint16 in [0, 65535] where they have more than 8 bits.

        Raises:
            UserError: If the stream ends within a frame.
        """
        reformatter = VideoReformatter()
        pixels = 'rgb24' if self.depth == 8 else 'rgb48le'
        height, width = self.size
        count = 0
        while line := self._line(may_end=True):
            if not line.startswith(b'FRAME'):
                raise UserError(f'the standard input is damaged after frame {count}: what follows is no frame')
            picture = av.VideoFrame(width, height, self.format.name)
            for plane in picture.planes:
                self._read_plane(plane, count)
            yield reformatter.reformat(
                picture, format=pixels, interpolation=SCALING, src_colorspace=MATRICES[self.matrix],
                dst_colorspace=MATRICES[self.matrix], dst_color_range=ColorRange.JPEG,
                src_color_range=ColorRange.JPEG if self.full_range else ColorRange.MPEG).to_ndarray()
            count += 1
        if not count:
            raise UserError('the standard input has no frames: see what the command before the pipe says')

    def full_depth(self, start=0):
        """As iterating; a stream can only be read from its start.

        Args:
            start (int): Must be 0. Defaults to 0.

        Returns:
            Iterator[ndarray]: The frames.
        """
        if start:
            raise ValueError('a stream can only be read from its start')
        return iter(self)

    def _read_plane(self, plane, count):
        row = plane.width * (1 if self.depth == 8 else 2)
        data = self._stream.read(plane.height * row)
        if len(data) < plane.height * row:
            raise UserError(f'the standard input ends within frame {count}: see what the command before the pipe says')
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        rows[:, :row] = np.frombuffer(data, np.uint8).reshape(plane.height, row)

    def _line(self, may_end=False):
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b'\n') and not (may_end and not line):
            raise UserError("the standard input is not y4m: pipe in what 'ffmpeg -i VIDEO -f yuv4mpegpipe -' writes")
        return line[:-1]


class Y4MSink:
    """Frames into a stream.

    Args:
        stream (BinaryIO): Where to write.
        like (Y4MSource or VideoSource, optional): Where the frames come from: rate, depth, pixel aspect ratio, and of
            a :class:`Y4MSource` the colour space are taken over. Defaults to None.
        fps (Fraction or int, optional): Frame rate if ``like`` has none. Defaults to None, which means 25.

    Attributes:
        dropped (list[str]): What the stream cannot hold; empty.
    """

    def __init__(self, stream, like=None, *, fps=None):
        self._stream, self._like = stream, like
        self._fps = Fraction(fps or getattr(like, 'fps', None) or 25).limit_denominator(1 << 20)
        self.dropped = []
        self._format = None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self._stream.flush()

    def write(self, frame):
        """Write the next frame.

        Args:
            frame (ndarray): uint8 or uint16 RGB (H, W, 3), of the same size as the frames before it.
        """
        if self._format is None:
            self._begin(*frame.shape[:2])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame),
                                             'rgb24' if frame.dtype == np.uint8 else 'rgb48le')
        picture = self._reformatter.reformat(
            picture, format=self._format.name, interpolation=SCALING, dst_colorspace=MATRICES[self._matrix],
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if self._full_range else ColorRange.MPEG)
        self._stream.write(b'FRAME\n')
        for plane in picture.planes:
            row = plane.width * (1 if self._format.components[0].bits == 8 else 2)
            rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
            self._stream.write(rows[:, :row].tobytes())

    def _begin(self, height, width):
        like, self._reformatter = self._like, VideoReformatter()
        if isinstance(like, Y4MSource):
            space, self._full_range, self._matrix = like.space, like.full_range, like.matrix
        else:
            space = '444' if height % 2 or width % 2 else '420mpeg2'
            if getattr(like, 'depth', 8) > 8:
                space = f'{space[:3]}p10'
            self._full_range, self._matrix = False, getattr(like, 'colorspace', default_matrix(height, width))
        self._format = av.VideoFormat(_SPACES[space], width, height)
        aspect = getattr(like, 'sample_aspect_ratio', None) or Fraction(0)
        ratio = f'{aspect.numerator}:{aspect.denominator}' if aspect else '0:0'
        self._stream.write(
            f'YUV4MPEG2 W{width} H{height} F{self._fps.numerator}:{self._fps.denominator} Ip A{ratio} C{space} '
            f'XCOLORRANGE={"FULL" if self._full_range else "LIMITED"}\n'.encode())


def _fraction(text):
    """A tag such as ``24000:1001``; None where it is missing or says ``0:0``, which means unknown."""
    if text is None:
        return None
    match = re.fullmatch(r'(\d+):(\d+)', text)
    if match is None:
        raise ValueError(text)
    numerator, denominator = map(int, match.groups())
    return Fraction(numerator, denominator) if numerator and denominator else None
