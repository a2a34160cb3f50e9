"""Restoring stereo video: two files with a view each, or one with both views in every frame.

Both views go through the network together and stay in step: whatever differs between them, their size, their rate or
their length, is a fault. Unlike :func:`restore_video` this cannot go on after an interruption.
"""
import time
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path

import torch
from torch import nn

from mmweather.errors import UserError
from mmweather.models.temporal import Resume, restore_frames

from .frames import ImageSource
from .media import open_sink, open_source
from .restore import (
    _PRECISIONS,
    Reading,
    RestoreSummary,
    _ahead,
    _behind,
    _check_output,
    _choose_device,
    _choose_precision,
    _choose_protocol,
    _compiled,
    _memory_fault,
    _quantised,
    load_network,
)

__all__ = ['LAYOUTS', 'restore_stereo']

#: How the views lie in the frames of one file, and the axis of a tensor (3, H, W) along which they follow each other.
LAYOUTS = dict(sbs=2, tb=1)
_WORDS = dict(sbs='side by side', tb='one above the other')


def restore_stereo(sources, outputs, model='pmcn_tiny', checkpoint=None, *, layout=None, device=None, precision='auto',
                   protocol=None, tile=None, scene_cuts=None, overwrite=True, fps=None, codec=None, crf=16,
                   lossless=False, compiled=False, progress=None):
    """Restore a stereo video, from two files to two files or from one to one.

    The views must be rectified: what one of them sees, the other sees in the same row, and further to the left in the
    right view. Frame times, frame rate, audio and subtitles are kept, of each file its own.

    Args:
        sources (Sequence[str or Path]): The left and the right view, or one file with both: videos, folders of images,
            or images.
        outputs (Sequence[str or Path]): As many outputs.
        model (str or nn.Module): Name in the zoo, or a network, for stereo. Defaults to ``'pmcn_tiny'``.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        layout (str, optional): For one file: ``'sbs'``, left beside right, or ``'tb'``, left above right. Defaults to
            None.
        progress (Callable[[int, int or None], None], optional): Called after every frame with the number of stereo
            frames restored and of those in all, if known. Defaults to None.
        device, precision, protocol, tile, scene_cuts, overwrite, fps, codec, crf, lossless, compiled: See
            :class:`Restoration`.

    Returns:
        RestoreSummary: Stereo frames and seconds, with the first output.

    Raises:
        UserError: If the views do not belong together, if the network is none for stereo, or as for
            :func:`restore_video`. Of videos nothing is left then.
    """
    sources, outputs = [Path(source) for source in sources], [Path(output) for output in outputs]
    _check_counts(sources, outputs, layout)
    device = _choose_device(device)
    opened = [open_source(source) for source in sources]
    _check_views(opened, layout)
    if len(outputs) > 1 and outputs[0].absolute() == outputs[1].absolute():
        raise UserError(f'{outputs[0]} is named for both views: name an output for each')
    for source in opened:
        for output in outputs:
            _check_output(source, output, overwrite)
    network = model if isinstance(model, nn.Module) else load_network(model, checkpoint)
    if not getattr(network, 'stereo', False):
        raise UserError(f'{getattr(network, "model_name", type(network).__name__)} restores one view: restore left and '
                        'right by themselves, or choose a model for stereo such as pmcn_tiny')
    precision = _choose_precision(precision, device, network)
    protocol = _choose_protocol(network, protocol, None, tile, scene_cuts, stereo=True)
    readings = [Reading(source, Resume(), keeps_faults=False) for source in opened]
    axis = LAYOUTS.get(layout)
    start, done = time.perf_counter(), 0
    with ExitStack() as stack:
        stack.enter_context(_memory_fault(device))
        sinks = [stack.enter_context(open_sink(output, source, fps=fps, codec=codec, crf=crf, lossless=lossless))
                 for output, source in zip(outputs, opened)]
        if compiled:
            stack.enter_context(_compiled(network))
        write = stack.enter_context(_behind(lambda frames: [sink.write(frame) for sink, frame in zip(sinks, frames)]))
        decoded = stack.enter_context(closing(_ahead(_stereo_frames(readings, axis))))
        restored = stack.enter_context(closing(restore_frames(
            network, decoded, protocol, device, _PRECISIONS[precision], output_device=device)))
        for pair in restored:
            frames = pair.unbind(0) if axis is None else [torch.cat(pair.unbind(0), dim=axis)]
            write([_quantised(frame, reading.depths.popleft()) for frame, reading in zip(frames, readings)])
            done += 1
            if progress:
                progress(done, opened[0].frame_count)
    dropped = dict.fromkeys(name for sink in sinks for name in getattr(sink, 'dropped', ()))
    return RestoreSummary(outputs[0], done, time.perf_counter() - start, str(device), precision, tuple(dropped))


def _stereo_frames(readings, axis):
    """Yield stereo frames (2, 3, H, W) of one or two readings."""
    if axis is not None:
        for frame in readings[0].tensors():
            yield torch.stack(frame.chunk(2, dim=axis))
        return
    views = [reading.tensors() for reading in readings]
    for index, pair in enumerate(zip_longest(*views)):
        for frame, (one, other) in zip(pair, (readings, readings[::-1])):
            if frame is None:
                raise UserError(f'{one.source.path} ends after {index} frames but {other.source.path} goes on: give '
                                'views of the same length')
        # one view may be deeper than the other
        if pair[0].dtype != pair[1].dtype:
            pair = [frame.float() / 255 if frame.dtype == torch.uint8 else frame for frame in pair]
        yield torch.stack(list(pair))


def _check_counts(sources, outputs, layout):
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f"stereo layout '{layout}' is not known: use sbs or tb")
    wanted = 1 if layout else 2
    if len(sources) != wanted or len(outputs) != wanted:
        how = (f'views that lie {_WORDS[layout]} take one input and one output' if layout else
               'stereo video takes two inputs and two outputs, left before right (or one of each with --stereo sbs or '
               'tb)')
        raise UserError(f'{how}, not {len(sources)} and {len(outputs)}: name them all')


def _check_views(sources, layout):
    """Refuse views that cannot belong together."""
    if layout:
        size = sources[0].size
        if size[LAYOUTS[layout] - 1] % 2:
            raise UserError(f'{sources[0].path} is {size[1]}x{size[0]}, which cannot be halved into views that lie '
                            f'{_WORDS[layout]}: choose the layout that it has')
        return
    left, right = sources
    for name, format_value in (('size', lambda size: f'{size[1]}x{size[0]} pixels'),
                               ('fps', lambda fps: 'images' if fps is None else f'{float(fps):.6g} frames per second')):
        values = getattr(left, name), getattr(right, name)
        if values[0] != values[1]:
            raise UserError(f'{left.path} has {format_value(values[0])} but {right.path} has '
                            f'{format_value(values[1])}: give two views of the same scene')
    # what a video's container says of its length may be an estimate
    if isinstance(left, ImageSource) and left.frame_count != right.frame_count:
        raise UserError(f'{left.path} has {left.frame_count} frames but {right.path} has {right.frame_count}: give '
                        'views of the same length')
