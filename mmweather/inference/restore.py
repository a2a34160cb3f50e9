"""Restoring a video, a folder of frames or an image with a network, from file to file.

Decoding, computing and encoding overlap: a thread decodes ahead and a thread encodes behind, each with a short queue,
so that memory stays flat and a slow encoder or decoder hides behind the network. Results are kept segment by segment
(:mod:`mmweather.inference.journal`), so that what is interrupted goes on, and put together at the end.
"""
import threading
import time
from bisect import bisect_left
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmweather.errors import UserError
from mmweather.inference.frames import ImageSink, ImageSource
from mmweather.inference.journal import (
    ImageSegment,
    Journal,
    VideoSegment,
    digest_of_file,
    digest_of_network,
    packets_of,
)
from mmweather.inference.media import open_sink, open_source
from mmweather.inference.memory import keep_freed_memory, return_freed_memory
from mmweather.inference.video import VideoSource
from mmweather.models.temporal import (
    ClipNetwork,
    ClipProtocol,
    RecurrentNetwork,
    Resume,
    is_out_of_memory,
    lead_in,
    resolve_protocol,
    restore_frames,
)
from mmweather.version import __version__

__all__ = ['AUTO', 'Restoration', 'RestoreSummary', 'check_no_checkpoint', 'load_network', 'only_writing',
           'restore_stream', 'restore_video']

# frames that wait between two of the three stages
_QUEUE_LENGTH = 4
# frames that are lost at most when the work is interrupted; encoders begin each segment with a key frame
_SEGMENT = 100
_PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
#: The name that stands for the model that is found out.
AUTO = 'auto'
_PRECISION_NAMES = {'float32': 'fp32', 'bfloat16': 'bf16', 'float16': 'fp16'}


@dataclass(frozen=True)
class RestoreSummary:
    """What :func:`restore_video` did.

    Args:
        output (Path): What was written.
        frames (int): How many frames were restored, those of earlier, interrupted runs not counted.
        seconds (float): How long decoding, restoring and encoding took together.
        device (str): Where the network ran.
        precision (str): ``'fp32'``, ``'bf16'`` or ``'fp16'``.
        dropped (tuple[str]): Streams of the input that the output's container cannot hold, in words.
        busy (float, optional): Share of the time during which the network computed, waiting neither for the decoder
            nor for the encoder. Defaults to None.
        resumed (int): Frames that were there from an interrupted run. Defaults to 0.
        notes (tuple[str]): What else the user should know, such as smaller tiles for want of memory.
    """

    output: Path
    frames: int
    seconds: float
    device: str
    precision: str
    dropped: tuple = ()
    busy: float | None = None
    resumed: int = 0
    notes: tuple = ()

    @property
    def fps(self):
        """float: Frames restored per second."""
        return self.frames / self.seconds if self.seconds else 0.

    def __str__(self):
        facts = f'{self.fps:.3g} frames/s, {self.device}, {self.precision}'
        if self.busy is not None:
            facts += f', network busy {100 * self.busy:.0f} %'
        line = f'{self.output}: {self.frames} frame{"s" if self.frames != 1 else ""} in {self.seconds:.1f} s ({facts})'
        if self.resumed:
            line += f', after {self.resumed} of an earlier run'
        parts = [line, *self.notes]
        return '; '.join([*parts, f'left out: {", ".join(self.dropped)}'] if self.dropped else parts)


def load_network(model='vimpnet_tiny', checkpoint=None):
    """Build a network of the zoo and load its weights.

    Args:
        model (str): Name in the zoo. Defaults to ``'vimpnet_tiny'``.
        checkpoint (str or Path, optional): Weights, in our layout or the authors'; None for those bundled with the
            package. Defaults to None.

    Returns:
        ClipNetwork or RecurrentNetwork: The network in evaluation mode, on the CPU.

    Raises:
        UserError: If there is no such model, no bundled weights of it, or the checkpoint is not one of it.
    """
    from mmweather import zoo
    if checkpoint is None:
        network = zoo.load_bundled(model)
    else:
        network = zoo.build_network(model)
        zoo.load_weights(network, checkpoint)
    if getattr(network, 'channels_last', False):
        _put_channels_last(network)
    return network.eval()


def restore_video(src, dst, model='vimpnet_tiny', checkpoint=None, *, progress=None, announce=None, **options):
    """Restore a video, a folder of frames or an image.

    Frame times, frame rate, audio and subtitles of a video are kept, as are names, bit depth, grayness and alpha of
    images. A folder of images is taken for the frames of a video. The output appears when it is whole; of a folder,
    every image does by itself, and what was restored before an image that cannot be read is kept. Interrupted work
    goes on when the same call is made again.

    Args:
        src (str or Path): A video, a folder of images, or an image.
        dst (str or Path): The output; its suffix says what it is, no suffix or an existing folder means a folder.
        model (str or nn.Module): Name in the zoo, or a network; or ``'auto'``, which finds out what is wrong with the
            input, takes the bundled network that helps, and passes clean inputs through untouched. Defaults to
            ``'vimpnet_tiny'``.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        progress (Callable[[int, int or None], None], optional): Called after every frame with the number of frames
            restored and of frames in all, if known. Defaults to None.
        announce (Callable[[Choice], None], optional): Called with what ``'auto'`` chose before the work begins.
            Defaults to None.
        options: See :class:`Restoration`.

    Returns:
        RestoreSummary or Untouched: Frames and seconds.

    Raises:
        UserError: If the input cannot be read, the output cannot be written, or an option does not suit the network
            or the machine; and if no weights ship for the network that ``'auto'`` would take.
    """
    if model == AUTO:
        from mmweather.inference.auto import choose, pass_through
        check_no_checkpoint(checkpoint)
        choice = choose(src)
        if announce:
            announce(choice)
        if choice.model is None:
            return pass_through(src, dst, progress=progress, **only_writing(options))
        model = choice.model
    with Restoration(src, dst, model, checkpoint, **options) as work:
        work.run(progress=progress)
        return work.finish()


def restore_stream(src, dst, model='vimpnet_tiny', checkpoint=None, *, device=None, precision='auto', protocol=None,
                   window=None, tile=None, scene_cuts=None, fps=None, codec=None, crf=16, lossless=False,
                   compiled=False, progress=None, announce=None):
    """Restore from or to a pipe, where nothing can be resumed: frames go out as soon as they are restored.

    Args:
        src (str, Path or BinaryIO): A video, a folder of images, or a stream of y4m.
        dst (str, Path or BinaryIO): The output, or a stream that y4m is written to.
        model (str or nn.Module): As for :func:`restore_video`; of a stream ``'auto'`` judges the first frames. What
            follows is as for :class:`Restoration`. Defaults to ``'vimpnet_tiny'``.
        progress (Callable[[int, int or None], None], optional): As for :func:`restore_video`. Defaults to None.
        announce (Callable[[Choice], None], optional): As for :func:`restore_video`. Defaults to None.

    Returns:
        RestoreSummary or Untouched: Frames and seconds.

    Raises:
        UserError: As :class:`Restoration`, and if the stream is no y4m or ends within a frame.
    """
    from mmweather.inference.y4m import Y4MSink, Y4MSource
    if model == AUTO:
        from mmweather.inference.auto import AsItIs, Rewindable, choose, choose_for_stream, pass_on
        check_no_checkpoint(checkpoint)
        src = Rewindable(src) if hasattr(src, 'read') else src
        choice = choose_for_stream(src) if hasattr(src, 'read') else choose(src)
        if announce:
            announce(choice)
        if choice.model is None and hasattr(src, 'read') and hasattr(dst, 'write'):
            return pass_on(src, dst)
        model = choice.model or AsItIs()
    device = _choose_device(device)
    source = Y4MSource(src) if hasattr(src, 'read') else open_source(src)
    if hasattr(dst, 'write'):
        sink = Y4MSink(dst, source, fps=fps)
    else:
        dst = Path(dst)
        sink = open_sink(dst, source, fps=fps, codec=codec, crf=crf, lossless=lossless)
    network = model if isinstance(model, nn.Module) else load_network(model, checkpoint)
    precision = _choose_precision(precision, device, network)
    protocol = _choose_protocol(network, protocol, window, tile, scene_cuts)
    notes, start, done = [], time.perf_counter(), 0
    reading = Reading(source, Resume(), keeps_faults=False)

    def note_smaller(smaller):
        notes[:] = [f'went on in tiles of {smaller.tile} pixels because memory ran out']

    with sink, _memory_fault(device), _compiled(network) if compiled else nullcontext(), \
            closing(_ahead(reading.tensors())) as decoded, _behind(sink.write) as write:
        decoded = _timed(decoded)
        restored = restore_frames(network, decoded.items(), protocol, device, _PRECISIONS[precision],
                                  output_device=device, on_smaller=note_smaller)
        with closing(restored):
            for frame in restored:
                write(_quantised(frame, reading.depths.popleft()))
                done += 1
                if progress:
                    progress(done, source.frame_count)
    seconds = time.perf_counter() - start
    return RestoreSummary(dst if isinstance(dst, Path) else Path('-'), done, seconds, str(device), precision,
                          tuple(getattr(sink, 'dropped', ())), max(0., 1 - decoded.seconds / seconds), 0, tuple(notes))


class Restoration:
    """The way from an input to its output, in segments that may be restored one by one.

    Used as a context manager: when the block fails before a segment is whole, nothing is left behind.

    Args:
        src (str or Path): A video, a folder of images, or an image.
        dst (str or Path): The output; its suffix says what it is, no suffix or an existing folder means a folder.
        model (str or nn.Module): Name in the zoo, or a network. Defaults to ``'vimpnet_tiny'``.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        device (str or torch.device, optional): Where to compute. Defaults to None: a GPU if there is one.
        precision (str): ``'fp32'``, ``'bf16'``, ``'fp16'`` (or ``'float32'``, ...), or ``'auto'``: half precision on
            GPUs that compute it natively, and on such CPUs for networks that are known to bear it, float32 elsewhere.
            Defaults to ``'auto'``.
        protocol (str or ClipProtocol, optional): None for the network's everyday windows and tiles, or for instance
            ``'published'``. Defaults to None.
        window (int, optional): Frames per window, instead of the protocol's. Defaults to None.
        tile (int, optional): Side of the tiles in pixels, instead of the protocol's; 0 for whole frames. Defaults to
            None.
        scene_cuts (bool, optional): Whether to start anew at cuts between scenes, instead of the protocol's choice.
            Defaults to None.
        overwrite (bool): Whether an output that exists may be replaced. Defaults to True.
        restart (bool): Begin anew even if an interrupted run could be continued. Defaults to False.
        segment (int): Frames per segment: at most so many are lost when the work is interrupted. Defaults to 100.
        fps (Fraction or int, optional): Frame rate if a video is made of images. Defaults to None, which means 25.
        codec (str, optional): ``'h264'``, ``'hevc'``, ``'av1'``, or ``'ffv1'`` (lossless, ``.mkv`` only). Defaults to
            None, which means ``'h264'``, or what is best for lossless video.
        crf (int): Constant rate factor, 0 to 51; smaller is better. Defaults to 16.
        lossless (bool): Keep every frame exactly as it was restored. Defaults to False.
        memory (int, optional): Bytes that may be used: tiles, and if need be windows, are chosen so that they suffice.
            Defaults to None, which means what is free, and only looks closer where that could be too little.
        preview (float, optional): Restore only so many seconds, from where a video is degraded most. Defaults to
            None.
        compiled (bool): Compile the network with ``torch.compile``. Defaults to False.

    Attributes:
        source (VideoSource or ImageSource): The input.
        notes (list[str]): What the user should know, such as smaller tiles for want of memory.

    Raises:
        UserError: If the input cannot be read, the output cannot be written, or an option does not suit the network
            or the machine.
    """

    def __init__(self, src, dst, model='vimpnet_tiny', checkpoint=None, *, device=None, precision='auto',
                 protocol=None, window=None, tile=None, scene_cuts=None, overwrite=True, restart=False,
                 segment=_SEGMENT, fps=None, codec=None, crf=16, lossless=False, memory=None, preview=None,
                 compiled=False):
        src, self.dst = Path(src), Path(dst)
        self.device = _choose_device(device)
        self.source = open_source(src)
        _check_output(self.source, self.dst, overwrite)
        encoding = dict(fps=fps, codec=codec, crf=crf, lossless=lossless)
        self.sink = open_sink(self.dst, self.source, **encoding)
        self.network = model if isinstance(model, nn.Module) else load_network(model, checkpoint)
        self.precision = _choose_precision(precision, self.device, self.network)
        self.protocol = _choose_protocol(self.network, protocol, window, tile, scene_cuts)
        self.notes = []
        self.is_shared = False
        if preview is not None:
            self.notes.append(_cut_to_preview(self.source, preview))
        self._check_sink()
        self.segment = segment
        self._kind = ImageSegment if isinstance(self.sink, ImageSink) else VideoSegment
        self._journal = Journal(self.dst)
        self._restart = restart
        self._identity = dict(
            version=__version__, input=_digest_of_source(self.source),
            device=self.device.type, precision=self.precision, protocol=asdict(self.protocol), segment=segment,
            memory=memory, preview=preview, compiled=compiled, **{**encoding, 'fps': None if fps is None else str(fps)})
        #: str or None: Digest of the network if it is known; found out where it is not.
        self.network_digest = None
        self._memory = memory
        self._compiled = compiled
        self._seconds, self._computing, self._frames = 0., 0., 0

    def __enter__(self):
        if self.device.type == 'cpu':
            keep_freed_memory()
        if self._restart:
            self._journal.discard()
        network = self.network_digest or digest_of_network(self.network)
        notes = self._journal.open({**self._identity, 'network': network})
        if 'protocol' in notes:
            self.protocol = ClipProtocol(**notes['protocol'])
        else:
            self._suit_memory()
        self.finished = self._journal.finished(self._kind)
        self.resumed = len(self.finished)
        self.count = notes.get('count')
        if self.count is not None and self.finished and max(self.finished) == (self.count - 1) // self.segment:
            self.resumed_frames = (len(self.finished) - 1) * self.segment + (self.count - 1) % self.segment + 1
        else:
            self.resumed_frames = len(self.finished) * self.segment
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None and not self._journal.finished(self._kind):
            self._journal.discard()

    @property
    def needs_state(self):
        """bool: Whether a segment needs to know what came before it, other than some frames."""
        return isinstance(self.network, RecurrentNetwork) or type(self.network).steady is not ClipNetwork.steady

    def run(self, first=0, stop=None, progress=None):
        """Restore the segments that are not there yet.

        Args:
            first (int): Number of the first segment. Defaults to 0.
            stop (int, optional): Number of the segment after the last one. Defaults to None, which means all up to
                the end.
            progress (Callable[[int, int or None], None], optional): Called after every frame with the number of
                frames restored and of frames in all, if known. Defaults to None.

        Raises:
            UserError: If the input cannot be decoded, memory does not suffice, or the output cannot be written.
        """
        if stop is None and self.count is not None:
            stop = -(-self.count // self.segment)
        while stop is None or first < stop:
            if first in self.finished:
                first += 1
                continue
            until = min((index for index in self.finished if index > first), default=stop)
            until = until if stop is None or until is None else min(until, stop)
            self._run(first, until, progress)
            if until is None:
                return
            first = until

    def finish(self):
        """Put the segments together and let go of them.

        Returns:
            RestoreSummary: What was done in this process.

        Raises:
            UserError: If the output cannot be written.
        """
        start = time.perf_counter()
        if self.is_shared:
            self.finished = self._journal.finished(self._kind)
        if self.finished != set(range(len(self.finished))) or not self.finished:
            raise RuntimeError(f'segments of {self.dst} are missing: there are {sorted(self.finished)}')
        if self._kind is VideoSegment:
            segments = [self._journal.segment(index, VideoSegment) for index in range(len(self.finished))]
            with self.sink:
                self.sink.write_packets(packets_of(segments), segments[0].times()[1])
        self._journal.discard()
        self._seconds += time.perf_counter() - start
        return RestoreSummary(
            self.dst, self._frames, self._seconds, str(self.device), self.precision,
            tuple(getattr(self.sink, 'dropped', ())), self._computing / self._seconds if self._frames else None,
            self.resumed_frames, tuple(self.notes))

    def _check_sink(self):
        """See that the output can be made before any work is done for it."""
        if isinstance(self.sink, ImageSink):
            with self.sink:
                pass
        else:
            self.sink.check()

    def _run(self, first, stop, progress):
        """Restore the segments from ``first`` to before ``stop``, or to the end of the input."""
        start = time.perf_counter()
        begin = first * self.segment
        if begin and isinstance(self.source, VideoSource):
            self.source.index()
        end = None if stop is None else stop * self.segment
        resume = self._resume(first)
        reading = Reading(self.source, resume, keeps_faults=isinstance(self.sink, ImageSink))
        index, expected = resume.start, self.source.frame_count
        before = sum(1 for number in self.finished if number < first) * self.segment
        writer = _SegmentWriter(self._journal, self.sink, self._kind, self.segment, begin)
        waiting = 0.
        compiling = _compiled(self.network) if self._compiled else nullcontext()
        with _memory_fault(self.device), compiling, writer:
            with closing(_ahead(reading.tensors())) as decoded, _behind(writer.write) as write:
                decoded = _timed(decoded)
                restored = restore_frames(
                    self.network, decoded.items(), self.protocol, self.device, _PRECISIONS[self.precision],
                    output_device=self.device, resume=resume, on_smaller=self._note_smaller)
                with closing(restored):
                    for frame in restored:
                        depth = reading.depths.popleft()
                        index += 1
                        if index <= begin:
                            continue
                        moment = time.perf_counter()
                        at_border = self.needs_state and index % self.segment == 0
                        write((_quantised(frame, depth), index - 1, dict(resume.states) if at_border else None))
                        self._frames += 1
                        if self.device.type == 'cpu':
                            waiting += time.perf_counter() - moment
                            if index % self.segment == 0:
                                return_freed_memory()
                        if progress:
                            progress(before + index - begin, expected)
                        if index == end:
                            break
            if index > begin and not reading.faults:
                writer.end_segment()
        self.finished |= writer.written
        elapsed = time.perf_counter() - start
        self._seconds += elapsed
        self._computing += max(0., elapsed - decoded.seconds - waiting)
        done = max(0, index - begin)
        if reading.faults:
            if not done:
                raise reading.faults[0]
            raise UserError(f'{reading.faults[0]} (the {index} images before it are in {self.dst})'
                            ) from reading.faults[0]
        if index != end:
            if self.is_shared and index != self._listed():
                raise UserError(f'{self.source.path} says that it has {self._listed()} frames but has {index}: restore '
                                'it in one process')
            self.count = index
            self._journal.note(count=index)

    def _listed(self):
        return self.source.index() if isinstance(self.source, VideoSource) else self.source.frame_count

    def _suit_memory(self):
        """Choose tiles and windows that fit into the memory, and remember them for when the work is resumed."""
        from mmweather.inference.memory import suit_memory
        protocol, note = suit_memory(self.network, self.protocol, self.source.size, self._memory, self.device,
                                     _PRECISIONS[self.precision])
        if note:
            self.notes.append(note)
        if protocol != self.protocol:
            self.protocol = protocol
            self._journal.note(protocol=asdict(protocol))

    def _resume(self, segment):
        """How to begin with a segment."""
        begin = segment * self.segment
        start, history = lead_in(self.network, self.protocol, begin)
        states = {}
        if self.needs_state and begin:
            states = self._journal.load_state(segment, self.network)
            if states is None:  # every frame before is restored once more
                return Resume()
            states = _to_device(states, self.device)
        return Resume(start, history, states)

    def _note_smaller(self, protocol):
        """Memory did not suffice for the tiles: say so, and go on with these, also after an interruption."""
        self.protocol = protocol
        self._journal.note(protocol=asdict(protocol))
        self.notes = [note for note in self.notes if 'memory ran out' not in note]
        self.notes.append(f'went on in tiles of {protocol.tile} pixels because memory ran out')


class Reading:
    """Frames of a source as tensors, for one run over some segments.

    Args:
        source (VideoSource or ImageSource): The source.
        resume (Resume): Where to begin.
        keeps_faults (bool): Note a fault of the source and end there, instead of raising it.

    Attributes:
        depths (deque): Types of the frames from ``resume.start`` on, to be taken off as they are restored.
        faults (list[UserError]): The fault, if there was one.
    """

    def __init__(self, source, resume, keeps_faults):
        self.source, self.keeps_faults = source, keeps_faults
        self.first, self.history = resume.start - resume.history, resume.history
        self.depths, self.faults = deque(), []

    def tensors(self):
        """Yield the frames as tensors (3, H, W), uint8 or float32 in [0, 1]."""
        try:
            for index, frame in enumerate(self.source.full_depth(self.first)):
                if index >= self.history:
                    self.depths.append(frame.dtype)
                if frame.dtype == np.uint16:
                    frame = frame.astype(np.float32) / 65535
                yield torch.from_numpy(frame).permute(2, 0, 1)
        except UserError as error:
            if not self.keeps_faults:
                raise
            self.faults.append(error)


class _SegmentWriter:
    """Cuts the restored frames into segments.

    Args:
        journal (Journal): Where segments are kept.
        sink (VideoSink or ImageSink): The output.
        kind (type): :class:`VideoSegment` or :class:`ImageSegment`.
        length (int): Frames per segment.
        begin (int): Number of the first frame.

    Attributes:
        written (set[int]): Numbers of the segments that are whole.
    """

    def __init__(self, journal, sink, kind, length, begin):
        self.journal, self.kind, self.length = journal, kind, length
        self.target = sink.encoder if kind is VideoSegment else sink
        self.number = begin // length
        self.written = set()
        self._stack, self._put = None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if self._stack:
            stack, self._stack = self._stack, None
            # without an exception a segment is whole; this one is not
            unfinished = error or InterruptedError('the segment is not whole')
            try:
                stack.__exit__(type(unfinished), unfinished, unfinished.__traceback__)
            except type(unfinished):
                if error is not None:
                    raise

    def write(self, item):
        """Write a frame: (the frame, its number, the states after it or None)."""
        frame, index, states = item
        if self._stack is None:
            self._stack = ExitStack()
            segment = self.journal.segment(self.number, self.kind)
            self._put = self._stack.enter_context(segment.writer(self.target, index))
        self._put(frame)
        if (index + 1) % self.length == 0:
            if states is not None:
                self.journal.save_state(self.number + 1, states)
            self.end_segment()
            if states is not None:
                self.journal.drop_states(self.number)

    def end_segment(self):
        """The segment that is being written is whole."""
        if self._stack:
            stack, self._stack = self._stack, None
            stack.close()
            self.written.add(self.number)
            self.number += 1


class _timed:  # noqa: N801
    """Counts the seconds during which items were waited for."""

    def __init__(self, iterable):
        self._iterator, self.seconds = iter(iterable), 0.

    def items(self):
        """Yield the items."""
        while True:
            start = time.perf_counter()
            item = next(self._iterator, None)
            self.seconds += time.perf_counter() - start
            if item is None:
                return
            yield item


def only_writing(options):
    """Those of the options of :class:`Restoration` that say how the output is written.

    Args:
        options (dict): Options by name.

    Returns:
        dict: What :func:`~mmweather.inference.auto.pass_through` takes.
    """
    return {name: options[name] for name in ('overwrite', 'preview', 'fps', 'codec', 'crf', 'lossless')
            if name in options}


def check_no_checkpoint(checkpoint):
    """See that no checkpoint comes with :data:`AUTO`.

    Args:
        checkpoint (str or Path, optional): Has to be None.

    Raises:
        UserError: If it is not.
    """
    if checkpoint is not None:
        raise UserError(f'{checkpoint} is for one model, and auto chooses among them: name the model, or leave the '
                        'checkpoint out')


def _cut_to_preview(source, seconds):
    """Leave of a video the seconds in which it is degraded most, and say which."""
    from mmweather.inference.preview import most_degraded
    if not isinstance(source, VideoSource):
        raise UserError(f'{source.path} is no video, of which a preview could be made: leave out --preview')
    count = source.index() or source.frame_count
    if not count:
        raise UserError(f'{source.path} does not say how many frames it has: leave out --preview')
    length = max(1, min(count, round(seconds * source.fps)))
    moment = most_degraded(source, seconds)
    first = bisect_left(source.times, moment / source.time_base)
    first = max(0, min(first, count - length))
    source.cut(first, first + length)
    begin = float(first / source.fps)
    return f'preview of {begin:.1f} s to {begin + float(length / source.fps):.1f} s'


@contextmanager
def _compiled(network):
    """Have the network's ``forward`` or ``step`` compiled while the block runs."""
    name = 'step' if isinstance(network, RecurrentNetwork) else 'forward'
    setattr(network, name, torch.compile(getattr(network, name)))
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        raise UserError(f'{type(network).__name__} cannot be compiled on this machine '
                        f'({str(error).strip().splitlines()[0]}): leave out --compile') from error
    finally:
        delattr(network, name)


def _digest_of_source(source):
    if isinstance(source, ImageSource):
        return [[file.name, digest_of_file(file)] for file in source.files]
    return [str(source.path.absolute()), digest_of_file(source.path)]


def _put_channels_last(network):
    """Have convolutions run in the channels-last format; every result stays what it is, up to rounding."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            kind = torch.channels_last if isinstance(module, nn.Conv2d) else torch.channels_last_3d
            module.weight.data = module.weight.data.contiguous(memory_format=kind)


def _to_device(value, device):
    """Move the tensors of nested states."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _to_device(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        return type(value)(*(_to_device(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(_to_device(item, device) for item in value)
    if is_dataclass(value):
        return replace(value, **{field.name: _to_device(getattr(value, field.name), device)
                                 for field in fields(value)})
    return value


def _choose_device(device):
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"device '{device}' cannot be used on this machine ({str(error).splitlines()[0].rstrip('.')}): "
                        "choose another, for instance 'cpu'") from error
    return device


def _choose_precision(precision, device, network=None):
    precision = _PRECISION_NAMES.get(precision, precision)
    if precision != 'auto':
        if precision not in _PRECISIONS:
            raise UserError(f"precision '{precision}' is not known: use auto, {', '.join(_PRECISIONS)}")
        return precision
    if device.type == 'cpu' and getattr(network, 'bfloat16_on_cpu', False) and _cpu_has_bfloat16():
        return 'bf16'
    if device.type != 'cuda':
        return 'fp32'
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return 'bf16'
    # tensor cores for float16 came with compute capability 7.0
    return 'fp16' if torch.cuda.get_device_capability(device) >= (7, 0) else 'fp32'


def _cpu_has_bfloat16():
    """Whether the CPU multiplies bfloat16 by itself (AVX-512 BF16 or AMX); elsewhere it is emulated and slow."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _choose_protocol(network, protocol, window, tile, scene_cuts=None, stereo=False):
    """Resolve the protocol with the user's window, tile and scene cuts in it."""
    if getattr(network, 'stereo', False) and not stereo:
        raise UserError(f'{getattr(network, "model_name", type(network).__name__)} restores stereo video: give it two '
                        'inputs and two outputs, left before right, or one of each with --stereo sbs or tb')
    try:
        protocol = resolve_protocol(network, protocol)
        if scene_cuts is not None:
            protocol = replace(protocol, scene_cuts=scene_cuts)
        if window is not None:
            if isinstance(network, RecurrentNetwork):
                raise ValueError(f'{type(network).__name__} goes frame by frame and has no window')
            protocol = replace(protocol, window=window, window_overlap=min(protocol.window_overlap, window - 1))
        if tile == 0:
            protocol = replace(protocol, tile=None, tile_overlap=0, tile_border=0, tile_batch=1)
        elif tile is not None:
            overlap = min(protocol.tile_overlap or network.tile_overlap, tile // 2)
            border = min(protocol.tile_border, overlap // 2)
            protocol = replace(protocol, tile=tile, tile_overlap=overlap, tile_border=border, tile_batch=1)
        return resolve_protocol(network, protocol)
    except (KeyError, ValueError) as error:
        raise UserError(f'{error.args[0]}: choose other values for protocol, window or tile') from error


def _check_output(source, dst, overwrite):
    """Refuse to write over the input, or over anything if that is not wanted."""
    if not dst.exists():
        return
    files = source.files if isinstance(source, ImageSource) else [source.path]
    if dst.is_dir():
        is_input = isinstance(source, ImageSource) and files[0].parent.samefile(dst)
    else:
        is_input = any(file.samefile(dst) for file in files)
    if is_input:
        raise UserError(f'{dst} is where the input lies, which would be overwritten: choose another output')
    if not overwrite and (dst.is_file() or any(dst.iterdir())):
        raise UserError(f'{dst} exists already: choose another name or allow overwriting')


def _quantised(frame, dtype):
    """Round a frame (3, H, W) in [0, 1], on the device, to an array (H, W, 3) of ``dtype``."""
    top = np.iinfo(dtype).max
    # PyTorch computes little with uint16, and int32 holds it
    integer = torch.uint8 if dtype == np.uint8 else torch.int32
    frame = (frame * top).round().to(integer).permute(1, 2, 0).contiguous()
    return frame.cpu().numpy().astype(dtype, copy=False)


@contextmanager
def _memory_fault(device):
    """Say what to do when the memory of the machine or the GPU is too small."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise UserError(f'the memory of {device} is too small for these frames: use smaller tiles') from error
        raise


def _ahead(items):
    """Yield what the generator ``items`` yields; a thread runs it a few items ahead and ends with this generator."""
    with ThreadPoolExecutor(1, 'decode') as thread:
        coming = deque(thread.submit(next, items, None) for _ in range(_QUEUE_LENGTH))
        try:
            while (item := coming.popleft().result()) is not None:
                coming.append(thread.submit(next, items, None))
                yield item
        finally:
            for future in coming:
                future.cancel()
            thread.submit(items.close)


@contextmanager
def _behind(function):
    """Give a function that has ``function`` called by a thread, for up to a few items behind.

    The block's end waits for all calls. After a call that failed no more are made, and its exception is raised by a
    later call or at the end.
    """
    with ThreadPoolExecutor(1, 'encode') as thread:
        waiting = deque()
        failed = threading.Event()

        def call(item):
            if failed.is_set():
                return
            try:
                function(item)
            except Exception:
                failed.set()
                raise

        def put(item):
            if len(waiting) == _QUEUE_LENGTH:
                waiting.popleft().result()
            waiting.append(thread.submit(call, item))

        # when the block fails, what waits is still written: it may complete a segment
        yield put
        while waiting:
            waiting.popleft().result()
