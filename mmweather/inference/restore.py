"""Restoring a video, a folder of frames or an image with a network, from file to file.

Decoding, computing and encoding overlap: a thread decodes ahead and a thread encodes behind, each with a short queue,
so that memory stays flat and a slow encoder or decoder hides behind the network.
"""
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmweather.errors import UserError
from mmweather.inference.frames import ImageSink, ImageSource
from mmweather.inference.media import open_sink, open_source
from mmweather.models.temporal import RecurrentNetwork, resolve_protocol, restore_frames

__all__ = ['RestoreSummary', 'load_network', 'restore_video']

# frames that wait between two of the three stages
_QUEUE_LENGTH = 4
_PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


@dataclass(frozen=True)
class RestoreSummary:
    """What :func:`restore_video` did.

    Args:
        output (Path): What was written.
        frames (int): How many frames were restored.
        seconds (float): How long decoding, restoring and encoding took together.
        device (str): Where the network ran.
        precision (str): ``'fp32'``, ``'bf16'`` or ``'fp16'``.
        dropped (tuple[str]): Streams of the input that the output's container cannot hold, in words.
    """

    output: Path
    frames: int
    seconds: float
    device: str
    precision: str
    dropped: tuple = ()

    @property
    def fps(self):
        """float: Frames restored per second."""
        return self.frames / self.seconds

    def __str__(self):
        line = (f'{self.output}: {self.frames} frame{"s" if self.frames != 1 else ""} in {self.seconds:.1f} s '
                f'({self.fps:.3g} frames/s, {self.device}, {self.precision})')
        return f'{line}; left out: {", ".join(self.dropped)}' if self.dropped else line


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
        return zoo.load_bundled(model).eval()
    network = zoo.build_network(model)
    zoo.load_weights(network, checkpoint)
    return network.eval()


def restore_video(src, dst, model='vimpnet_tiny', checkpoint=None, *, device=None, precision='auto', protocol=None,
                  window=None, tile=None, scene_cuts=None, overwrite=True, fps=None, codec='h264', crf=16,
                  progress=None):
    """Restore a video, a folder of frames or an image.

    Frame times, frame rate, audio and subtitles of a video are kept, as are names, bit depth, grayness and alpha of
    images. A folder of images is taken for the frames of a video. The output appears when it is whole; of a folder,
    every image does by itself, and what was restored before an image that cannot be read is kept.

    Args:
        src (str or Path): A video, a folder of images, or an image.
        dst (str or Path): The output; its suffix says what it is, no suffix or an existing folder means a folder.
        model (str or nn.Module): Name in the zoo, or a network. Defaults to ``'vimpnet_tiny'``.
        checkpoint (str or Path, optional): Weights for ``model``, None for the bundled ones. Defaults to None.
        device (str or torch.device, optional): Where to compute. Defaults to None: a GPU if there is one.
        precision (str): ``'fp32'``, ``'bf16'``, ``'fp16'``, or ``'auto'``: half precision on GPUs that compute it
            natively, and on such CPUs for networks that are known to bear it, float32 elsewhere. Defaults to
            ``'auto'``.
        protocol (str or ClipProtocol, optional): None for the network's everyday windows and tiles, or for instance
            ``'published'``. Defaults to None.
        window (int, optional): Frames per window, instead of the protocol's. Defaults to None.
        tile (int, optional): Side of the tiles in pixels, instead of the protocol's; 0 for whole frames. Defaults to
            None.
        scene_cuts (bool, optional): Whether to start anew at cuts between scenes, instead of the protocol's choice.
            Defaults to None.
        overwrite (bool): Whether an output that exists may be replaced. Defaults to True.
        fps (Fraction or int, optional): Frame rate if a video is made of images. Defaults to None, which means 25.
        codec (str): ``'h264'``, or ``'ffv1'`` (lossless, ``.mkv`` only). Defaults to ``'h264'``.
        crf (int): Constant rate factor of H.264, 0 to 51; smaller is better. Defaults to 16.
        progress (Callable[[int, int or None], None], optional): Called after every frame with the number of frames
            restored and of frames in all, if known. Defaults to None.

    Returns:
        RestoreSummary: Frames and seconds.

    Raises:
        UserError: If the input cannot be read, the output cannot be written, or an option does not suit the network
            or the machine.
    """
    src, dst = Path(src), Path(dst)
    device = _choose_device(device)
    source = open_source(src)
    _check_output(source, dst, overwrite)
    sink = open_sink(dst, source, fps=fps, codec=codec, crf=crf)
    network = model if isinstance(model, nn.Module) else load_network(model, checkpoint)
    precision = _choose_precision(precision, device, network)
    protocol = _choose_protocol(network, protocol, window, tile, scene_cuts)

    start = time.perf_counter()
    keeps_parts = isinstance(sink, ImageSink)
    faults, depths = [], deque()
    done = 0
    with sink, _memory_fault(device):
        tensors = _tensors(source, depths, faults if keeps_parts else None)
        with closing(_ahead(tensors)) as decoded, _behind(sink.write) as write:
            restored = restore_frames(network, decoded, protocol, device, _PRECISIONS[precision],
                                      output_device=device)
            for frame in restored:
                write(_quantised(frame, depths.popleft()))
                done += 1
                if progress:
                    progress(done, source.frame_count)
        if faults and not done:
            raise faults[0]
    if faults:
        raise UserError(f'{faults[0]} (the {done} images before it are in {dst})') from faults[0]
    return RestoreSummary(dst, done, time.perf_counter() - start, str(device), precision,
                          tuple(getattr(sink, 'dropped', ())))


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


def _choose_protocol(network, protocol, window, tile, scene_cuts=None):
    """Resolve the protocol with the user's window, tile and scene cuts in it."""
    try:
        protocol = resolve_protocol(network, protocol)
        if scene_cuts is not None:
            protocol = replace(protocol, scene_cuts=scene_cuts)
        if window is not None:
            if isinstance(network, RecurrentNetwork):
                raise ValueError(f'{type(network).__name__} goes frame by frame and has no window')
            protocol = replace(protocol, window=window, window_overlap=min(protocol.window_overlap, window - 1))
        if tile == 0:
            protocol = replace(protocol, tile=None, tile_overlap=0, tile_border=0)
        elif tile is not None:
            overlap = min(protocol.tile_overlap or network.tile_overlap, tile // 2)
            border = min(protocol.tile_border, overlap // 2)
            protocol = replace(protocol, tile=tile, tile_overlap=overlap, tile_border=border)
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


def _tensors(source, depths, faults):
    """Yield the frames as tensors; note their depths, and faults instead of raising them if a list is given."""
    frames = source.full_depth() if isinstance(source, ImageSource) else source
    try:
        for frame in frames:
            depths.append(frame.dtype)
            if frame.dtype == np.uint16:
                frame = frame.astype(np.float32) / 65535
            yield torch.from_numpy(frame).permute(2, 0, 1)
    except UserError as error:
        if faults is None:
            raise
        faults.append(error)


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
        # PyTorch has no exception of its own for the CPU's memory
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error):
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

    The block's end waits for all calls, unless the block failed. After a call that failed no more are made, and its
    exception is raised by a later call or at the end.
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

        try:
            yield put
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
