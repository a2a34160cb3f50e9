"""Frames on disk: which files are frames, in which order, how large, and reading them.

Shared by the datasets, their checker and the converters.
"""
import os
import re
import struct
from pathlib import Path

import cv2
import numpy as np

from mmweather.errors import UserError

__all__ = ['IMAGE_SUFFIXES', 'image_size', 'is_whole', 'list_frames', 'natural_key', 'read_frame']

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.webp', '.tif', '.tiff')

PathLike = str | os.PathLike


def natural_key(name: str) -> list:
    """Sort key that puts ``frame2`` before ``frame10``.

    Args:
        name (str): A file or folder name.

    Returns:
        list: The name, split into text and numbers.
    """
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


def list_frames(folder: PathLike) -> list[str]:
    """Names of the image files in a folder, in natural order.

    Hidden files (macOS leaves ``._00000000.png`` beside every file it copies) and files that are no images are left
    out.

    Args:
        folder (str | PathLike): The folder, not searched recursively.

    Returns:
        list[str]: File names without the folder.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries
                 if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith('.')]
    return sorted(names, key=natural_key)


def image_size(path: PathLike) -> tuple[int, int]:
    """Height and width of an image, from its header where the format is PNG or JPEG.

    Reading a header takes microseconds, decoding a 1280x720 PNG takes 17 ms. The EXIF orientation is ignored, as in
    :func:`read_frame`.

    Args:
        path (str | PathLike): The image file.

    Returns:
        tuple[int, int]: Height and width in pixels.

    Raises:
        UserError: If the file is missing or no image.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(24)
            if len(head) == 24 and head[:8] == b'\x89PNG\r\n\x1a\n' and head[12:16] == b'IHDR':
                width, height = struct.unpack('>II', head[16:24])
                return height, width
            if head[:2] == b'\xff\xd8':
                size = _jpeg_size(file)
                if size is not None:
                    return size
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): restore it or check its permissions') from error
    return read_frame(path).shape[:2]


def _jpeg_size(file) -> tuple[int, int] | None:
    """Walk over a JPEG file's segments to its frame header; None if there is none."""
    file.seek(2)
    while True:
        marker = file.read(2)
        if len(marker) < 2 or marker[0] != 0xFF:
            return None
        code = marker[1]
        if code == 0xFF:  # fill byte: the marker's second byte comes next
            file.seek(-1, os.SEEK_CUR)
            continue
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # markers without a segment
            continue
        length = file.read(2)
        if len(length) < 2:
            return None
        # SOF0..SOF15 without DHT (C4), JPG (C8) and DAC (CC), which share the range
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            if len(frame) < 5:
                return None
            height, width = struct.unpack('>HH', frame[1:])
            return height, width
        file.seek(struct.unpack('>H', length)[0] - 2, os.SEEK_CUR)


def is_whole(path: PathLike) -> bool:
    """Whether a PNG or JPEG file has its end; other formats are taken to be whole.

    An interrupted download or a full disk leaves files whose header is fine.

    Args:
        path (str | PathLike): The image file.

    Returns:
        bool: False if the file is truncated.
    """
    with open(path, 'rb') as file:
        head = file.read(2)
        # some writers pad the end
        file.seek(-min(64, os.path.getsize(path)), os.SEEK_END)
        tail = file.read()
    if head == b'\x89P':
        return b'IEND' in tail
    return head != b'\xff\xd8' or b'\xff\xd9' in tail


def read_frame(path: PathLike,
               gray: bool = False,
               window: tuple[int, int, int, int] | None = None,
               shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read one frame as uint8.

    16-bit files are scaled to 8 bits, alpha is dropped, gray files become RGB (or stay gray with ``gray=True``).

    Args:
        path (str | PathLike): The image file.
        gray (bool): Read one channel. Defaults to False.
        window (tuple[int, int, int, int], optional): ``(top, left, height, width)`` to cut out. It spares the colour
            conversion of the rest, not the decoding. Defaults to None: the whole frame.
        shape (tuple[int, int], optional): Height and width that the file must have. Defaults to None: any.

    Returns:
        np.ndarray: uint8 RGB ``(H, W, 3)``, or ``(H, W, 1)`` with ``gray=True``.

    Raises:
        UserError: If the file is missing, no image, or of another size than ``shape``.
    """
    flags = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    frame = cv2.imread(os.fspath(path), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if frame is None:
        fault = 'is missing' if not Path(path).exists() else 'is damaged or no image'
        raise UserError(f'{path} {fault}: restore it from the original archive')
    if shape is not None and frame.shape[:2] != tuple(shape):
        raise UserError(f'{path} is {frame.shape[1]}x{frame.shape[0]}, but the frames it belongs to are '
                        f'{shape[1]}x{shape[0]}: run `mmweather data check` to see every frame of the wrong size')
    if window is not None:
        top, left, height, width = window
        frame = frame[top:top + height, left:left + width]
    return np.ascontiguousarray(frame)[..., None] if gray else cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
