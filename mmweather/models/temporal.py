"""How a network moves through time and space, and the one place that runs it over clips of any length and frame size.

A *clip network* takes a handful of frames at once; a *recurrent network* takes one step per frame and carries a state.
Both are run here: windows are slid over time, tiles over the frame, frames are padded to what the network accepts and
cropped back. Everything streams: a frame is held only as long as a window needs it, so memory does not grow with the
length of the video.

Windows start at multiples of their stride, counted from the video's first frame, and at every cut between scenes; a
cut is told from the frames just before it. What becomes of a frame therefore depends on its neighbourhood only, and a
video can be restored piece by piece (:class:`Resume`), on one machine or several, with the same result.

The windowed and tiled protocols that methods publish (windows that overlap in all but one frame, tiles whose interior
borders are thrown away, everything averaged) are a :class:`ClipProtocol` with ``blend='mean'``. The everyday protocol
of a network is ours: fewer overlaps, cross-faded, so that neither windows nor tiles leave a seam.
"""
import math
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from statistics import median
from typing import Any, ClassVar

import torch
from torch import nn

__all__ = ['ClipNetwork', 'ClipProtocol', 'RecurrentNetwork', 'Resume', 'is_out_of_memory', 'lead_in',
           'resolve_protocol', 'restore_clip', 'restore_frames', 'smaller_tiles', 'split_scenes']

# what makes a cut: the least mean difference of the frames' thumbnails, and how many times the usual one that is,
# which is the median of so many differences before it
_CUT, _UNUSUAL, _USUAL = 0.1, 3, 8
# frames that a recurrent network steps through again when its tiles, and with them its states, have to change
_REPLAYED = 4
# tiles are not halved any further: they would be all border
_SMALLEST_TILE = 32


@dataclass(frozen=True)
class ClipProtocol:
    """How windows and tiles cover a video and how their results are merged.

    Along time windows start every ``window - window_overlap`` frames and the last one is anchored at the end of the
    video, so every window is full; a video shorter than ``window`` is run as it is. A scene that begins at a cut gets
    a window that begins there, before those at the next multiples of the stride. Published tiles (``'mean'``) cover
    the frame in the same way, every ``tile - tile_overlap`` pixels. Everyday ones (``'crossfade'``) are as many, but
    only as high and wide as so many need to be.

    Args:
        window (int): Frames per forward pass. Recurrent networks ignore it. Defaults to 1.
        window_overlap (int): Frames that neighbouring windows share. Defaults to 0.
        tile (int, optional): Largest side of the tiles in pixels, None for whole frames. Defaults to None.
        tile_batch (int): Tiles per forward pass, of networks that need to know nothing about the whole frame. Defaults
            to 1.
        tile_overlap (int): Pixels that neighbouring tiles share. Defaults to 0.
        tile_border (int): Pixels along the interior borders of a tile that get weight zero. At most half of
            ``tile_overlap``, since otherwise some pixels would be covered by no tile. Defaults to 0.
        blend (str): ``'mean'`` averages everything that covers a pixel, ``'crossfade'`` weights windows by linear
            ramps and tiles by raised cosines over their overlaps. Defaults to ``'crossfade'``.
        fit (str): How frames come to a size that the network accepts: ``'pad'`` reflects them at the bottom and the
            right and cuts that off again, ``'crop'`` leaves out what exceeds the multiple, so that the result is
            smaller than the input, as some papers score. Defaults to ``'pad'``.
        size_divisor (int, optional): Multiple to fit to, instead of the network's everyday one. Defaults to None.
        scene_cuts (bool): Start anew at every cut between scenes, as if a video ended and another began: neither a
            state nor a window crosses it. Defaults to False.

    Raises:
        ValueError: If the numbers do not make a complete cover.
    """

    window: int = 1
    window_overlap: int = 0
    tile: int | None = None
    tile_overlap: int = 0
    tile_border: int = 0
    blend: str = 'crossfade'
    fit: str = 'pad'
    size_divisor: int | None = None
    scene_cuts: bool = False
    tile_batch: int = 1

    def __post_init__(self):
        if self.window < 1 or not 0 <= self.window_overlap < self.window:
            raise ValueError(f'a window of {self.window} frames cannot overlap its neighbour in '
                             f'{self.window_overlap} frames: the overlap must be at least 0 and less than the window')
        if self.tile is not None and not 0 <= self.tile_overlap < self.tile:
            raise ValueError(f'a tile of {self.tile} pixels cannot overlap its neighbour in {self.tile_overlap} '
                             'pixels: the overlap must be at least 0 and less than the tile')
        if self.tile_border < 0 or 2 * self.tile_border > self.tile_overlap:
            raise ValueError(f'a tile border of {self.tile_border} pixels needs a tile overlap of at least '
                             f'{2 * self.tile_border} pixels, not {self.tile_overlap}')
        if self.tile_batch < 1:
            raise ValueError(f'tile_batch must be at least 1, not {self.tile_batch}')
        if self.blend not in ('mean', 'crossfade'):
            raise ValueError(f"blend must be 'mean' or 'crossfade', not {self.blend!r}")
        if self.fit not in ('pad', 'crop'):
            raise ValueError(f"fit must be 'pad' or 'crop', not {self.fit!r}")


@dataclass
class Resume:
    """Where in a video :func:`restore_frames` begins, so that it goes on as if it had begun with the first frame.

    Args:
        start (int): Number of the first frame to restore: what :func:`lead_in` says for a clip network, any frame for
            a recurrent network whose ``states`` are given. Defaults to 0.
        history (int): How many of the given frames come before ``start``; they only tell what is a cut. Defaults to 0.
        states (dict): The states of a recurrent network by tile, as they are after the frame before ``start``. It is
            kept up to date with every frame that is handed out, so that it can be saved there. Defaults to none.
    """

    start: int = 0
    history: int = 0
    states: dict[int, Any] = field(default_factory=dict)


class _TemporalNetwork(nn.Module):
    """What clip networks and recurrent networks state alike.

    Attributes:
        size_divisor (int): Height and width are padded to a multiple of it. Defaults to 1.
        min_size (int): Height and width are padded to at least this many pixels. Defaults to 1.
        tile (int, optional): Side of the tiles of the everyday protocol, None for whole frames. Defaults to None.
        tile_overlap (int): Overlap of the tiles of the everyday protocol in pixels. Defaults to 32.
        scene_cuts (bool): Whether the everyday protocol starts anew at cuts between scenes. Defaults to False.
        bfloat16_on_cpu (bool): Whether restoring in bfloat16 on a CPU that computes it natively stays within 45 dB
            of float32, so that it may be chosen by itself. Defaults to False.
        channels_last (bool): Whether convolutions are faster with their weights in the channels-last format, in which
            they are put where files are restored. Defaults to False.
        needs_weights (bool): Whether weights must be loaded before the network restores anything; classical methods
            need none. Defaults to True.
        protocols (dict[str, ClipProtocol]): Protocols by name, such as ``'published'``. Defaults to none.
    """

    size_divisor: int = 1
    min_size: int = 1
    tile: int | None = None
    tile_overlap: int = 32
    scene_cuts: bool = False
    bfloat16_on_cpu: bool = False
    channels_last: bool = False
    needs_weights: bool = True
    protocols: ClassVar[dict[str, ClipProtocol]] = {}

    @property
    def default_protocol(self):
        """ClipProtocol: The everyday protocol, made of the network's attributes."""
        return ClipProtocol(tile=self.tile, tile_overlap=0 if self.tile is None else self.tile_overlap,
                            scene_cuts=self.scene_cuts)


class ClipNetwork(_TemporalNetwork):
    """A network that restores several frames in one forward pass.

    A subclass sets the attributes, as class attributes or in ``__init__``, and writes ``forward``.

    Attributes:
        window (int): Frames per forward pass of the everyday protocol. Defaults to 1.
        window_overlap (int): Frames that two windows of the everyday protocol share and that are cross-faded.
            Defaults to 0.
        tile_batch (int): Tiles per forward pass of the everyday protocol. Small tiles are cheap where there is
            attention, and many of them at once keep all cores busy. Defaults to 1.
    """

    window: int = 1
    window_overlap: int = 0
    tile_batch: int = 1

    @property
    def default_protocol(self):
        """ClipProtocol: The everyday protocol, made of the network's attributes."""
        return replace(super().default_protocol, window=self.window, window_overlap=self.window_overlap,
                       tile_batch=self.tile_batch)

    def forward(self, clip):
        """Restore a clip.

        Args:
            clip (Tensor): Frames of shape (N, T, 3, H, W), or (N, T, 2, 3, H, W) for stereo, RGB in [0, 1], with any
                T >= 1, and H and W multiples of ``size_divisor`` and at least ``min_size``.

        Returns:
            Tensor or dict: The restored frames in the input's shape, or a dict that holds them as ``output``.
        """
        raise NotImplementedError

    def survey(self, mean):  # noqa: ARG002
        """Measure what every tile has to know about the whole frame; called where a frame is cut into tiles.

        A network that looks at means over the frame would see another mean in every tile, and tiles would not agree.

        Args:
            mean (Callable): ``mean(function)`` is the mean over the whole frame of what ``function(tile)`` makes of
                the tiles, maps ``(N, C, h, w)`` of a fraction of a tile's size; the result is ``(N, C)``.

        Returns:
            dict: Keyword arguments for :meth:`forward` of every tile. Defaults to none.
        """
        return {}

    def steady(self, clip, output, state):  # noqa: ARG002
        """Make the results of a video steady over time; called for one window after the other.

        Args:
            clip (Tensor): The frames of the window, as they came.
            output (Tensor): The restored frames of the window, of the same shape, tiles already blended.
            state (Any): What the call for the window before returned; None at the beginning of a video, or of a scene
                if the protocol starts anew at cuts.

        Returns:
            tuple: The steadied frames and the new state. Defaults to the frames as they are.
        """
        return output, state


class RecurrentNetwork(_TemporalNetwork):
    """A network that restores one frame per step and carries a state from frame to frame.

    A subclass sets the attributes and writes :meth:`init_state` and :meth:`step`. Frames *after* the current one come
    with each step, as many as ``lookahead`` says; whatever the network needs of the frames *before* it, it keeps in
    its state.

    Attributes:
        lookahead (int): Frames after the current one that a step looks at. Defaults to 0.
    """

    lookahead: int = 0

    def init_state(self, frames):
        """Make the state with which the first frame of a video is restored.

        Args:
            frames (Tensor): What the first call of :meth:`step` will get.

        Returns:
            Any: The state; it is only ever handed to :meth:`step`.
        """
        raise NotImplementedError

    def step(self, frames, state):
        """Restore one frame.

        Args:
            frames (Tensor): The current frame and the ``lookahead`` frames after it, of shape
                (N, 1 + lookahead, 3, H, W), or (N, 1 + lookahead, 2, 3, H, W) for stereo, RGB in [0, 1]. Beyond the
                end of the video the last frame is repeated.
            state (Any): What :meth:`init_state` or the previous step returned.

        Returns:
            tuple: The restored current frame of shape (N, 3, H, W) or (N, 2, 3, H, W), or a dict that holds it as
            ``output``; and the new state.
        """
        raise NotImplementedError


def resolve_protocol(network, protocol=None):
    """Find the protocol that is meant and check that the network can run it.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network.
        protocol (str or ClipProtocol, optional): None for the network's everyday protocol, a name in
            ``network.protocols``, or a protocol. Defaults to None.

    Returns:
        ClipProtocol: The protocol.

    Raises:
        KeyError: If the network has no protocol of that name.
        TypeError: If the network is neither a clip network nor a recurrent network.
        ValueError: If the tiles do not suit the network's ``size_divisor`` and ``min_size``.
    """
    if not isinstance(network, _TemporalNetwork):
        raise TypeError(f'{type(network).__name__} is neither a ClipNetwork nor a RecurrentNetwork')
    if protocol is None:
        protocol = network.default_protocol
    elif isinstance(protocol, str):
        if protocol not in network.protocols:
            known = ', '.join(sorted(network.protocols)) or 'none'
            raise KeyError(f'{type(network).__name__} has no protocol {protocol!r}; it has: {known}')
        protocol = network.protocols[protocol]
    divisor = protocol.size_divisor or network.size_divisor
    if protocol.tile is not None and (protocol.tile % divisor or protocol.tile < network.min_size):
        raise ValueError(f'tiles of {protocol.tile} pixels do not suit {type(network).__name__}: they must be a '
                         f'multiple of {divisor} and at least {_padded_size(1, network.min_size, divisor)}')
    return protocol


def lead_in(network, protocol, index):
    """Find where to begin so that frame ``index`` comes out as if the video had been restored from its start.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network. For a recurrent one the state before frame ``index``
            is needed as well.
        protocol (ClipProtocol): The windows.
        index (int): Number of the frame.

    Returns:
        tuple[int, int]: Number of the first frame to restore, at most ``index``; and how many frames before that one
        must be given to recognise cuts.
    """
    start = index
    if isinstance(network, ClipNetwork):
        stride = protocol.window - protocol.window_overlap
        start = max(0, (index - protocol.window + 1) // stride * stride)
    return start, min(start, _USUAL + 1) if protocol.scene_cuts else 0


def restore_frames(network, frames, protocol=None, device=None, dtype=None, *, clamp=True, output_device='cpu',
                   resume=None, on_smaller=None):
    """Restore a video frame by frame, holding only the frames that a window or a step needs.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network; it is run in evaluation mode, and moved to ``device``.
        frames (Iterable[Tensor]): Frames of shape (3, H, W), or (2, 3, H, W) for stereo, all of the same shape;
            uint8 in [0, 255], which is scaled on the device, or floating point in [0, 1].
        protocol (str or ClipProtocol, optional): None for the network's everyday protocol, a name in
            ``network.protocols``, or a protocol. Defaults to None.
        device (torch.device or str, optional): Where to compute, None for where the network is. Defaults to None.
        dtype (torch.dtype, optional): Type for autocast, None for float32 throughout. Defaults to None.
        clamp (bool): Clamp the result to [0, 1]. Defaults to True.
        output_device (torch.device or str): Where the restored frames are wanted. Defaults to ``'cpu'``.
        resume (Resume, optional): Where in the video ``frames`` begin. Defaults to None, which means at its start.
        on_smaller (Callable[[ClipProtocol], None], optional): If given, tiles are halved when memory does not suffice
            for them, as often as the network allows, and the function is told the new protocol. Defaults to None,
            which lets the fault through.

    Yields:
        Tensor: Restored frames, float32, one for each input frame from ``resume.start`` on and in the same order;
        smaller than those if the protocol crops.

    Raises:
        ValueError: If a frame's shape is not the first frame's, or is no frame's shape at all, or if a protocol that
            crops leaves less than the network's ``min_size``.
    """
    batches = (frame.unsqueeze(0) for frame in frames)
    for restored in _restored(network, batches, protocol, device, dtype, resume, on_smaller):
        restored = restored.squeeze(0)
        yield (restored.clamp(0, 1) if clamp else restored).to(output_device)


def restore_clip(network, clip, protocol=None, *, dtype=None, clamp=True):
    """Restore a clip of any length and frame size; the numbers are those of :func:`restore_frames`.

    Args:
        network (ClipNetwork or RecurrentNetwork): The network; it is run in evaluation mode, where it is.
        clip (Tensor): Frames of shape (N, T, 3, H, W), or (N, T, 2, 3, H, W) for stereo; floating point in [0, 1] or
            uint8 in [0, 255].
        protocol (str or ClipProtocol, optional): None for the network's everyday protocol, a name in
            ``network.protocols``, or a protocol. Defaults to None.
        dtype (torch.dtype, optional): Type for autocast, None for float32 throughout. Defaults to None.
        clamp (bool): Clamp the result to [0, 1]. Defaults to True.

    Returns:
        Tensor: The restored clip, float32, in the shape of ``clip`` and on its device; smaller if the protocol crops.

    Raises:
        ValueError: If ``clip`` has no frames or not the shape of a clip, or see :func:`restore_frames`.
    """
    if clip.ndim not in (5, 6) or clip.shape[1] < 1:
        raise ValueError('expected a clip of shape (N, T, 3, H, W) or (N, T, 2, 3, H, W) with T >= 1, '
                         f'got {tuple(clip.shape)}')
    restored = torch.stack(list(_restored(network, clip.unbind(1), protocol, None, dtype)), dim=1)
    return (restored.clamp(0, 1) if clamp else restored).to(clip.device)


def _restored(network, frames, protocol, device, dtype, resume=None, on_smaller=None):
    """Yield the restored frames (N, [2,] 3, H, W) on the computing device, float32 and not clamped."""
    protocol = resolve_protocol(network, protocol)
    resume = resume or Resume()
    if device is None:
        device = next((tensor.device for tensor in chain(network.parameters(), network.buffers())), None)
    else:
        network.to(device)
    was_training = network.training
    network.eval()
    try:
        frames = _on_device(frames, device)
        tiles = _Tiles(network, protocol, dtype, on_smaller)
        position = resume.start
        run = _run_windows if isinstance(network, ClipNetwork) else _run_steps
        for is_cut, scene in _scenes(_marked(frames, resume.history, protocol.scene_cuts)):
            if is_cut:
                resume.states.clear()
            for output in run(network, scene, tiles, position, resume.states):
                yield output
                position += 1
    finally:
        network.train(was_training)


def _on_device(frames, device):
    """Yield frames as float32 on the device, each checked against the first one's shape."""
    shape = None
    for index, frame in enumerate(frames):
        if frame.ndim not in (4, 5) or frame.shape[-3] != 3 or 0 in frame.shape:
            raise ValueError(f'frame {index} has shape {tuple(frame.shape[1:])}, expected (3, H, W) or (2, 3, H, W)')
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ValueError(f'frame {index} has shape {tuple(frame.shape[1:])}, the frames before it '
                             f'{tuple(shape[1:])}')
        if device is not None:
            frame = frame.to(device, non_blocking=True)
        # uint8 crosses to the device and is scaled there: a quarter of the traffic
        yield frame.float() / 255 if frame.dtype == torch.uint8 else frame.float()


def split_scenes(frames):
    """Splits a stream of frames where one scene is cut to another.

    Frames are compared as thumbnails of 16x16 means, which motion and noise change little and a cut changes much:
    a cut is where the mean difference is at least 0.1, and at least three times the median of the eight differences
    before it, so that a fast pan is none.

    Args:
        frames (Iterable[Tensor]): Frames ``(N, 3, H, W)`` or ``(N, 2, 3, H, W)`` in [0, 1]; a cut in any of the N
            videos is a cut in all.

    Yields:
        Iterator[Tensor]: The frames of one scene. Like the groups of :func:`itertools.groupby` it shares the stream,
        and must be used up before the next scene is asked for.
    """
    for _, scene in _scenes(_marked(frames)):
        yield scene


def _marked(frames, history=0, find_cuts=True):
    """Yield (whether there is a cut before it, frame) of all frames but the first ``history``, which are only seen."""
    before, differences = None, deque(maxlen=_USUAL)
    for index, frame in enumerate(frames):
        is_cut = False
        if find_cuts:
            thumbnail = _thumbnail(frame)
            if before is not None:
                difference = (thumbnail - before).abs().mean((-3, -2, -1)).max().item()
                is_cut = difference >= max(_CUT, _UNUSUAL * median(differences) if differences else 0)
                differences.append(difference)
            before = thumbnail
        if index >= history:
            yield is_cut, frame


def _scenes(marked):
    """Group marked frames into (whether it begins with a cut, frames of the scene)."""
    marked = iter(marked)
    waiting = _take(marked, 1)

    def scene():
        yield waiting.pop()[1]
        for is_cut, frame in marked:
            if is_cut:
                waiting.append((is_cut, frame))
                return
            yield frame

    while waiting:
        yield waiting[0][0], scene()


def _thumbnail(frame):
    return nn.functional.adaptive_avg_pool2d(frame.flatten(0, -4), 16)


def _run_windows(network, frames, tiles, position, states):
    """Slide windows over the frames of a scene, the first of which is frame ``position`` of the video.

    ``states`` holds what :meth:`ClipNetwork.steady` said after the last windows, by the number of the frame after a
    window's first.

    A frame is handed on as soon as no later window can cover it. Since the last window is anchored at the end, that
    is known only once the next stride's frames have been read, or the scene has ended.
    """
    frames = iter(frames)
    protocol = tiles.protocol
    stride = protocol.window - protocol.window_overlap
    weights = _ramps(protocol.window, protocol.window_overlap, 0, protocol.blend)
    buffer = _take(frames, protocol.window)
    if not buffer:
        return
    sums = deque()  # for each frame from the window's first on: the weighted sum of results and the sum of weights
    while True:
        clip = torch.stack(buffer, dim=1)
        output = tiles.run(clip, _run_tile, survey=True)
        before = max((start for start in states if start <= position), default=None)
        with _inference(clip.device, tiles.dtype):
            output, state = network.steady(clip[..., :output.shape[-2], :output.shape[-1]], output, states.get(before))
        if state is not None:
            states[position + 1] = state
            for start in [start for start in states if start <= position - 2 * protocol.window]:
                del states[start]
        for index, restored in enumerate(output.unbind(1)):
            if index < len(sums):
                total, weight = sums[index]
                sums[index] = total.add_(restored, alpha=weights[index]), weight + weights[index]
            else:
                sums.append((restored * weights[index], weights[index]))
        del clip, output, restored

        # to the next multiple of the stride, or as far as there are frames
        coming = _take(frames, stride - position % stride)
        advance = len(coming)
        for total, weight in [sums.popleft() for _ in range(advance or len(sums))]:
            yield total / weight
        if not coming:
            return
        buffer = buffer[advance:] + coming
        position += advance


def _run_tile(tile, _, network, shared):
    return _output(network(tile, **shared))


def _run_steps(network, frames, tiles, position, states):  # noqa: ARG001
    """Step through the frames of a scene with a buffer of the current frame and the frames ahead of it.

    ``states`` holds the state of each tile; after a frame was yielded, that after this frame.
    """
    frames = iter(frames)
    length = 1 + network.lookahead
    buffer = deque(_take(frames, length))
    past = deque(maxlen=_REPLAYED)

    def step(tile, index):
        if index not in states:
            states[index] = network.init_state(tile)
        output, states[index] = network.step(tile, states[index])
        return _output(output)

    def replay():
        states.clear()
        for frames in past:
            tiles.blended(frames, step)

    while buffer:
        repeated = [buffer[-1]] * (length - len(buffer))
        stacked = torch.stack([*buffer, *repeated], dim=1)
        yield tiles.run(stacked, step, replay)
        if tiles.adapts:
            past.append(stacked)
        buffer.popleft()
        buffer.extend(_take(frames, 1))


def is_out_of_memory(error):
    """Whether an exception says that the memory of the machine or of the GPU does not suffice.

    Args:
        error (BaseException): The exception; PyTorch has none of its own for the CPU's memory.

    Returns:
        bool: Whether it does.
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or 'out of memory' in str(error))


def smaller_tiles(network, protocol, size):
    """Halve the tiles of a protocol.

    Args:
        network (ClipNetwork or RecurrentNetwork): States ``size_divisor``, ``min_size`` and ``tile_overlap``.
        protocol (ClipProtocol): The protocol.
        size (tuple[int, int]): Height and width of the frames.

    Returns:
        ClipProtocol or None: With tiles about half as high and wide, one by one; None if the network takes no smaller
        ones.
    """
    divisor = protocol.size_divisor or network.size_divisor
    before = min(protocol.tile or max(size), _padded_size(max(size), 1, divisor))
    tile = _padded_size(max(before // 2, _SMALLEST_TILE), network.min_size, divisor)
    if tile >= before:
        return None
    overlap = min(protocol.tile_overlap or network.tile_overlap, tile // 2)
    return replace(protocol, tile=tile, tile_overlap=overlap, tile_border=min(protocol.tile_border, overlap // 2),
                   tile_batch=1)


class _Tiles:
    """The tiles of a frame, their weights, and the padding to what the network accepts.

    Args:
        network (ClipNetwork or RecurrentNetwork): States ``size_divisor`` and ``min_size``.
        protocol (ClipProtocol): States the tiles and how they are blended.
        dtype (torch.dtype, optional): Type for autocast. Defaults to None.
        on_smaller (Callable[[ClipProtocol], None], optional): Called when tiles were halved for want of memory; None
            lets the fault through. Defaults to None.
    """

    def __init__(self, network, protocol, dtype=None, on_smaller=None):
        self.network, self.protocol, self.dtype, self.on_smaller = network, protocol, dtype, on_smaller
        self.size = None

    @property
    def adapts(self):
        """bool: Whether tiles are halved where memory does not suffice."""
        return self.on_smaller is not None

    def run(self, frames, function, again=None, survey=False):
        """Fit ``frames`` (..., H, W), apply ``function(tile, index)`` to each tile and blend what it returns.

        Where memory does not suffice and that is wanted, it is done once more with smaller tiles, after a call of
        ``again()``. With ``survey`` the function is also given ``network`` and what it says of the whole frame as
        ``shared``.
        """
        if self.size is None:
            self._lay(frames)
        prepare = None
        while True:
            try:
                with _inference(frames.device, self.dtype):
                    if prepare:
                        prepare()
                    if survey:
                        shared = self.network.survey(partial(self.mean, frames)) if self.count > 1 else {}
                        # what is shared is known for one tile at a time
                        batch = 1 if shared else self.protocol.tile_batch
                        return self.blended(frames, partial(function, network=self.network, shared=shared), batch)
                    return self.blended(frames, function)
            except (MemoryError, RuntimeError) as error:
                smaller = self.adapts and is_out_of_memory(error) and smaller_tiles(
                    self.network, self.protocol, self.frame_size)
                if not smaller:
                    raise
            self.protocol, prepare = smaller, again
            self._lay(frames)
            if frames.device.type == 'cuda':
                torch.cuda.empty_cache()
            self.on_smaller(smaller)

    def _lay(self, frames):
        """Lay the tiles over frames (..., H, W)."""
        network, protocol = self.network, self.protocol
        self.frame_size = self.size = tuple(frames.shape[-2:])
        divisor = protocol.size_divisor or network.size_divisor
        if protocol.fit == 'crop':
            self.size = tuple(length // divisor * divisor for length in self.size)
            if min(self.size) < network.min_size:
                height, width = frames.shape[-2:]
                raise ValueError(f'a protocol that crops needs frames of at least {network.min_size} pixels for '
                                 f'{type(network).__name__}, not {width}x{height}')
        tiled = [protocol.tile is not None and length > protocol.tile for length in self.size]
        # where tiles are laid they are laid on the frame itself: padding would only make more of them
        self.padded = [length if is_tiled else _padded_size(length, network.min_size, divisor)
                       for length, is_tiled in zip(self.size, tiled)]
        self.rows, self.columns = (
            _cover(length, protocol, frames.device, network.min_size, divisor) if is_tiled
            else [(slice(0, length), None)] for length, is_tiled in zip(self.padded, tiled))

    @property
    def count(self):
        """int: Number of tiles."""
        return len(self.rows) * len(self.columns)

    def mean(self, frames, function):
        """Mean over the frame of ``function(tile)``, maps ``(N, C, h, w)``, weighted as tiles are blended."""
        height, width = self.size
        frames = _reflect(frames[..., :height, :width], *self.padded)
        total = 0
        for rows, row_weights in self.rows:
            for columns, column_weights in self.columns:
                maps = function(frames[..., rows, columns].contiguous()).float()
                shares = [_shares(part, weights, length, size).to(maps.device) for part, weights, length, size in zip(
                    (rows, columns), (row_weights, column_weights), self.padded, maps.shape[-2:])]
                total = total + torch.einsum('nchw,h,w->nc', maps, *shares)
        return total

    def blended(self, frames, function, batch=1):
        """Fit ``frames`` (N, ..., H, W), apply ``function(tiles, index)`` to each tile and blend what it returns.

        ``batch`` tiles at a time are stacked along the first dimension; ``index`` is the number of the first of them.
        """
        height, width = self.size
        frames = _reflect(frames[..., :height, :width], *self.padded)
        if self.count == 1:
            return function(frames, 0)[..., :height, :width].float()
        blended = None
        tiles = [(row, column) for row in self.rows for column in self.columns]
        for index in range(0, len(tiles), batch):
            places = tiles[index:index + batch]
            stacked = torch.cat([frames[..., rows, columns] for (rows, _), (columns, _) in places])
            outputs = function(stacked, index).float().split(len(frames))
            for ((rows, row_weights), (columns, column_weights)), output in zip(places, outputs):
                if blended is None:
                    blended = output.new_zeros((*output.shape[:-2], *self.padded))
                if row_weights is not None:
                    output = output * row_weights[:, None]
                if column_weights is not None:
                    output = output * column_weights
                blended[..., rows, columns] += output
        return blended[..., :height, :width]


def _cover(length, protocol, device, min_size, divisor):
    """Lay tiles along one side of a frame that is longer than a tile.

    Returns:
        list[tuple[slice, Tensor]]: Where each tile lies, and its weights, which add up to one at every pixel.
    """
    tile, overlap = protocol.tile, protocol.tile_overlap
    if protocol.blend == 'crossfade':
        count = -(-(length - overlap) // (tile - overlap))
        tile = min(tile, _padded_size(-(-(length + (count - 1) * overlap) // count), min_size, divisor))
    starts = [*range(0, length - tile, tile - overlap), length - tile]
    weights = torch.zeros(len(starts), length, dtype=torch.float64)
    for index, start in enumerate(starts):
        weights[index, start:start + tile] = torch.tensor(
            _ramps(tile, overlap, protocol.tile_border, protocol.blend,
                   first=index == 0, last=index == len(starts) - 1), dtype=torch.float64)
    if protocol.blend == 'crossfade':
        # a raised cosine: no kink where a fade begins or ends, which the eye would find
        weights = torch.sin(weights * (math.pi / 2)).square()
    weights /= weights.sum(dim=0)
    weights = weights.float().to(device)
    return [(slice(start, start + tile), weights[index, start:start + tile])
            for index, start in enumerate(starts)]


def _shares(part, weights, length, size):
    """What share of the mean over ``length`` pixels each of ``size`` values along a tile has.

    Args:
        part (slice): Where the tile lies.
        weights (Tensor, optional): The weights of its pixels, None for one each.
        length (int): Pixels of the whole.
        size (int): Values along the tile.

    Returns:
        Tensor: The shares, which add up to one over all tiles.
    """
    pixels = part.stop - part.start
    weights = torch.ones(pixels) if weights is None else weights
    return nn.functional.adaptive_avg_pool1d(weights[None], size)[0] * (pixels / (size * length))


def _ramps(length, overlap, border, blend, first=False, last=False):
    """Weights along a window or tile: zero on its borders, rising and falling over its overlaps, one in between.

    Args:
        length (int): Frames of the window or pixels of the tile.
        overlap (int): How many of them a neighbour shares.
        border (int): How many at each end get weight zero.
        blend (str): ``'mean'`` or ``'crossfade'``; without cross-fade there is no ramp.
        first (bool): No neighbour before this one: no border and no ramp there. Defaults to False.
        last (bool): No neighbour after this one. Defaults to False.

    Returns:
        list[float]: The weights, not yet divided by the sum of everything that covers a pixel.
    """
    fade = overlap - 2 * border if blend == 'crossfade' else 0

    def rise(distance):
        return min(1.0, max(0.0, (distance - border + 1) / (fade + 1)))

    return [min(1.0 if first else rise(index), 1.0 if last else rise(length - 1 - index)) for index in range(length)]


def _padded_size(length, min_size, divisor):
    """Smallest multiple of ``divisor`` that holds ``length`` and ``min_size`` pixels."""
    return -(-max(length, min_size) // divisor) * divisor


def _reflect(frames, height, width):
    """Pad (..., H, W) at the bottom and the right by reflection, repeated where the padding exceeds the frame."""
    for dim, length in ((-2, height), (-1, width)):
        size = frames.shape[dim]
        if size < length < 2 * size:
            # a copy, ten times as quick as gathering single columns
            mirrored = frames.narrow(dim, 2 * size - 1 - length, length - size).flip(dim)
            frames = torch.cat((frames, mirrored), dim)
        elif length > size:
            index = torch.arange(length, device=frames.device) % max(1, 2 * size - 2)
            frames = frames.index_select(dim, torch.minimum(index, (2 * size - 2 - index).abs()))
    return frames


@contextmanager
def _inference(device, dtype):
    """Run without gradients and, if a type other than float32 is given, under autocast."""
    with torch.no_grad():
        if dtype in (None, torch.float32):
            yield
        else:
            with torch.autocast(device.type, dtype):
                yield


def _output(result):
    return result['output'] if isinstance(result, dict) else result


def _take(iterator, count):
    """Up to ``count`` items; fewer only at the end."""
    return list(islice(iterator, count))
