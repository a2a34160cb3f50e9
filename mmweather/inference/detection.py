"""What is wrong with a video or an image, and which model would help."""
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np
import torch

__all__ = ['MODELS', 'Detection', 'choose_model', 'detect']

#: The bundled model for each degradation; clean frames are best left alone.
MODELS = {'rain': 'vimpnet_tiny', 'drops': 'vimpnet_tiny', 'snow': 'svdnet_tiny', 'haze': 'cid_tiny',
          'blur': 'pvdnet_tiny', 'clean': None}
# the shorter side to which larger frames are scaled, as in the training
_SIDE = 288
# a video is judged by its beginning: ten seconds at 24 frames per second
_REACH = 240


@dataclass(frozen=True)
class Detection:
    """What :func:`detect` found.

    Attributes:
        name (str): The most likely of ``'clean'``, ``'rain'`` (streaks, with drops on the lens or without),
            ``'drops'`` (on the lens only), ``'snow'``, ``'haze'`` and ``'blur'``.
        confidence (float): Its probability.
        probabilities (dict[str, float]): Those of all six; they sum to 1.
    """
    name: str
    confidence: float
    probabilities: dict


def detect(source, frames=8, network=None):
    """Name the degradation of a video, a folder of frames or an image.

    A few frames are judged by a bundled network, and their log-probabilities are added up: single frames are easily
    mistaken. Frames of one video are mistaken alike, so n of them count as much as the square root of n that have
    nothing to do with each other.

    Args:
        source (str | Path | ndarray | Iterable[ndarray]): A file or folder; or one frame, uint8 RGB ``(H, W, 3)``, or
            several, of which all are judged.
        frames (int): How many frames of a file or folder are judged, evenly spread over its first 240. Defaults to 8.
        network (WeatherClassifier, optional): Another network than the bundled one. Defaults to None.

    Returns:
        Detection: Name, confidence and all probabilities.

    Raises:
        UserError: If the source cannot be read.
        ValueError: If the frames are not uint8 RGB or there are none.

    Examples:
        >>> detect('drive.mp4').name
        'rain'
    """
    if frames < 1:
        raise ValueError(f'frames must be at least 1, got {frames}')
    network = _bundled() if network is None else network
    scores = []
    for frame in _frames(source, frames):
        with torch.inference_mode():
            scores.append(network(_prepare(frame, network.min_size)).log_softmax(dim=1)[0])
    if not scores:
        raise ValueError('there are no frames to judge')
    probabilities = (torch.stack(scores).sum(dim=0) / len(scores)**0.5).softmax(dim=0).tolist()
    ranked = dict(sorted(zip(network.classes, probabilities), key=lambda item: -item[1]))
    name = next(iter(ranked))
    return Detection(name, ranked[name], ranked)


def choose_model(detection, least=0.5):
    """The bundled model that removes what was detected.

    Args:
        detection (Detection): What :func:`detect` returned.
        least (float): Confidence below which nothing is to be done. Defaults to 0.5.

    Returns:
        str | None: Name of a model; None if the source is clean or it is not clear what ails it.
    """
    return MODELS[detection.name] if detection.confidence >= least else None


@lru_cache(maxsize=1)
def _bundled():
    from mmweather.models.classifier import load_classifier
    return load_classifier()


def _frames(source, count):
    """The frames to judge."""
    if isinstance(source, np.ndarray):
        yield from source[None] if source.ndim == 3 else source
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes)):
        yield from source
    else:
        from mmweather.inference import open_source
        opened = open_source(source)
        reach = min(opened.frame_count or _REACH, _REACH)
        yield from islice(opened, 0, reach, max(1, reach // count))


def _prepare(frame, least):
    """A frame as the network wants it: of the size it was trained at."""
    frame = np.asarray(frame)
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f'frames must be uint8 RGB (H, W, 3), got {frame.dtype} {frame.shape}')
    height, width = frame.shape[:2]
    scale = min(1.0, _SIDE / min(height, width))
    if scale < 1:
        frame = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    # small pictures are mirrored up to the least that the network takes
    lack = [max(0, least - extent) for extent in frame.shape[:2]]
    if any(lack):
        frame = cv2.copyMakeBorder(frame, 0, lack[0], 0, lack[1], cv2.BORDER_REFLECT)
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float().div_(255)
