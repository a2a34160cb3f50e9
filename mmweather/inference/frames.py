"""Single images and folders of images as sources and sinks of frames.

Every image becomes an RGB frame and is written back as it came: 16-bit images keep 16 bits, gray images stay gray,
and an alpha channel is carried over unchanged, as far as the output's format can hold them. JPEG photographs are
turned upright as their EXIF note says.
"""
import os
import re
from pathlib import Path

import cv2
import numpy as np

from mmweather.errors import UserError
from mmweather.inference.files import check_file, part_file, writing

__all__ = ['IMAGE_SUFFIXES', 'ImageSink', 'ImageSource', 'natural_key']

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
_JPEG = ('.jpg', '.jpeg')
_DEEP = ('.png', '.tif', '.tiff')
_WITH_ALPHA = ('.png', '.tif', '.tiff', '.webp')
_WRITE_FLAGS = {
    # a restored photograph should not lose again to the encoder: little quantisation, no chroma subsampling
    **dict.fromkeys(_JPEG, [cv2.IMWRITE_JPEG_QUALITY, 97, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
                            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]),
    # above 100 means lossless
    '.webp': [cv2.IMWRITE_WEBP_QUALITY, 101],
}


class ImageSource:
    """The frames of a folder of images in natural order (``2.png`` before ``10.png``), or one image.

    Hidden files and files that are no images by their suffix are passed over.

    Args:
        path (str or Path): The image or folder.

    Attributes:
        path (Path): The image or folder.
        files (list[Path]): The images.
        names (list[str]): Their file names.
        size (tuple[int, int]): Height and width of the first image.
        fps (None): Images have no frame rate.
        frame_count (int): Number of images.

    Raises:
        UserError: If it is missing, a folder without images, or the first image cannot be read.
    """

    fps = None

    def __init__(self, path):
        self.path = Path(path)
        self.files = _images_in(self.path) if self.path.is_dir() else [self.path]
        self.names = [file.name for file in self.files]
        self.frame_count = len(self.files)
        self.size = read_image(self.files[0]).shape[:2]

    def __iter__(self):
        """Read the images as 8-bit frames.

        Yields:
            ndarray: uint8 RGB frames (H, W, 3).

        Raises:
            UserError: If an image cannot be read, or has not the size of the first one.
        """
        for frame in self.full_depth():
            # 65535 / 255 = 257
            yield frame if frame.dtype == np.uint8 else ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)

    def full_depth(self, start=0):
        """Read the images with the depth they have.

        Args:
            start (int): Number of the first image that is wanted. Defaults to 0.

        Yields:
            ndarray: uint8 or uint16 RGB frames (H, W, 3).

        Raises:
            UserError: If an image cannot be read, or has not the size of the first one.
        """
        for file in self.files[start:]:
            image = read_image(file)
            if image.shape[:2] != self.size:
                raise UserError(f'{file} is {image.shape[1]}x{image.shape[0]} but {self.files[0].name} is '
                                f'{self.size[1]}x{self.size[0]}: put images of different sizes into folders of their '
                                'own')
            yield _as_rgb(image)


class ImageSink:
    """Write frames as images, each of which appears under its name when it is whole.

    Images that were written stay, whatever happens to those after them.

    Args:
        path (Path): An image by its suffix, otherwise a folder, which is made if it is not there.
        like (VideoSource or ImageSource, optional): Where the frames come from. From images their names, depth,
            grayness and alpha are taken over; otherwise a folder's images are ``00000000.png``, ``00000001.png``, ...
            Defaults to None.

    Raises:
        UserError: If several frames are to go into one image, or the folder cannot be made.
    """

    def __init__(self, path, like=None):
        self.path = path
        self._like = like if isinstance(like, ImageSource) else None
        self._one = path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
        self._count = 0
        if self._one and like is not None and not (self._like and self._like.frame_count == 1):
            raise UserError(f'{path} is one image but {like.path} has more frames: name a folder for the output')

    def __enter__(self):
        if not self._one:
            if not self.path.absolute().parent.is_dir():
                raise UserError(f'{self.path} cannot be made because the folder {self.path.parent} does not exist: '
                                'create it first')
            with writing(self.path):
                self.path.mkdir(exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise UserError(f'{self.path} may not be written to: change its permissions or choose another place')
        return self

    def __exit__(self, *exception):
        return None

    def write(self, frame, index=None):
        """Write an image.

        Args:
            frame (ndarray): RGB frame (H, W, 3), uint8, or uint16 for an image that was one.
            index (int, optional): Its number. Defaults to None, which means the next one.

        Returns:
            Path: Where it is.

        Raises:
            UserError: If it cannot be written.
        """
        index = self._count if index is None else index
        path = self._path_of(index)
        image = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if self._like:
            image = _in_the_manner_of(read_image(self._like.files[index]), image)
        write_image(path, image)
        self._count = index + 1
        return path

    def _path_of(self, index):
        if self._one:
            return self.path
        return self.path / (self._like.names[index] if self._like else f'{index:08d}.png')


def natural_key(name):
    """Sort key that takes digits in a name as numbers: ``a2`` before ``a10``.

    Args:
        name (str): A file name.

    Returns:
        list: The key.
    """
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in re.split(r'(\d+)', name)] + [(-1, name)]


def read_image(path):
    """Read an image as it is.

    Args:
        path (str or Path): A PNG, JPEG, BMP, TIFF or WebP file.

    Returns:
        ndarray: uint8 or uint16, of shape (H, W) if it is gray, (H, W, 3) BGR, or (H, W, 4) BGR and alpha.

    Raises:
        UserError: If it is missing, empty, cut off, no image, or neither 8- nor 16-bit.
    """
    path = check_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror.lower()}): copy it again') from error
    if _is_cut_off(data):
        raise UserError(f'{path} is cut off: copy or download it again')
    # IMREAD_UNCHANGED would ignore the EXIF orientation of photographs, the other flags would drop alpha
    jpeg = data.startswith(b'\xff\xd8')
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if jpeg else cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f'{path} is not an image that can be read ({error.err}): convert it') from error
    if image is None:
        raise UserError(f'{path} is not an image that can be read: replace it or take it out')
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f'{path} has {image.dtype} samples: convert it to 8 or 16 bits')
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def write_image(path, image):
    """Write an image so that it appears under its name when it is whole.

    Args:
        path (Path): Where to; its suffix says the format. JPEG, BMP and WebP get 8 bits, JPEG and BMP no alpha.
        image (ndarray): As :func:`read_image` returns it.

    Raises:
        UserError: If it cannot be written.
    """
    suffix = path.suffix.lower()
    if image.dtype == np.uint16 and suffix not in _DEEP:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 4 and suffix not in _WITH_ALPHA:
        image = image[..., :3]
    _, data = cv2.imencode(suffix, image, _WRITE_FLAGS.get(suffix, []))
    with part_file(path) as part, writing(path):
        part.write_bytes(data.tobytes())


def _images_in(folder):
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith('.')]
    except OSError as error:
        raise UserError(f'{folder} cannot be read ({error.strerror.lower()}): change its permissions') from error
    images = [entry for entry in entries if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.is_dir()]
    if not images:
        inside = 'only folders: give one of them' if entries and all(entry.is_dir() for entry in entries) else \
            f'no images: put {", ".join(IMAGE_SUFFIXES)} files there'
        raise UserError(f'{folder} holds {inside}')
    return sorted(images, key=lambda entry: natural_key(entry.name))


def _as_rgb(image):
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _in_the_manner_of(original, image):
    """Give the BGR ``image`` the grayness and alpha of ``original``, and its size has to be the same."""
    if original.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    if original.shape[2] == 4 and original.shape[:2] == image.shape[:2]:
        alpha = original[..., 3:]
        if alpha.dtype != image.dtype:  # the frame was made from the 8-bit version of a 16-bit image
            alpha = ((alpha.astype(np.uint32) + 128) // 257).astype(image.dtype)
        return np.concatenate([image, alpha], axis=2)
    return image


def _is_cut_off(data):
    """Whether an image file ends before its format says so; OpenCV would fill the rest in gray or black."""
    if data.startswith(b'\xff\xd8'):
        # the end marker must follow the last scan; inside a scan these bytes cannot occur
        return data.rfind(b'\xff\xd9') < data.rfind(b'\xff\xda')
    if data.startswith(b'\x89PNG'):
        return b'IEND' not in data[-4096:]
    if data.startswith(b'RIFF'):
        return len(data) < 8 + int.from_bytes(data[4:8], 'little')
    if data.startswith(b'BM'):
        return len(data) < int.from_bytes(data[2:6], 'little')
    return False
