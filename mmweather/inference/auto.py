"""``--model auto``: find out what is wrong with an input, take the network that helps, leave alone what is clean."""
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np

from mmweather.errors import UserError
from mmweather.inference.detection import Detection, choose_model, detect
from mmweather.inference.files import part_file, writing
from mmweather.inference.media import open_sink, open_source
from mmweather.inference.video import VIDEO_SUFFIXES, VideoSource, copy_streams
from mmweather.inference.y4m import Y4MSource
from mmweather.models.temporal import ClipNetwork

__all__ = ['AsItIs', 'Choice', 'Rewindable', 'Untouched', 'choose', 'choose_for_stream', 'pass_on',
           'pass_through']

# frames of a pipe that are judged: it cannot be looked through first
_FIRST_FRAMES = 8


@dataclass(frozen=True)
class Choice:
    """What an input was found to be and what is to be done about it.

    Attributes:
        source (str): The input, for people.
        detection (Detection): What is wrong with it.
        model (str | None): Name of the bundled network, None if the input is to be left as it is.
    """

    source: str
    detection: Detection
    model: str | None

    def __str__(self):
        found = f'{self.source}: {self.detection.name}, {100 * self.detection.confidence:.0f} % sure'
        if self.model:
            return f'{found}, so {self.model} restores it'
        if self.detection.name == 'clean':
            return f'{found}, so it stays as it is'
        return f'{found}, which is too little to go by, so it stays as it is; --model takes a model by its name'


@dataclass(frozen=True)
class Untouched:
    """What :func:`pass_through` did.

    Attributes:
        output (Path): What was written.
        seconds (float): How long it took.
        dropped (tuple[str]): Streams that the output's container cannot hold, in words.
    """

    output: Path
    seconds: float
    dropped: tuple = ()

    def __str__(self):
        line = f'{self.output}: passed through untouched in {self.seconds:.1f} s'
        return f'{line}; left out: {", ".join(self.dropped)}' if self.dropped else line


def choose(source):
    """Choose the model for a video, a folder of frames or an image.

    Args:
        source (str | Path): The input.

    Returns:
        Choice: The model, and why.

    Raises:
        UserError: If the input cannot be read, or no weights ship for the model that would help.
    """
    return _choice(str(source), detect(source))


def choose_for_stream(stream):
    """Choose the model for a stream of y4m by its first frames.

    Args:
        stream (Rewindable): The stream; it is rewound.

    Returns:
        Choice: The model, and why.

    Raises:
        UserError: As :func:`choose`.
    """
    frames = [frame if frame.dtype == np.uint8 else (frame // 257).astype(np.uint8)
              for frame in islice(Y4MSource(stream), _FIRST_FRAMES)]
    stream.rewind()
    return _choice('-', detect(frames))


def _choice(source, detection):
    from mmweather.zoo import bundled_weights
    model = choose_model(detection)
    if model is not None and model not in bundled_weights():
        raise UserError(f'{source} shows {detection.name} ({100 * detection.confidence:.0f} % sure), but no weights '
                        f'ship for {model}, which removes it: give some by --model {model} --checkpoint FILE')
    return Choice(source, detection, model)


class AsItIs(ClipNetwork):
    """Every frame as it is: what is clean, where it has to be written anew."""

    needs_weights = False

    def forward(self, clip):
        """Returns the clip."""
        return clip


class Rewindable:
    """A stream whose beginning can be read twice.

    Args:
        stream (BinaryIO): The stream. What is read before :meth:`rewind` is kept.
    """

    def __init__(self, stream):
        self._stream, self._kept, self._replayed = stream, bytearray(), None

    def rewind(self):
        """From now on, give what was read once more, and then the rest."""
        self._replayed = memoryview(bytes(self._kept))
        self._kept = None

    def read(self, size):
        """Up to ``size`` bytes, fewer at the end only."""
        if self._replayed is None:
            data = self._stream.read(size)
            self._kept += data
            return data
        data, self._replayed = bytes(self._replayed[:size]), self._replayed[size:]
        return data + self._stream.read(size - len(data)) if len(data) < size else data

    def readline(self, size):
        """Up to the end of the line, ``size`` bytes at most."""
        if self._replayed is None:
            data = self._stream.readline(size)
            self._kept += data
            return data
        data = bytes(self._replayed[:size])
        data = data[:data.find(b'\n') + 1] or data
        self._replayed = self._replayed[len(data):]
        if data.endswith(b'\n') or len(data) == size:
            return data
        return data + self._stream.readline(size - len(data))


def pass_on(source, target):
    """Copy a stream to another, byte by byte.

    Args:
        source (Rewindable | BinaryIO): Where from.
        target (BinaryIO): Where to.

    Returns:
        Untouched: What was done.
    """
    start = time.perf_counter()
    shutil.copyfileobj(source, target, 1 << 20)
    target.flush()
    return Untouched(Path('-'), time.perf_counter() - start)


def pass_through(src, dst, *, overwrite=True, preview=None, progress=None, **encoding):
    """Write the output of an input that needs no restoration.

    An output of the input's kind is a copy, byte for byte. A video for another container keeps its packets. Where the
    kind changes (a video becomes images), or packets do not fit, or only a part is wanted, every frame is written as
    it is.

    Args:
        src (str | Path): A video, a folder of images, or an image.
        dst (str | Path): The output, as for :func:`~mmweather.inference.restore_video`.
        overwrite (bool): Whether an output that exists may be replaced. Defaults to True.
        preview (float, optional): Seconds of a video that are wanted. Defaults to None, which means all.
        progress (Callable[[int, int or None], None], optional): Called with the number of frames written and of
            frames in all. Defaults to None.
        encoding (dict): ``fps``, ``codec``, ``crf`` and ``lossless`` for where frames have to be written.

    Returns:
        Untouched: What was done.

    Raises:
        UserError: If the input cannot be read or the output cannot be written.
    """
    from mmweather.inference.restore import _check_output, restore_video
    start = time.perf_counter()
    src, dst = Path(src), Path(dst)
    source = open_source(src)
    _check_output(source, dst, overwrite)
    dropped = None
    if preview is None and _is_of_one_kind(source, dst):
        dropped = _copy(source, dst)
    elif preview is None and isinstance(source, VideoSource) and dst.suffix.lower() in VIDEO_SUFFIXES:
        # packets that do not fit the container are decoded and encoded
        with suppress(av.FFmpegError, ValueError):
            dropped = copy_streams(source, dst)
    if dropped is None:
        dropped = restore_video(src, dst, AsItIs(), overwrite=overwrite, preview=preview, progress=progress,
                                **encoding).dropped
    return Untouched(dst, time.perf_counter() - start, tuple(dropped))


def _is_of_one_kind(source, dst):
    if source.path.is_dir():
        return dst.is_dir() or not dst.suffix
    return not dst.is_dir() and source.path.suffix.lower() == dst.suffix.lower()


def _copy(source, dst):
    """Copy a file or the images of a folder; nothing is left out."""
    pairs = [(source.path, dst)]
    if source.path.is_dir():
        with open_sink(dst, source):  # makes the folder
            pairs = [(file, dst / file.name) for file in source.files]
    for file, target in pairs:
        with part_file(target) as part, writing(target):
            shutil.copyfile(file, part)
    return ()
