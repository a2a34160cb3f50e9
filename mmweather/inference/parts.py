"""Restoring with everything that the network found on the way: snow maps, masks, transmission, as videos of their own.

People trust what they can see. A clip network names in its ``parts`` what its forward pass returns besides ``output``;
all of it goes through the same windows and tiles.
"""
import time
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmweather.errors import UserError
from mmweather.models.temporal import ClipNetwork, restore_frames

from .media import open_sink, open_source
from .restore import (
    _PRECISIONS,
    RestoreSummary,
    _check_output,
    _choose_device,
    _choose_precision,
    _choose_protocol,
    _memory_fault,
    _quantised,
    load_network,
)

__all__ = ['WithParts', 'restore_with_parts']


class WithParts(ClipNetwork):
    """A clip network whose output has its parts as further channels.

    Args:
        network (ClipNetwork): Names its ``parts``, each of which is ``(N, T, C, H, W)`` in its result.

    Raises:
        UserError: If it has none.
    """

    _ALIKE = ('window', 'window_overlap', 'size_divisor', 'min_size', 'tile', 'tile_overlap', 'tile_batch',
              'scene_cuts', 'bfloat16_on_cpu', 'protocols')

    def __init__(self, network):
        super().__init__()
        self.names = ('output', *getattr(network, 'parts', ()))
        if len(self.names) == 1:
            raise UserError(f'{type(network).__name__} has no parts to save: leave --save-parts out, or choose a model '
                            'such as svdnet_tiny')
        for name in self._ALIKE:
            setattr(self, name, getattr(network, name))
        self.network = network
        #: list[int]: Channels of the output and of each part, known after the first forward pass.
        self.channels = []

    def forward(self, clip):
        """Restores a clip; returns ``(N, T, 3 + channels of the parts, H, W)``."""
        result = self.network(clip)
        found = [result[name].float() for name in self.names if name in result]
        self.names = tuple(name for name in self.names if name in result)
        self.channels = [part.shape[2] for part in found]
        return torch.cat(found, dim=2)


def restore_with_parts(src, dst, model='svdnet_tiny', checkpoint=None, *, device=None, precision='auto', protocol=None,
                       window=None, tile=None, scene_cuts=None, overwrite=True, fps=None, codec=None, crf=16,
                       lossless=False, progress=None):
    """Restore a video, a folder of frames or an image, and write the network's parts beside the result.

    ``clear.mp4`` has its snow map in ``clear_snow_map.mp4``, and so on. Unlike :func:`restore_video` this cannot go on
    after an interruption.

    Args:
        src (str or Path): A video, a folder of images, or an image.
        dst (str or Path): The output, as for :func:`restore_video`.
        model (str or nn.Module): Name in the zoo, or a network. Defaults to ``'svdnet_tiny'``.
        progress (Callable[[int, int or None], None], optional): Called after every frame with the number of frames
            restored and of frames in all, if known. Defaults to None.

    Returns:
        RestoreSummary: Frames and seconds; its notes name the files of the parts.

    Raises:
        UserError: As :func:`restore_video`, and if the network has no parts.
    """
    dst, device = Path(dst), _choose_device(device)
    source = open_source(Path(src))
    _check_output(source, dst, overwrite)
    network = WithParts(model if isinstance(model, nn.Module) else load_network(model, checkpoint))
    precision = _choose_precision(precision, device, network)
    protocol = _choose_protocol(network, protocol, window, tile, scene_cuts)
    start, done, paths = time.perf_counter(), 0, []
    with ExitStack() as stack:
        stack.enter_context(_memory_fault(device))
        tensors = (torch.from_numpy(frame).permute(2, 0, 1) for frame in source)
        restored = stack.enter_context(closing(restore_frames(
            network, tensors, protocol, device, _PRECISIONS[precision], output_device=device)))
        sinks = []
        for frame in restored:
            if not sinks:
                paths = [dst, *(dst.with_name(f'{dst.stem}_{name}{dst.suffix}') for name in network.names[1:])]
                sinks = [stack.enter_context(open_sink(path, source, fps=fps, codec=codec, crf=crf, lossless=lossless))
                         for path in paths]
            for sink, part in zip(sinks, frame.split(network.channels)):
                sink.write(_quantised(part.expand(3, -1, -1), np.uint8))
            done += 1
            if progress:
                progress(done, source.frame_count)
    notes = f'parts: {", ".join(path.name for path in paths[1:])}'
    return RestoreSummary(dst, done, time.perf_counter() - start, str(device), precision, notes=(notes, ))
