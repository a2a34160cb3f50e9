"""The page that shows a comparison: one file that needs no network."""
import base64
import json
import math
import tempfile
from itertools import islice
from pathlib import Path

import cv2

from mmweather import __version__
from mmweather.inference import open_sink, open_source
from mmweather.inference.files import part_file, writing

from .comparison import difference_map

__all__ = ['render_page', 'write_page']


def write_page(comparison, output, seconds=10.0, width=960, progress=None):
    """Write the page.

    Args:
        comparison (Comparison): What :func:`~mmweather.report.compare` found.
        output (str or Path): The ``.html`` file.
        seconds (float): As for :func:`render_page`, like all that follow. Defaults to 10.0.
        width (int): Defaults to 960.
        progress (Callable, optional): Defaults to None.

    Raises:
        UserError: If a video cannot be read again or the page cannot be written.
    """
    output = Path(output)
    page = render_page(comparison, seconds, width, progress)
    with part_file(output) as part, writing(output):
        part.write_text(page, encoding='utf-8')


def render_page(comparison, seconds=10.0, width=960, progress=None):
    """Make the page.

    Args:
        comparison (Comparison): What :func:`~mmweather.report.compare` found.
        seconds (float): Length of the videos in the page, from their beginning; 0 leaves them out. Defaults to 10.0.
        width (int): Width to which pictures are shrunk in the page, in pixels. Defaults to 960.
        progress (Callable, optional): Called with the frames encoded and their number.

    Returns:
        str: The HTML document, which holds all that it shows.

    Raises:
        UserError: If a video cannot be read again.
    """
    document = dict(
        version=__version__,
        names={role: path.name for role, path in comparison.paths.items()},
        size=comparison.size,
        fps=float(comparison.fps) if comparison.fps else None,
        frames=comparison.frame_count,
        means=_plain(comparison.means()),
        indices=comparison.indices,
        curves=_plain(dict(psnr=comparison.psnr, ssim=comparison.ssim, flicker=comparison.flicker)),
        stills=[_still(still, width) for still in comparison.stills],
        videos=_videos(comparison, seconds, width, progress))
    template = Path(__file__).with_name('page.html').read_text(encoding='utf-8')
    # a closing tag inside the data would end the script that holds it
    return template.replace('{{DATA}}', json.dumps(document, allow_nan=False).replace('</', '<\\/'))


def _still(still, width):
    pictures = dict(still.frames)
    if 'truth' in pictures:
        pictures['error'] = difference_map(pictures['output'], pictures['truth'])
    pictures['change'] = difference_map(pictures['output'], pictures['input'])
    return dict(index=still.index, pictures={role: _jpeg(_shrunk(picture, width))
                                             for role, picture in pictures.items()})


def _videos(comparison, seconds, width, progress):
    """The beginning of each video as data, small; none if there is nothing to play."""
    if comparison.frame_count < 2 or seconds <= 0:
        return {}
    fps = comparison.fps or 25
    count = max(2, min(comparison.frame_count, math.ceil(seconds * fps)))
    videos, done = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for role, path in comparison.paths.items():
            file = Path(folder) / f'{role}.mp4'
            with open_sink(file, fps=fps, crf=23) as sink:
                for frame in islice(open_source(path), count):
                    sink.write(_even(_shrunk(frame, width)))
                    done += 1
                    if progress is not None:
                        progress(done, count * len(comparison.paths))
            videos[role] = _data('video/mp4', file.read_bytes())
    return videos


def _shrunk(frame, width):
    if frame.shape[1] <= width:
        return frame
    return cv2.resize(frame, (width, max(1, round(frame.shape[0] * width / frame.shape[1]))),
                      interpolation=cv2.INTER_AREA)


def _even(frame):
    """Browsers play H.264 in 4:2:0 only, whose sides are even."""
    height, width = frame.shape[:2]
    return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)


def _jpeg(frame):
    data = cv2.imencode('.jpg', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    return _data('image/jpeg', data.tobytes())


def _data(kind, content):
    return f'data:{kind};base64,{base64.b64encode(content).decode()}'


def _plain(values):
    """Numbers as JSON knows them: those that are none become null."""
    if isinstance(values, dict):
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_plain(value) for value in values]
    return round(float(values), 4) if math.isfinite(values) else None
