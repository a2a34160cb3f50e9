"""Tiny VRDS folders whose pixels say which video, frame and key they belong to."""
import cv2
import numpy as np

TRAIN = dict(lq='lq', gt='gt', mask='01drop', drop='drop', streak='mstreak')
TEST = dict(lq='testlq', gt='testgt')
KEYS = ('lq', 'gt', 'mask', 'drop', 'streak')
SIZE = (24, 36)


def pixels(key, video, frame, size=SIZE):
    """A frame, RGB or gray: row and column in two channels, the rest says what it is of.

    Args:
        key (str): The key.
        video (int): Number of the video.
        frame (int): Number of the frame.
        size (tuple[int, int]): Height and width. Defaults to SIZE.

    Returns:
        np.ndarray: uint8 ``(H, W, 3)``, or ``(H, W, 1)`` for masks and streaks, which hold row plus column.
    """
    row, column = np.mgrid[:size[0], :size[1]]
    if key in ('mask', 'streak'):
        return (row + column + 50 * (key == 'mask') + 10 * video + frame).astype(np.uint8)[..., None]
    stamp = np.full(size, 100 * video + 20 * KEYS.index(key) + frame)
    return np.stack([row, column, stamp], axis=-1).astype(np.uint8)


def write_frame(path, frame):
    """Write RGB or gray pixels as an image, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), frame[..., ::-1])


def write_split(root, folders, videos=('001', '002'), frames=7, size=SIZE, template='{:08d}.png'):
    """Write one split.

    Args:
        root (Path): The dataset's root.
        folders (dict[str, str]): Folder of each key.
        videos (Sequence[str]): Names of the videos. Defaults to ('001', '002').
        frames (int): Frames per video. Defaults to 7.
        size (tuple[int, int]): Height and width. Defaults to SIZE.
        template (str): Of the file names. Defaults to '{:08d}.png'.

    Returns:
        Path: The root.
    """
    for number, video in enumerate(videos):
        for key, folder in folders.items():
            for frame in range(frames):
                write_frame(root / folder / video / template.format(frame), pixels(key, number, frame, size))
    return root
