"""What there is to say about an input, what was made of it, and the truth if it is known."""
import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from mmweather.errors import UserError
from mmweather.evaluation import dis_flow, score, warping_error
from mmweather.evaluation.temporal import reliable
from mmweather.inference import open_source

__all__ = ['Comparison', 'Still', 'compare', 'difference_map', 'in_step']

# rows of the frames on which flow is estimated: finer flow says no more about flicker
_FLOW_HEIGHT = 270


@dataclass
class Still:
    """One moment of all videos.

    Attributes:
        index (int): Number of the frame.
        frames (dict[str, ndarray]): uint8 RGB ``(H, W, 3)`` by role.
    """
    index: int
    frames: dict


@dataclass
class Comparison:
    """What :func:`compare` found.

    Attributes:
        paths (dict[str, Path]): The files by role: 'input', 'output' and, if given, 'truth'.
        size (tuple[int, int]): Height and width.
        fps (Fraction or None): Frame rate; None for images.
        frame_count (int): Number of frames.
        indices (list[int]): The frames that were measured.
        psnr (dict[str, list[float]]): PSNR in dB against the truth by the protocol 'vrds', for 'input' and 'output';
            empty without truth.
        ssim (dict[str, list[float]]): SSIM, likewise.
        flicker (dict[str, list[float]]): Root of the warping error to the next frame in grey levels of 255, by role;
            NaN where no flow can be trusted; empty for a single frame.
        stills (list[Still]): Frames to show.
    """
    paths: dict
    size: tuple
    fps: object
    frame_count: int = 0
    indices: list = field(default_factory=list)
    psnr: dict = field(default_factory=dict)
    ssim: dict = field(default_factory=dict)
    flicker: dict = field(default_factory=dict)
    stills: list = field(default_factory=list)

    def means(self):
        """Mean of each measure over the frames measured.

        Returns:
            dict[str, dict[str, float]]: By measure, then by role; NaN where nothing could be measured.
        """
        return {name: {role: _mean(values) for role, values in getattr(self, name).items()}
                for name in ('psnr', 'ssim', 'flicker')}


def compare(source, restored, truth=None, stills=8, samples=300, progress=None):
    """Compare two or three videos frame by frame, in one pass and in flat memory.

    Args:
        source (str or Path): What was restored: a video, a folder of frames or an image.
        restored (str or Path): What became of it.
        truth (str or Path, optional): The clean original. Defaults to None.
        stills (int): Frames to keep for showing, evenly spread. Defaults to 8.
        samples (int): Frames to measure at most, evenly spread. Defaults to 300.
        progress (Callable, optional): Called with the frames done and their number, None if unknown.

    Returns:
        Comparison: The measures and the stills.

    Raises:
        UserError: If a file cannot be read, or if sizes or numbers of frames differ.
        ValueError: If ``stills`` or ``samples`` is not positive.
    """
    if stills < 1 or samples < 1:
        raise ValueError(f'stills and samples must be at least 1, got {stills} and {samples}')
    sources = {'input': open_source(source), 'output': open_source(restored)}
    if truth is not None:
        sources['truth'] = open_source(truth)
    lead = sources['output']
    found = Comparison({role: opened.path for role, opened in sources.items()}, tuple(lead.size),
                       lead.fps or sources['input'].fps)
    expected = lead.frame_count or 10_000
    shown = {round(place) for place in np.linspace(0, max(expected - 1, 0), stills)}
    every = max(1, math.ceil(expected / samples))
    if truth is not None:
        found.psnr, found.ssim = ({'input': [], 'output': []} for _ in range(2))
    pending = None
    for index, frames in enumerate(in_step(sources)):
        if pending is not None:
            _measure_flicker(found, pending, frames)
            pending = None
        if index in shown:
            found.stills.append(Still(index, frames))
        if index % every == 0:
            found.indices.append(index)
            for role in found.psnr:
                scores = score(frames[role], frames['truth'], 'vrds')
                found.psnr[role].append(scores['psnr'])
                found.ssim[role].append(scores['ssim'])
            pending = frames
        found.frame_count = index + 1
        if progress is not None:
            progress(index + 1, lead.frame_count)
    for values in found.flicker.values():
        values.extend([math.nan] * (len(found.indices) - len(values)))
    return found


def in_step(sources):
    """The frames of several sources together.

    Args:
        sources (dict[str, VideoSource or ImageSource]): By role.

    Yields:
        dict[str, ndarray]: One frame of each, uint8 RGB ``(H, W, 3)``.

    Raises:
        UserError: If sizes or numbers of frames differ.
    """
    (first, lead), *others = sources.items()
    for _, other in others:
        if tuple(other.size) != tuple(lead.size):
            raise UserError(f'{other.path} is {_by(other.size)}, but {lead.path} is {_by(lead.size)}: compare videos '
                            f'of one size')
    streams = {role: iter(opened) for role, opened in sources.items()}
    count = 0
    while True:
        frames = {role: next(stream, None) for role, stream in streams.items()}
        ended = [role for role, frame in frames.items() if frame is None]
        if len(ended) == len(frames):
            return
        if ended:
            going = next(role for role in frames if role not in ended)
            raise UserError(f'{sources[ended[0]].path} ends after {count} frames, but {sources[going].path} goes on: '
                            f'compare videos of one length')
        yield frames
        count += 1


def difference_map(frame, reference, gain=4.0):
    """Where two frames differ, as colours.

    Args:
        frame (ndarray): uint8 RGB ``(H, W, 3)``.
        reference (ndarray): Likewise.
        gain (float): How much the mean difference of the channels is amplified. Defaults to 4.0.

    Returns:
        ndarray: uint8 RGB ``(H, W, 3)``, from black (equal) over red to white (64 grey levels apart and more).
    """
    apart = np.abs(frame.astype(np.int16) - reference).mean(axis=2)
    levels = np.clip(apart * gain, 0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_HOT), cv2.COLOR_BGR2RGB)


def _measure_flicker(found, here, there):
    """Adds the flicker between two neighbouring frames, along one flow for all videos."""
    height, width = found.size
    if height > _FLOW_HEIGHT:
        size = (max(2, round(width * _FLOW_HEIGHT / height)), _FLOW_HEIGHT)
        here, there = ({role: cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for role, frame in frames.items()}
                       for frames in (here, there))
    guide = 'truth' if 'truth' in here else 'output'
    if min(here[guide].shape[:2]) < 16:
        return
    flow, back = dis_flow(here[guide], there[guide]), dis_flow(there[guide], here[guide])
    mask = reliable(flow, back)
    for role in here:
        error = warping_error([here[role], there[role]], [flow], [mask])
        found.flicker.setdefault(role, []).append(255 * math.sqrt(error))


def _mean(values):
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _by(size):
    return f'{size[1]}x{size[0]}'
