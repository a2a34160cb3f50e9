"""Sources of frames and sinks for frames, whatever lies behind them: a video, a folder of images, one image.

A *source* is iterable, as often as wanted, over uint8 RGB frames (H, W, 3) and states ``path``, ``fps`` (a Fraction,
or None for images), ``size`` (H, W), ``frame_count`` (None when only decoding would tell; an estimate for some video
containers) and ``names`` (file names, or None for videos). A *sink* is a context manager with ``write(frame)``.
"""
from pathlib import Path

from mmweather.errors import UserError
from mmweather.inference import frames, video

__all__ = ['open_sink', 'open_source']


def open_source(path):
    """Open a video, a folder of images or one image for reading.

    Args:
        path (str or Path): The file or folder. A file counts as an image by its suffix, as a video otherwise.

    Returns:
        VideoSource or ImageSource: The frames.

    Raises:
        UserError: If it is missing, empty, unreadable, cut off, or holds no frames.
    """
    path = Path(path)
    if path.is_dir() or path.suffix.lower() in frames.IMAGE_SUFFIXES:
        return frames.ImageSource(path)
    return video.VideoSource(path)


def open_sink(path, like=None, *, fps=None, codec=None, crf=16, preset='medium', lossless=False):
    """Open a video, a folder of images or one image for writing.

    The suffix says which: an image suffix makes one image, a video suffix a video, no suffix or an existing folder a
    folder of images. Nothing appears under a final name before it is whole: a video when the block ends well, images
    one by one.

    Args:
        path (str or Path): The output.
        like (VideoSource or ImageSource, optional): The source that the frames come from. A video takes its frame
            times, colour tags, audio and subtitles over, images their names, bit depth, grayness and alpha. Defaults
            to None.
        fps (Fraction or int, optional): Frame rate of a video whose source has none. Defaults to None, which means 25.
        codec (str, optional): ``'h264'``, ``'hevc'``, ``'av1'``, or ``'ffv1'`` (lossless, ``.mkv`` only). Defaults to
            None, which means ``'h264'``, or what is best for lossless video.
        crf (int): Constant rate factor, 0 to 51; smaller is better. Defaults to 16.
        preset (str): Preset of libx264 and libx265. Defaults to ``'medium'``.
        lossless (bool): Keep every frame exactly, in RGB. Defaults to False.

    Returns:
        VideoSink or ImageSink: A context manager with ``write(frame)``, which takes RGB frames (H, W, 3), uint8, or
        uint16 in [0, 65535] where the source has more than 8 bits.

    Raises:
        UserError: If the suffix is none that can be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix or suffix in frames.IMAGE_SUFFIXES:
        return frames.ImageSink(path, like)
    if suffix in video.VIDEO_SUFFIXES:
        return video.VideoSink(path, like, fps=fps, codec=codec, crf=crf, preset=preset, lossless=lossless)
    known = ', '.join(sorted((*video.VIDEO_SUFFIXES, *frames.IMAGE_SUFFIXES)))
    raise UserError(f'{path} has a suffix that cannot be written: use one of {known}, or none for a folder of images')
