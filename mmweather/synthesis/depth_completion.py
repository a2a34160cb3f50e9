"""Dense disparity from the sparse and faulty disparity of a stereo pair.

The stereo-guided completion of Sakaridis et al., "Semantic Foggy Scene Understanding with Synthetic Data" (IJCV 2018),
written anew from its description: disparities that the right view contradicts are outliers; superpixels of the left
view with enough reliable pixels get a plane by RANSAC; the others take over the plane of a superpixel that is alike and
near; the planes fill what is unknown and replace outliers that are far off.

What is ours: a plane in space is a linear function of the pixel in disparity, not in depth, so planes are fitted and
extended in disparity, while all distances to planes are measured in metres.
"""
import cv2
import numpy as np

from mmweather.errors import UserError

__all__ = ['complete_disparity', 'fill_nearest', 'warp_to_right']

# Constants of the paper.
PHOTOMETRIC_TOLERANCE = 12 / 255  # distance of two colours in RGB
SEGMENT_AREA, COMPACTNESS = 1024, 10.0  # 2048 superpixels in a frame of 1024x2048
MIN_PIXELS, MIN_SHARE = 20, 0.6  # reliable pixels of a superpixel to which a plane is fitted
INLIER = 0.01  # of the median depth
OUTLIER_DISTANCE = 50.0  # metres
MAX_ITERATIONS, CONFIDENCE = 2000, 0.99
# Ours: hypotheses that are tested at once, on at most so many pixels of the superpixel.
BATCH, SAMPLE = 64, 256
# Ours: metres; planes that run off into the distance end here.
MAX_DEPTH = 1000.0


def complete_disparity(disparity, left, right, depth_unit, seed=0):
    """Complete the disparity of the left view.

    Args:
        disparity (numpy.ndarray): float32 ``(H, W)``, pixels; NaN where unknown, 0 where infinitely far away.
        left (numpy.ndarray): Left view, uint8 RGB ``(H, W, 3)``.
        right (numpy.ndarray): Right view, uint8 RGB ``(H, W, 3)``.
        depth_unit (float): Focal length in pixels times baseline in metres, so that depth is
            ``depth_unit / disparity``.
        seed (int): Seed of RANSAC. Defaults to 0.

    Returns:
        numpy.ndarray: float32 ``(H, W)``, positive everywhere; nothing is farther than 1000 m.

    Raises:
        ValueError: If no disparity is known at all.
        UserError: If scikit-image, which makes the superpixels, is not installed.
    """
    known = np.isfinite(disparity)
    if not known.any():
        raise ValueError('a disparity map without a single known pixel cannot be completed')
    farthest = np.float32(depth_unit / MAX_DEPTH)
    # unknown pixels get a number too, which nothing below looks at
    disparity = np.where(known, np.maximum(disparity, farthest), farthest)
    reliable = known & ~_contradicted(disparity, left, right)
    labels, count = _superpixels(left)
    pixels = np.bincount(labels.ravel(), minlength=count)
    supported = np.bincount(labels[reliable], minlength=count)
    visible = supported >= np.maximum(MIN_PIXELS, MIN_SHARE * pixels)
    if not visible.any():
        return fill_nearest(disparity, reliable if reliable.any() else known)
    planes, fitted = _fit_planes(disparity, reliable, labels, visible, depth_unit, np.random.default_rng(seed))
    if not fitted.any():
        return fill_nearest(disparity, reliable)
    planes = planes[_match(left, labels, pixels, fitted)]

    height, width = disparity.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None]
    coefficients = planes.astype(np.float32)[labels]
    plane = coefficients[..., 0] * columns + coefficients[..., 1] * rows + coefficients[..., 2]
    # a plane must not run off to the camera, nor beyond the end of the world
    np.clip(plane, farthest, disparity[reliable].max(), out=plane)
    far_off = np.abs(depth_unit / disparity - depth_unit / plane) > OUTLIER_DISTANCE
    return np.where(reliable | (known & ~far_off), disparity, plane).astype(np.float32)


def _contradicted(disparity, left, right):
    """Where the right view, looked up by the rounded disparity, has another colour, or ends."""
    columns = np.arange(disparity.shape[1])[None] - np.rint(disparity).astype(np.int64)
    partner = np.take_along_axis(right, np.maximum(columns, 0)[..., None], axis=1)
    difference = left.astype(np.float32) - partner
    distance = np.einsum('hwc,hwc->hw', difference, difference)
    return (distance > (255 * PHOTOMETRIC_TOLERANCE)**2) | (columns < 0)


def _superpixels(image):
    """Labels from 0 on, int64 ``(H, W)``, and how many there are; SLIC in Lab."""
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise UserError('the fog simulation needs scikit-image for its superpixels, which is not installed: '
                        'pip install scikit-image') from error
    segments = max(16, round(image.shape[0] * image.shape[1] / SEGMENT_AREA))
    labels = slic(image, n_segments=segments, compactness=COMPACTNESS, start_label=0)
    return labels, int(labels.max()) + 1


def _fit_planes(disparity, reliable, labels, visible, depth_unit, rng):
    """Planes of the visible superpixels.

    Returns:
        tuple: Coefficients (a, b, c) of ``disparity = a x + b y + c``, float64 ``(N, 3)``, and whether there is one,
        bool ``(N,)``: RANSAC finds none in a superpixel whose pixels lie on a line.
    """
    rows, columns = np.nonzero(reliable & visible[labels])
    owners = labels[rows, columns]
    order = np.argsort(owners, kind='stable')
    rows, columns, owners = rows[order], columns[order], owners[order]
    values = disparity[rows, columns].astype(np.float64)
    starts = np.searchsorted(owners, np.arange(len(visible) + 1))
    planes, fitted = np.zeros((len(visible), 3)), np.zeros(len(visible), bool)
    for index in np.flatnonzero(visible):
        members = slice(starts[index], starts[index + 1])
        plane = _ransac(columns[members], rows[members], values[members], depth_unit, rng)
        if plane is not None:
            planes[index], fitted[index] = plane, True
    return planes, fitted


def _ransac(x, y, disparity, depth_unit, rng):
    """One plane, as (a, b, c), through most of the points; None if all of them lie on a line."""
    origin = np.array([x.mean(), y.mean()])
    points = np.stack([x - origin[0], y - origin[1], disparity], axis=1)
    depth = depth_unit / disparity
    tolerance = INLIER * np.median(depth)
    chosen = rng.permutation(len(points))[:SAMPLE]
    sample, sample_depth = points[chosen], depth[chosen]

    best, best_count, tried, needed = None, 0, 0, MAX_ITERATIONS
    while tried < needed:
        # three points may coincide, which makes the hypothesis void
        first, second, third = sample[rng.integers(len(sample), size=(3, BATCH))]
        normal = np.cross(second - first, third - first)
        valid = np.abs(normal[:, 2]) > 1e-9
        normal, first = normal[valid], first[valid]
        tried += BATCH
        if not len(normal):
            continue
        slopes = -normal[:, :2] / normal[:, 2:]
        offsets = first[:, 2] - np.einsum('kc,kc->k', slopes, first[:, :2])
        inliers = _near(slopes @ sample[:, :2].T + offsets[:, None], sample_depth, depth_unit, tolerance).sum(axis=1)
        winner = int(inliers.argmax())
        if inliers[winner] > best_count:
            best, best_count = (*slopes[winner], offsets[winner]), int(inliers[winner])
            share = best_count / len(sample)
            if share < 1:
                needed = min(MAX_ITERATIONS, np.log(1 - CONFIDENCE) / np.log(1 - share**3))
            else:
                needed = 0
    if best is None:
        return None
    plane = np.array(best)
    design = np.stack([points[:, 0], points[:, 1], np.ones(len(points))], axis=1)
    inside = _near(design @ plane, depth, depth_unit, tolerance)
    if inside.sum() >= 3:
        refined, _, rank, _ = np.linalg.lstsq(design[inside], points[inside, 2], rcond=None)
        plane = refined if rank == 3 else plane
    a, b, c = plane
    return a, b, c - a * origin[0] - b * origin[1]


def _near(plane_disparity, depth, depth_unit, tolerance):
    """Whether points are near planes, in metres; behind the camera no plane is near."""
    plane_depth = depth_unit / np.where(plane_disparity > 1e-6, plane_disparity, 1e-6)
    return np.abs(plane_depth - depth) <= tolerance


def _match(image, labels, pixels, fitted):
    """For every superpixel the one whose plane it takes, int ``(N,)``; those with a plane keep theirs.

    Greedy: the most alike pair of a superpixel without and one with a plane comes first, and whoever got a plane can
    hand it on. The distance is that of SLIC, ``|mean Lab - mean Lab|^2 + (m / S)^2 |centroid - centroid|^2``, where S
    is the side of a superpixel.
    """
    height, width = labels.shape
    flat = labels.ravel()
    area = np.maximum(pixels, 1)
    # OpenCV's Lab of float images has L in [0, 100]
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    rows, columns = np.divmod(np.arange(flat.size), width)
    scale = COMPACTNESS / np.sqrt(height * width / len(pixels))
    features = np.stack([
        *(np.bincount(flat, channel, len(pixels)) / area for channel in lab.T),
        *(scale * np.bincount(flat, place, len(pixels)) / area for place in (rows, columns))], axis=1)

    source = np.where(fitted, np.arange(len(pixels)), -1)
    open_ = ~fitted & (pixels > 0)
    distance = np.full(len(pixels), np.inf)
    partner = np.zeros(len(pixels), np.int64)
    holders = np.flatnonzero(fitted)
    for index in np.flatnonzero(open_):
        to_holders = np.square(features[holders] - features[index]).sum(axis=1)
        nearest = int(to_holders.argmin())
        distance[index], partner[index] = to_holders[nearest], holders[nearest]
    while open_.any():
        index = int(np.where(open_, distance, np.inf).argmin())
        source[index] = source[partner[index]]
        open_[index] = False
        to_new = np.square(features - features[index]).sum(axis=1)
        closer = open_ & (to_new < distance)
        distance[closer], partner[closer] = to_new[closer], index
    return np.maximum(source, 0)


def fill_nearest(disparity, known):
    """Fill what is unknown with the nearest known value.

    Args:
        disparity (numpy.ndarray): float32 ``(H, W)``.
        known (numpy.ndarray): bool ``(H, W)``, True somewhere.

    Returns:
        numpy.ndarray: float32 ``(H, W)``.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    values = np.zeros(int(labels.max()) + 1, np.float32)
    values[labels[known]] = disparity[known]
    return values[labels]


def warp_to_right(disparity):
    """The disparity of the right view from that of the left one.

    The nearer surface hides the farther one; what only the right camera sees belongs to the farther of its neighbours
    in the row.

    Args:
        disparity (numpy.ndarray): float32 ``(H, W)``, pixels, positive everywhere.

    Returns:
        numpy.ndarray: float32 ``(H, W)``, positive everywhere: the point at x of the right view is at
        ``x + disparity`` of the left one.
    """
    height, width = disparity.shape
    columns = np.arange(width)[None] - np.rint(disparity).astype(np.int64)
    inside = columns >= 0
    targets = (np.arange(height)[:, None] * width + columns)[inside]
    values = disparity[inside]
    # far to near: the last one written stays
    order = np.argsort(values, kind='stable')
    right = np.zeros(height * width, np.float32)
    right[targets[order]] = values[order]
    right = right.reshape(height, width)

    known = right > 0
    index = np.arange(width)[None]
    before = np.maximum.accumulate(np.where(known, index, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, index, width)[:, ::-1], axis=1)[:, ::-1]
    from_left = np.where(before >= 0, np.take_along_axis(right, np.maximum(before, 0), axis=1), np.inf)
    from_right = np.where(after < width, np.take_along_axis(right, np.minimum(after, width - 1), axis=1), np.inf)
    filled = np.minimum(from_left, from_right)
    # a row of which nothing is left takes what the left view has there
    return np.where(np.isfinite(filled), filled, disparity).astype(np.float32)
