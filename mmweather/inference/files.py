"""Input files that are checked before they are opened, output files that appear only when whole."""
import errno
import os
from contextlib import contextmanager
from pathlib import Path

from mmweather.errors import UserError

__all__ = ['check_file', 'part_file', 'writing', 'writing_fault']


def check_file(path):
    """Check that ``path`` is a readable file with something in it.

    Args:
        path (str or Path): The file.

    Returns:
        Path: The file.

    Raises:
        UserError: If it is missing, empty, no regular file or not readable.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f'{path} does not exist: check the name')
    if not path.is_file():
        raise UserError(f'{path} is not a regular file: give a video, an image or a folder of images')
    if not os.access(path, os.R_OK):
        raise UserError(f'{path} may not be read: change its permissions')
    if path.stat().st_size == 0:
        raise UserError(f'{path} is empty (0 bytes): copy or download it again')
    return path


def writing_fault(path, error):
    """The UserError for an ``error`` of the operating system met while ``path`` was written.

    Args:
        path (Path): The output.
        error (OSError): The fault.

    Returns:
        UserError: The sentence for the user.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = 'free some space or choose another place'
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = 'choose a place that you may write to'
    else:
        remedy = 'choose another place'
    reason = os.strerror(error.errno) if error.errno else error.strerror or str(error)
    return UserError(f'{path} could not be written ({reason.lower()}): {remedy}')


@contextmanager
def writing(path):
    """Turn the operating system's faults inside the block into a UserError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise writing_fault(path, error) from error


@contextmanager
def part_file(path):
    """A file beside ``path`` that takes its name when the block ends well and vanishes when it does not.

    The name of the part file keeps the suffix, from which encoders tell the format: ``clear.mp4`` is first
    ``.clear.part.mp4``.

    Args:
        path (Path): The final name; a file that is there already is replaced.

    Yields:
        Path: The file to write; it exists and is empty.

    Raises:
        UserError: If it cannot be created or renamed.
    """
    if path.is_dir():
        raise UserError(f'{path} is a folder: give a file name')
    if not path.parent.is_dir():
        raise UserError(f'{path} cannot be written because the folder {path.parent} does not exist: create it first')
    part = path.with_name(f'.{path.stem}.part{path.suffix}')
    try:
        with writing(path):
            part.touch()
        yield part
        with writing(path):
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
