"""What makes an interrupted restoration go on: the finished pieces of an output, kept beside it until it is whole.

A video is restored in segments of a fixed number of frames. Each is encoded by itself and lies, with a checksum and
under its final name only when it is whole, in the folder ``.<output's name>.resume`` beside the output. The packets
of all segments, one after the other, are the output's video; so it does not matter which process made which segment,
or how often the work was interrupted.

A folder belongs to one input, one network and one set of options, of which it holds the digest. If any of them
differs, it is thrown away.
"""
import hashlib
import json
import os
import shutil
import struct
import sys
from array import array
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path

import av
import numpy as np

from mmweather.inference.files import writing

__all__ = ['ImageSegment', 'Journal', 'VideoSegment', 'digest_of_file', 'digest_of_network', 'packets_of']

_MAGIC = b'mmweather segment 1\n'
_FORMAT = 1
# presentation time, duration, is key frame, length of the payload
_RECORD = struct.Struct('<qqBI')
_HASH = hashlib.sha256
# of a large file this many samples of this many bytes are compared, besides its length and time
_SAMPLES, _SAMPLE = 64, 1 << 16


def digest_of_file(path):
    """Tell whether a file is still the same, without reading all of a large one.

    Args:
        path (Path): The file.

    Returns:
        str: Digest of its length, its modification time, and samples of its content from start to end.
    """
    status = path.stat()
    digest = _HASH(f'{status.st_size} {status.st_mtime_ns}'.encode())
    with open(path, 'rb') as file:
        for index in range(_SAMPLES):
            file.seek(index * max(0, status.st_size - _SAMPLE) // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def digest_of_network(network):
    """Tell networks apart by what they are made of and by their weights.

    Args:
        network (nn.Module): The network.

    Returns:
        str: A digest.
    """
    import torch
    digest = _HASH(f'{type(network).__module__} {network!r}'.encode())
    for key, value in network.state_dict().items():
        digest.update(f'{key} {value.dtype} {tuple(value.shape)}'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class Journal:
    """The folder of finished segments beside an output.

    Args:
        output (Path): The output's final name.

    Attributes:
        folder (Path): The folder.
    """

    def __init__(self, output):
        output = output.absolute()
        self.folder = output.with_name(f'.{output.name}.resume')

    def open(self, identity):
        """Take up the work, or begin anew where nothing is left of the same work.

        Args:
            identity (dict): Digests and options, all of JSON's types, that have to be the same.

        Returns:
            dict: What :meth:`note` had noted; empty at the beginning.
        """
        identity = json.loads(json.dumps({**identity, 'format': _FORMAT}))
        found = self._read('journal.json')
        if found is None or found.get('identity') != identity:
            self.discard()
            with writing(self.folder):
                self.folder.mkdir()
            self._write('journal.json', {'identity': identity})
        return self._read('notes.json') or {}

    def note(self, **notes):
        """Note something about the work, besides its segments.

        Args:
            notes (Any): Values of JSON's types.
        """
        self._write('notes.json', {**(self._read('notes.json') or {}), **notes})

    def segment(self, index, kind):
        """The file of a segment.

        Args:
            index (int): Its number.
            kind (type): :class:`VideoSegment` or :class:`ImageSegment`.

        Returns:
            VideoSegment or ImageSegment: The segment.
        """
        return kind(self.folder / f'segment-{index:06d}')

    def finished(self, kind):
        """Find the segments that are whole.

        Args:
            kind (type): :class:`VideoSegment` or :class:`ImageSegment`.

        Returns:
            set[int]: Their numbers.
        """
        numbers = (int(path.name[8:]) for path in self.folder.glob('segment-??????') if path.name[8:].isdecimal())
        return {number for number in numbers if self.segment(number, kind).is_whole()}

    def save_state(self, index, states):
        """Keep the states with which segment ``index`` begins.

        Args:
            index (int): Number of the segment.
            states (dict): States by tile.
        """
        from safetensors.torch import save
        tensors = {}
        structure = _flattened(states, tensors)
        header = json.dumps(structure).encode()
        data = struct.pack('<I', len(header)) + header + save(tensors)
        with _whole(self.folder / f'state-{index:06d}') as file:
            file.write(data + _HASH(data).digest())

    def drop_states(self, before):
        """Remove the states of the segments before number ``before``."""
        for path in self.folder.glob('state-??????'):
            if int(path.name[6:]) < before:
                path.unlink(missing_ok=True)

    def load_state(self, index, network):
        """Get the states with which segment ``index`` begins.

        Args:
            index (int): Number of the segment.
            network (nn.Module): The network, in whose module the classes of its states are.

        Returns:
            dict or None: States by tile on the CPU, None if they are not there.
        """
        from safetensors.torch import load
        path = self.folder / f'state-{index:06d}'
        data = path.read_bytes() if path.is_file() else b''
        if len(data) < 36 or _HASH(data[:-32]).digest() != data[-32:]:
            return None
        length, = struct.unpack_from('<I', data)
        return _restructured(json.loads(data[4:4 + length]), load(data[4 + length:-32]), network)

    def discard(self):
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name):
        try:
            return json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def _write(self, name, content):
        with _whole(self.folder / name) as file:
            file.write(json.dumps(content).encode())


class VideoSegment:
    """Encoded frames of a segment, as packets in a file with a checksum.

    Args:
        path (Path): The file.
    """

    def __init__(self, path):
        self.path = path

    @contextmanager
    def writer(self, encoder, first):
        """Write the segment; it takes its name when the block ends without an exception.

        Args:
            encoder (VideoEncoder): How frames are encoded.
            first (int): Number of the first frame.

        Yields:
            Callable[[ndarray], None]: Writes the next frame.
        """
        with _whole(self.path) as file:
            state = dict(context=None, index=first)
            durations = {}  # encoders do not hand them through
            digest = _HASH()

            def put(data):
                file.write(data)
                digest.update(data)

            def encode(picture):
                for packet in state['context'].encode(picture):
                    put(_RECORD.pack(packet.pts, durations.pop(packet.pts), packet.is_keyframe, packet.size))
                    put(bytes(packet))

            def write(frame):
                with encoder.faults():
                    if state['context'] is None:
                        context = state['context'] = av.CodecContext.create(encoder.name, 'w')
                        # parameters go into the container's header, as in every container that is written
                        context.flags |= av.codec.context.Flags.global_header
                        encoder.configure(context, *frame.shape[:2])
                        put(struct.pack('<II', *frame.shape[:2]))
                    time, duration = encoder.time(state['index'])
                    durations[time] = duration
                    encode(encoder.picture(frame, time, duration))
                    state['index'] += 1

            put(_MAGIC)
            yield write
            with encoder.faults():
                encode(None)
            file.write(digest.digest())

    def is_whole(self):
        """Whether the segment is there and its checksum is right."""
        return _checks(self.path)

    def times(self):
        """Presentation times of the frames in decoding order, and height and width.

        Returns:
            tuple[array, tuple[int, int]]: Times and size.
        """
        times = array('q')
        with open(self.path, 'rb') as file:
            size = self._begin(file)
            end = self.path.stat().st_size - 32
            while file.tell() < end:
                pts, _, _, length = _RECORD.unpack(file.read(_RECORD.size))
                times.append(pts)
                file.seek(length, os.SEEK_CUR)
        return times, size

    def packets(self):
        """Read the packets.

        Yields:
            tuple[bytes, int, int, bool]: Payload, presentation time, duration, and whether it is a key frame.
        """
        with open(self.path, 'rb') as file:
            self._begin(file)
            end = self.path.stat().st_size - 32
            while file.tell() < end:
                pts, duration, is_key, length = _RECORD.unpack(file.read(_RECORD.size))
                yield file.read(length), pts, duration, bool(is_key)

    @staticmethod
    def _begin(file):
        file.seek(len(_MAGIC))
        return struct.unpack('<II', file.read(8))


class ImageSegment:
    """Names and digests of the images of a segment, which themselves lie in the output.

    Args:
        path (Path): The file.
    """

    def __init__(self, path):
        self.path = path

    @contextmanager
    def writer(self, sink, first):
        """Write the images of a segment; the list takes its name when the block ends without an exception.

        Args:
            sink (ImageSink): Where the images go.
            first (int): Number of the first frame.

        Yields:
            Callable[[ndarray], None]: Writes the next frame.
        """
        paths = []
        yield lambda frame: paths.append(sink.write(frame, first + len(paths)))
        data = json.dumps({str(path.absolute()): digest_of_file(path) for path in paths}).encode()
        with _whole(self.path) as file:
            file.write(_MAGIC + data + _HASH(_MAGIC + data).digest())

    def is_whole(self):
        """Whether the list is there and the images in it are still as they were written."""
        if not _checks(self.path):
            return False
        images = json.loads(self.path.read_bytes()[len(_MAGIC):-32])
        return all(Path(name).is_file() and digest_of_file(Path(name)) == digest for name, digest in images.items())


def packets_of(segments):
    """The packets of a whole video from those of its segments, each decoded in order when its neighbours are.

    Encoders number the decoding times of a segment as if nothing came before it. Here a packet's decoding time is
    the presentation time of the frame shown as many frames before it as any segment reorders, which increases
    throughout.

    Args:
        segments (list[VideoSegment]): The segments in order.

    Yields:
        tuple[bytes, int, int, int, bool]: Payload, presentation time, decoding time, duration, and whether it is a
        key frame.
    """
    shown, delay = array('q'), 0
    for segment in segments:
        times = np.array(segment.times()[0])
        ranks = np.argsort(np.argsort(times, kind='stable'), kind='stable')
        delay = max(delay, int((np.arange(len(times)) - ranks).max()))
        shown.extend(np.sort(times).tolist())
    step = shown[1] - shown[0] if len(shown) > 1 else 1
    index = 0
    for segment in segments:
        for payload, pts, duration, is_key in segment.packets():
            dts = shown[index - delay] if index >= delay else shown[0] - (delay - index) * step
            yield payload, pts, dts, duration, is_key
            index += 1


@contextmanager
def _whole(path):
    """A file to write that takes its name when it is whole and on the disk, and vanishes when the block fails."""
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        with writing(path):
            with open(part, 'wb') as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _checks(path):
    """Whether a file begins as a segment does and ends with the digest of all before it."""
    if not path.is_file() or path.stat().st_size < len(_MAGIC) + 32:
        return False
    left = path.stat().st_size - 32
    digest = _HASH()
    with open(path, 'rb') as file:
        is_segment = file.read(len(_MAGIC)) == _MAGIC
        file.seek(0)
        while left:
            data = file.read(min(left, 1 << 20))
            digest.update(data)
            left -= len(data)
        return is_segment and file.read() == digest.digest()


def _flattened(value, tensors):
    """Describe nested states in JSON's types; tensors are put into ``tensors`` by number."""
    import torch
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        # views of one tensor are stored one by one
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {'tensor': name}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {'value': value}
    if is_dataclass(value):
        return {'dataclass': type(value).__name__,
                'fields': {field.name: _flattened(getattr(value, field.name), tensors) for field in fields(value)}}
    if isinstance(value, dict):
        return {'dict': [[_flattened(key, tensors), _flattened(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        return {'namedtuple': type(value).__name__, 'items': [_flattened(item, tensors) for item in value]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_flattened(item, tensors) for item in value]}
    raise TypeError(f'a state of {type(value).__name__} cannot be saved: use tensors, numbers, tuples, lists, dicts '
                    'and dataclasses')


def _restructured(value, tensors, network):
    """Undo :func:`_flattened`; classes are taken from the module of the network, no others are known."""
    kind = next(iter(value))
    content = value[kind]
    if kind == 'tensor':
        return tensors[content]
    if kind == 'value':
        return content
    if kind == 'dict':
        return {_restructured(key, tensors, network): _restructured(item, tensors, network) for key, item in content}
    if kind in ('list', 'tuple'):
        items = [_restructured(item, tensors, network) for item in content]
        return items if kind == 'list' else tuple(items)
    home = getattr(sys.modules[type(network).__module__], content)
    if kind == 'namedtuple':
        return home(*(_restructured(item, tensors, network) for item in value['items']))
    return home(**{name: _restructured(item, tensors, network) for name, item in value['fields'].items()})
