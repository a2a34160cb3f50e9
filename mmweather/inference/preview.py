"""Where in a video the weather is worst, told from the video alone.

There is no clean picture to compare with, so three signs are looked for in its key frames, each known to grow with
one kind of degradation:

- *veil*: the mean dark channel, that is, of the darkest value of any colour in a neighbourhood (He et al., "Single
  Image Haze Removal Using Dark Channel Prior", CVPR 2009); haze and dense snow lift it;
- *specks*: how much pixels are brighter than the median of their surroundings, for the contrast of the frame;
  streaks, flakes and noise are;
- *softness*: how little detail there is for the contrast: the standard deviation of the luma over that of its
  Laplacian; motion blur and drops on the lens take detail away.

Each sign is put in units of its spread over the video, at least a tenth of its mean, and their sum, averaged over the
length of the preview, is largest where the preview begins. It compares the parts of one video; between videos it says
nothing.
"""
import cv2
import numpy as np

__all__ = ['degradation_signs', 'most_degraded']


def degradation_signs(frame):
    """Measure the three signs of degradation in a frame.

    Args:
        frame (ndarray): uint8 RGB (H, W, 3).

    Returns:
        tuple[float, float, float]: Veil in [0, 1], specks and softness, none of them negative.
    """
    side = max(3, round(max(frame.shape[:2]) / 17)) | 1
    dark = cv2.erode(frame.min(axis=2), np.ones((side, side), np.uint8))
    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    surroundings = cv2.medianBlur(luma, 5)
    specks = np.maximum(luma.astype(np.int16) - surroundings, 0)
    detail = cv2.Laplacian(surroundings.astype(np.float32), cv2.CV_32F)
    contrast = float(surroundings.std())
    return float(dark.mean()) / 255, float(specks.mean()) / (contrast + 4), contrast / (float(detail.std()) + 0.5)


def most_degraded(source, seconds):
    """Find the part of a video that is degraded most.

    Args:
        source (VideoSource): The video.
        seconds (float): Length of the part.

    Returns:
        Fraction or int: Seconds from the start of the file at which the part begins; 0 for a video without key frames
        that can be found.
    """
    times, signs = [], []
    for time, frame in source.thumbnails():
        times.append(time)
        signs.append(degradation_signs(frame))
    if not times:
        return 0
    signs = np.array(signs)
    spread = np.maximum(signs.std(axis=0), 0.1 * signs.mean(axis=0) + 1e-6)
    scores = ((signs - signs.mean(axis=0)) / spread).sum(axis=1)
    # a part has to end with the video; a key frame says how things are until the next one
    begins = [time for time in times if time + seconds <= times[-1]] or times[:1]
    return max(begins, key=lambda begin: np.mean([score for time, score in zip(times, scores)
                                                  if begin <= time < begin + seconds]))
