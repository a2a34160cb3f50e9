"""What the procedural scenes are painted with: facades, asphalt, foliage, cars, people, sky.

Every painter returns uint8 RGB or RGBA with straight alpha, and draws from its generator only, so that the look of a
world follows from its seed. :class:`mmweather.synthesis.scene_world.Texture` builds the levels of detail.
"""
from functools import wraps

import cv2
import numpy as np

from .noise import fractal_noise, value_noise

WORDS = ('CAFE', 'HOTEL', 'BAKERY', 'BANK', 'MARKET', 'BOOKS', 'PIZZA', 'OPEN', 'PARKING', 'THEATRE', 'FLOWERS',
         'STATION', 'SALE 50%', 'BAR 24', 'CINEMA', 'PHARMACY', 'No. 17', 'EXIT', 'MUSEUM', 'WEATHER')
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def _finish(canvas):
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _rgb(color):
    """A colour in the form that OpenCV's drawing functions take."""
    return tuple(float(value) for value in color)


def random_color(rng, hue=None, saturation=(0.1, 0.6), value=(0.25, 0.9)):
    """A random colour, float RGB in [0, 255]; ``hue`` in degrees with its spread, or None for any."""
    degrees = rng.uniform(0, 360) if hue is None else rng.normal(*hue) % 360
    hsv = np.float32([[[degrees, rng.uniform(*saturation), rng.uniform(*value)]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255


def _grain(shape, rng, amplitude, beta=1.2):
    return fractal_noise(shape, rng, beta)[..., None] * amplitude


def _text(canvas, rng, box, color, word=None):
    """A word that fills ``box`` (x, y, width, height) as far as its letters allow."""
    x, y, width, height = (int(v) for v in box)
    word = str(rng.choice(WORDS)) if word is None else word
    font = FONTS[rng.integers(len(FONTS))]
    (text_width, text_height), _ = cv2.getTextSize(word, font, 1.0, 2)
    scale = min(0.9 * width / text_width, 0.75 * height / text_height)
    thickness = max(1, round(2.2 * scale))
    (text_width, text_height), _ = cv2.getTextSize(word, font, scale, thickness)
    # OpenCV writes on 8-bit images only
    ink = np.zeros(canvas.shape[:2], np.uint8)
    start = (x + (width - text_width) // 2, y + (height + text_height) // 2)
    cv2.putText(ink, word, start, font, scale, 255, thickness, cv2.LINE_AA)
    canvas += ink[..., None] * np.float32(1 / 255) * (np.float32(color) - canvas)


def _smooth_outlines(painter):
    """Lets a painter work at twice the size: OpenCV draws on float images without antialiasing."""
    @wraps(painter)
    def paint(shape, *args, **kwargs):
        image = painter((2 * shape[0], 2 * shape[1]), *args, **kwargs)
        return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)

    return paint


def asphalt(shape, rng, value=None):
    """Asphalt: fine grain, worn tracks, stains, cracks and a mended patch; tileable but for the patch."""
    height, width = shape
    base = rng.uniform(62, 110) if value is None else value
    tint = rng.normal(0, 3, 3)
    luminance = base + 6 * fractal_noise(shape, rng, 2.0, low=2) + 7 * fractal_noise(shape, rng, 0.4)
    canvas = np.ascontiguousarray((luminance[..., None] + tint).astype(np.float32))
    for _ in range(rng.integers(2, 6)):
        center = (int(rng.uniform(0.1, 0.9) * width), int(rng.uniform(0.1, 0.9) * height))
        stain = np.zeros(shape, np.float32)
        axes = (int(rng.uniform(0.02, 0.1) * width), int(rng.uniform(0.02, 0.1) * height))
        cv2.ellipse(stain, center, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        stain = cv2.GaussianBlur(stain, (0, 0), max(2.0, 0.2 * min(axes)))
        canvas *= 1 - stain[..., None] * rng.uniform(0.1, 0.35)
    for _ in range(rng.integers(2, 6)):
        crack = np.cumsum(rng.normal(0, 0.03, (14, 2)), axis=0) + rng.uniform(0, 1, 2)
        points = (crack * (width, height)).astype(np.int32)
        cv2.polylines(canvas, [points], False, (float(base) * 0.5,) * 3, 1, cv2.LINE_AA)
    if rng.uniform() < 0.7:
        x, y = int(rng.uniform(0.1, 0.6) * width), int(rng.uniform(0.1, 0.6) * height)
        patch = canvas[y:y + int(0.3 * height), x:x + int(rng.uniform(0.1, 0.35) * width)]
        patch *= rng.uniform(0.7, 0.9)
    return _finish(canvas)


def road(shape, rng, lanes=2):
    """A road with lane marks along the vertical axis; the texture's height is one dash and its gap."""
    height, width = shape
    canvas = asphalt(shape, rng).astype(np.float32)
    paint = np.zeros(shape, np.float32)
    mark = max(2, round(0.018 * width))
    edge = round(0.03 * width)
    for x in (edge, width - edge - mark):
        paint[:, x:x + mark] = 1
    for lane in range(1, lanes):
        x = round(lane * width / lanes - mark / 2)
        paint[:round(0.45 * height), x:x + mark] = 1
    worn = np.clip(0.85 + 0.35 * fractal_noise(shape, rng, 1.0), 0.1, 1)
    paint = cv2.GaussianBlur(paint, (0, 0), 0.8) * worn
    color = np.float32([225, 222, 210]) if rng.uniform() < 0.75 else np.float32([220, 180, 70])
    canvas += paint[..., None] * (color - canvas)
    if rng.uniform() < 0.6:  # a manhole
        center = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.6, 0.9) * height))
        radius = round(0.035 * width)
        cv2.circle(canvas, center, radius, (48, 46, 45), -1, cv2.LINE_AA)
        cv2.circle(canvas, center, round(radius * 0.85), (88, 84, 80), max(1, radius // 6), cv2.LINE_AA)
        for offset in range(-radius // 2, radius // 2 + 1, max(2, radius // 4)):
            y = center[1] + offset
            cv2.line(canvas, (center[0] - radius // 2, y), (center[0] + radius // 2, y), (95, 90, 86), 1, cv2.LINE_AA)
    return _finish(canvas)


def paving(shape, rng, tiles=(8, 8)):
    """Paving stones, every other row shifted by half a stone."""
    height, width = shape
    rows, columns = tiles
    stones = rng.normal(0, 9, (rows, 2 * columns))
    stones = np.repeat(stones.reshape(rows, columns, 2)[..., :1], 2, axis=2).reshape(rows, 2 * columns)
    stones[1::2] = np.roll(stones[1::2], 1, axis=1)
    canvas = cv2.resize(stones.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
    canvas = canvas[..., None] + random_color(rng, (35, 15), (0.02, 0.2), (0.45, 0.7))
    joint = (0.55 * float(canvas.mean()),) * 3
    thickness = max(1, height // 200)
    for row in range(rows):
        y = round(row * height / rows)
        cv2.line(canvas, (0, y), (width, y), joint, thickness)
        for column in range(columns + 1):
            x = round((column + 0.5 * (row % 2)) * width / columns)
            cv2.line(canvas, (x, y), (x, round((row + 1) * height / rows)), joint, thickness)
    return _finish(canvas + _grain(shape, rng, 6, 0.8) + _grain(shape, rng, 5, 2.0))


def grass(shape, rng):
    """A lawn with clumps, bare patches, fallen leaves and flowers."""
    height, width = shape
    green = random_color(rng, (95, 12), (0.35, 0.6), (0.3, 0.5))
    dry = random_color(rng, (48, 8), (0.25, 0.45), (0.4, 0.6))
    blend = np.clip(0.25 + 0.2 * fractal_noise(shape, rng, 2.2, low=2), 0, 1)[..., None]
    canvas = green + blend * (dry - green)
    blades = cv2.GaussianBlur(rng.standard_normal(shape, dtype=np.float32), (0, 0), sigmaX=0.6, sigmaY=2.0)
    canvas = canvas * (1 + 0.45 * blades[..., None]) + _grain(shape, rng, 7, 1.0)
    canvas = np.ascontiguousarray(canvas.astype(np.float32))
    leaves = random_color(rng, (35, 12), (0.5, 0.8), (0.4, 0.8))
    flowers = random_color(rng, None, (0.1, 0.7), (0.8, 1))
    for color, count in ((leaves, 120), (flowers, 60)):
        spots = rng.uniform((0, 0, 1), (width, height, 3), (count, 3))
        for x, y, radius in spots.astype(int).tolist():
            cv2.circle(canvas, (x, y), radius, _rgb(color * rng.uniform(0.7, 1.1)), -1, cv2.LINE_AA)
    return _finish(canvas)


def _masonry(shape, rng):
    """Plaster, brick or panels."""
    height, width = shape
    kind = rng.integers(3)
    color = random_color(rng, (25, 20), (0.08, 0.55), (0.4, 0.9))
    canvas = np.broadcast_to(color, (*shape, 3)) + _grain(shape, rng, 7, 2.2) + _grain(shape, rng, 4, 0.6)
    canvas = np.ascontiguousarray(canvas.astype(np.float32))
    if kind == 0:
        course = max(4, height // 90)
        rows = height // course + 1
        bricks = rng.normal(0, 12, (rows, width // (3 * course) + 2)).astype(np.float32)
        bricks = cv2.resize(bricks, (width, rows * course), interpolation=cv2.INTER_NEAREST)[:height]
        bricks[(np.arange(height) // course) % 2 == 1] = np.roll(
            bricks[(np.arange(height) // course) % 2 == 1], 3 * course // 2, axis=1)
        canvas += bricks[..., None]
        canvas[::course] = canvas[::course] * 0.6 + 70
    elif kind == 1:
        for x in np.linspace(0, width, rng.integers(3, 7)):
            cv2.line(canvas, (int(x), 0), (int(x), height), _rgb(color * 0.65), max(1, width // 200))
    # rain has washed dirt down from the top
    streaks = cv2.resize(rng.uniform(0, 1, (1, width // 6 + 1)).astype(np.float32), (width, 1))
    fall = np.linspace(1, 0.2, height, dtype=np.float32)[:, None]
    canvas *= 1 - 0.22 * (streaks**3 * fall)[..., None]
    return canvas, color


def facade(shape, rng, floors, columns, dusk=False):
    """A house front: masonry, a grid of windows, ledges, a shop with a sign or a door on the ground floor."""
    height, width = shape
    canvas, color = _masonry(shape, rng)
    trim = _rgb(np.clip(color * rng.choice([0.6, 1.35]), 0, 250))
    glass = random_color(rng, (210, 20), (0.1, 0.4), (0.12, 0.4))
    floor_height = height / (floors + 0.3)
    cell = width / columns
    window_width, window_height = cell * rng.uniform(0.4, 0.75), floor_height * rng.uniform(0.5, 0.7)
    bars = rng.integers(0, 3)
    for floor in range(floors):
        top = 0.3 * floor_height + floor * floor_height
        shop = floor == floors - 1
        for column in range(columns):
            x0 = int((column + 0.5) * cell - window_width / 2)
            y0 = int(top + (floor_height - window_height) / 2)
            x1, y1 = int(x0 + window_width), int(y0 + window_height)
            if shop:
                x0, x1, y1 = int((column + 0.08) * cell), int((column + 0.92) * cell), int(top + floor_height * 0.95)
                y0 = int(top + 0.25 * floor_height)
            _window(canvas, rng, (x0, y0, x1, y1), glass, trim, bars, dusk)
        if floor and rng.uniform() < 0.7:
            y = int(top)
            canvas[y:y + max(2, height // 120)] = trim
            canvas[y + max(2, height // 120):y + max(3, height // 60)] *= 0.7
    if rng.uniform() < 0.75:
        top = 0.3 * floor_height + (floors - 1) * floor_height
        sign = (rng.uniform(0.02, 0.3) * width, top + 0.02 * floor_height,
                rng.uniform(0.4, 0.65) * width, 0.21 * floor_height)
        board = random_color(rng, None, (0.2, 0.9), (0.2, 0.95))
        x, y, w, h = (int(v) for v in sign)
        cv2.rectangle(canvas, (x, y), (x + w, y + h), _rgb(board), -1)
        _text(canvas, rng, sign, (250, 248, 235) if board.mean() < 140 else (20, 20, 30))
    if rng.uniform() < 0.5:  # a downpipe
        x = int(rng.choice([0.015, 0.97]) * width)
        cv2.line(canvas, (x, 0), (x, height), _rgb(color * 0.5), max(2, width // 110))
    return _finish(canvas)


def _window(canvas, rng, box, glass, trim, bars, dusk):
    x0, y0, x1, y1 = box
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    frame = max(1, (x1 - x0) // 14)
    cv2.rectangle(canvas, (x0 - frame, y0 - frame), (x1 + frame, y1 + frame), trim, -1)
    lit = rng.uniform() < (0.45 if dusk else 0.06)
    pane = np.float32([255, 205, 120]) * rng.uniform(0.7, 1.0) if lit else glass * rng.uniform(0.6, 1.5)
    rows = np.linspace(1.25, 0.75, y1 - y0, dtype=np.float32)[:, None, None]
    canvas[y0:y1, x0:x1] = pane * rows
    if not lit:  # the sky's reflection, cut off by the roofs on the other side
        cut = int((x1 - x0) * rng.uniform(0.2, 1.0))
        points = np.int32([[x0, y0], [x0 + cut, y0], [x0, y0 + int((y1 - y0) * rng.uniform(0.3, 1.0))]])
        cv2.fillPoly(canvas, [points], _rgb(pane * 1.2 + 38), cv2.LINE_AA)
    if rng.uniform() < 0.35:  # a blind or a curtain
        blind = random_color(rng, None, (0.0, 0.4), (0.5, 0.95))
        canvas[y0:y0 + int((y1 - y0) * rng.uniform(0.15, 0.7)), x0:x1] = blind
    for bar in range(bars):
        x = x0 + (bar + 1) * (x1 - x0) // (bars + 1)
        cv2.line(canvas, (x, y0), (x, y1), trim, frame)
    if bars:
        cv2.line(canvas, (x0, (2 * y0 + y1) // 3), (x1, (2 * y0 + y1) // 3), trim, frame)
    canvas[y1 + frame:y1 + 3 * frame, x0 - frame:x1 + frame] *= 0.6  # the sill's shadow


def tree(shape, rng, trunk=0.35):
    """A tree: a forked trunk below clusters of leaves, lit from above; RGBA."""
    height, width = shape
    color = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)
    bark = random_color(rng, (28, 8), (0.2, 0.45), (0.2, 0.4))
    crown = (width / 2, height * (1 - trunk) / 2)
    ends = [(crown[0] + rng.normal(0, 0.16) * width, crown[1] * rng.uniform(0.5, 1.4)) for _ in range(6)]
    root, fork = (int(width / 2 + rng.normal(0, 0.02) * width), height), (width // 2, int(height * (1 - 0.7 * trunk)))
    for a, b, thickness in [(root, fork, width // 16)] + [(fork, end, width // 32) for end in ends]:
        start, stop = tuple(int(v) for v in a), tuple(int(v) for v in b)
        cv2.line(alpha, start, stop, 1.0, max(1, thickness), cv2.LINE_AA)
        cv2.line(color, start, stop, _rgb(bark), max(1, thickness) + 2, cv2.LINE_AA)
    color[alpha > 0] *= 1 + 0.25 * fractal_noise(shape, rng, 1.0)[alpha > 0][:, None]
    leaf = random_color(rng, (90, 22), (0.3, 0.65), (0.3, 0.55))
    if rng.uniform() < 0.2:
        leaf = random_color(rng, (35, 12), (0.5, 0.8), (0.5, 0.75))
    count = 420
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count))
    lumps = 1 + 0.18 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.1 * np.cos(7 * angle + rng.uniform(0, 6))
    xs = crown[0] + 0.4 * width * reach * lumps * np.cos(angle)
    ys = crown[1] + 0.85 * crown[1] * reach * lumps * np.sin(angle)
    # from the shaded inside to the sunlit outside and top
    light = 0.45 + 0.5 * (1 - ys / (2 * crown[1])) + 0.35 * reach * (ys < crown[1]) + rng.normal(0, 0.13, count)
    for index in np.argsort(light, kind='stable'):
        center = (int(xs[index]), int(ys[index]))
        axes = (max(1, int(width * rng.uniform(0.015, 0.05))), max(1, int(width * rng.uniform(0.01, 0.035))))
        tilt = float(rng.uniform(0, 180))
        shade = _rgb(leaf * light[index] * rng.uniform(0.85, 1.15))
        cv2.ellipse(color, center, axes, tilt, 0, 360, shade, -1, cv2.LINE_AA)
        cv2.ellipse(alpha, center, axes, tilt, 0, 360, 1.0, -1, cv2.LINE_AA)
    color *= 1 + 0.16 * fractal_noise(shape, rng, 0.6)[..., None]
    # the sky shines through here and there
    foliage = np.arange(height)[:, None] < fork[1]
    alpha *= np.where(foliage, np.clip(4 * (fractal_noise(shape, rng, 1.7) + 1.9), 0, 1), 1)
    return np.dstack([_finish(color), _finish(alpha * 255)])


def bush(shape, rng):
    """A hedge or bush; RGBA."""
    return tree(shape, rng, trunk=0.06)


def forest(shape, rng):
    """A closed row of trees that tiles sideways; RGBA."""
    height, width = shape
    canvas = np.zeros((height, width, 4), np.uint8)
    for index in range(14):
        tall = int(height * rng.uniform(0.6, 1.0))
        sprite = tree((tall, int(0.6 * tall)), rng, trunk=rng.uniform(0.1, 0.3))
        start = int(index * width / 14 + rng.uniform(-0.3, 0.3) * sprite.shape[1])
        columns = (start + np.arange(sprite.shape[1])) % width
        target = canvas[height - tall:, columns].astype(np.float32)
        weight = sprite[..., 3:].astype(np.float32) / 255
        crown = np.dstack([sprite[..., :3] * np.float32(0.8), np.full(sprite.shape[:2], 255)])
        canvas[height - tall:, columns] = _finish(target + weight * (crown - target))
    floor = int(0.8 * height)
    canvas[floor:][canvas[floor:, :, 3] < 128] = (40, 48, 30, 255)
    return canvas


@_smooth_outlines
def person(shape, rng):
    """Somebody standing or walking, seen from the front or from behind; RGBA."""
    height, width = shape
    color = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)

    def part(points, paint):
        polygon = (np.float32(points) * (width, height)).astype(np.int32)
        cv2.fillConvexPoly(color, polygon, _rgb(paint), cv2.LINE_AA)
        cv2.fillConvexPoly(alpha, polygon, 1.0, cv2.LINE_AA)

    skin = np.float32([[236, 188, 160], [198, 140, 104], [122, 80, 56]])[rng.integers(3)] * rng.uniform(0.9, 1.0)
    coat = random_color(rng, None, (0.1, 0.85), (0.2, 0.95))
    legs = random_color(rng, (220, 40), (0.1, 0.5), (0.12, 0.5))
    shoes = (35, 30, 28)
    stride = rng.uniform(0.02, 0.12)
    for side in (-1, 1):
        hip, foot = 0.5 + 0.07 * side, 0.5 + (0.07 + stride) * side
        part([(hip - 0.09, 0.5), (hip + 0.09, 0.5), (foot + 0.06, 0.95), (foot - 0.06, 0.95)], legs * (1 + 0.08 * side))
        part([(foot - 0.08, 0.94), (foot + 0.08, 0.94), (foot + 0.1, 0.995), (foot - 0.09, 0.995)], shoes)
        swing = rng.uniform(0.0, 0.12)
        part([(0.5 + 0.2 * side, 0.2), (0.5 + 0.3 * side, 0.22), (0.5 + (0.27 + swing) * side, 0.52),
              (0.5 + (0.2 + swing) * side, 0.52)], coat * (0.85 + 0.08 * side))
        part([(0.5 + (0.2 + swing) * side, 0.51), (0.5 + (0.28 + swing) * side, 0.51),
              (0.5 + (0.26 + swing) * side, 0.56), (0.5 + (0.21 + swing) * side, 0.56)], skin)
    part([(0.3, 0.18), (0.7, 0.18), (0.66, 0.55), (0.34, 0.55)], coat)
    part([(0.44, 0.13), (0.56, 0.13), (0.56, 0.19), (0.44, 0.19)], skin * 0.85)
    for target, paint in ((color, _rgb(skin)), (alpha, 1.0)):
        axes = (int(0.14 * width), int(0.07 * height))
        cv2.ellipse(target, (width // 2, int(0.085 * height)), axes, 0, 0, 360, paint, -1, cv2.LINE_AA)
    hair = random_color(rng, (30, 15), (0.2, 0.6), (0.1, 0.5))
    cv2.ellipse(color, (width // 2, int(0.07 * height)), (int(0.15 * width), int(0.06 * height)), 0, 180, 360,
                _rgb(hair), -1, cv2.LINE_AA)
    if rng.uniform() < 0.5:  # stripes or a bag
        part([(0.34, 0.3), (0.66, 0.3), (0.66, 0.36), (0.34, 0.36)], random_color(rng, None, (0.2, 0.9), (0.3, 1.0)))
    folds = 1 + 0.12 * fractal_noise(shape, rng, 2.0)[..., None]
    across = 1.12 - 0.3 * np.abs(np.linspace(-0.8, 1.2, width, dtype=np.float32))[None, :, None]
    return np.dstack([_finish(color * folds * across), _finish(alpha * 255)])


@_smooth_outlines
def sign(shape, rng):
    """A round, triangular or square traffic sign with its back plate; RGBA."""
    height, width = shape
    canvas = np.zeros((height, width, 4), np.float32)
    center, radius = (width // 2, height // 2), int(0.47 * min(height, width))
    kind = rng.integers(3)
    rim, face = [((200, 25, 30, 255), (245, 245, 245, 255)), ((20, 70, 170, 255), (20, 70, 170, 255)),
                 ((20, 20, 20, 255), (245, 200, 30, 255))][rng.integers(3)]
    if kind == 0:
        cv2.circle(canvas, center, radius, rim, -1, cv2.LINE_AA)
        cv2.circle(canvas, center, int(0.78 * radius), face, -1, cv2.LINE_AA)
    else:
        corners = 3 if kind == 1 else 4
        angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2 + (np.pi / 4 if corners == 4 else 0)
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillConvexPoly(canvas, (center + radius * unit).astype(np.int32), rim, cv2.LINE_AA)
        cv2.fillConvexPoly(canvas, (center + 0.72 * radius * unit).astype(np.int32), face, cv2.LINE_AA)
    text = np.ascontiguousarray(canvas[..., :3])
    ink = (15, 15, 15) if sum(face[:3]) > 450 else (245, 245, 245)
    word = str(rng.choice(['30', '50', '70', 'P', 'STOP', '!']))
    _text(text, rng, (0.25 * width, 0.3 * height, 0.5 * width, 0.4 * height), ink, word)
    canvas[..., :3] = text
    return _finish(canvas)


def billboard(shape, rng):
    """An advertising wall: gradient, shapes, words."""
    height, width = shape
    first, second = random_color(rng, None, (0.2, 0.9), (0.3, 0.95)), random_color(rng, None, (0.2, 0.9), (0.3, 0.95))
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    canvas = np.tile(np.float32(first + ramp * (second - first)), (height, 1, 1))
    for _ in range(5):
        center, radius = (int(rng.uniform(0, width)), int(rng.uniform(0, height))), int(rng.uniform(0.1, 0.4) * height)
        cv2.circle(canvas, center, radius, _rgb(random_color(rng, None, (0.2, 0.9), (0.3, 1))), -1, cv2.LINE_AA)
    for row in range(2):
        _text(canvas, rng, (0.05 * width, (0.08 + 0.45 * row) * height, 0.9 * width, 0.38 * height),
              (250, 250, 245) if canvas.mean() < 140 else (15, 15, 40))
    cv2.rectangle(canvas, (0, 0), (width - 1, height - 1), (60, 60, 60), max(2, height // 40))
    return _finish(canvas + _grain((height, width), rng, 3, 1.5))


def fence(shape, rng):
    """A railing or a mesh that tiles sideways; RGBA."""
    height, width = shape
    canvas = np.zeros((height, width, 4), np.float32)
    paint = (*_rgb(random_color(rng, (110, 60), (0.05, 0.4), (0.2, 0.6))), 255.0)
    if rng.uniform() < 0.5:
        for x in range(0, width, width // 16):
            cv2.line(canvas, (x, int(0.06 * height)), (x, height), paint, max(2, width // 110))
        for y in (0.08, 0.5, 0.92):
            cv2.line(canvas, (0, int(y * height)), (width, int(y * height)), paint, max(2, height // 28))
    else:
        pitch = width // 16
        for x in range(-height, width + height, pitch):
            cv2.line(canvas, (x, 0), (x + height, height), paint, 1, cv2.LINE_AA)
            cv2.line(canvas, (x, height), (x + height, 0), paint, 1, cv2.LINE_AA)
        for x in (0, width // 2):
            cv2.line(canvas, (x, 0), (x, height), paint, max(3, width // 70))
        cv2.line(canvas, (0, 2), (width, 2), paint, max(3, height // 40))
    return _finish(canvas)


def metal(shape, rng, value=None):
    """A painted or galvanised post."""
    height, width = shape
    color = random_color(rng, (200, 60), (0.02, 0.25), (0.25, 0.6)) if value is None else np.float32([value] * 3)
    across = 0.6 + 0.55 * np.sin(np.linspace(0.4, 2.9, width, dtype=np.float32))[None, :, None]
    return _finish(color * across + _grain((height, width), rng, 8, 1.5))


@_smooth_outlines
def car_side(shape, rng, paint):
    """A car's body from the side, below the window line, with wheels; RGBA."""
    height, width = shape
    color = np.zeros((height, width, 3), np.float32)
    alpha = np.zeros((height, width), np.float32)
    body = int(0.78 * height)
    rows = np.linspace(1.2, 0.6, height, dtype=np.float32)[:, None, None]
    color[:] = paint * rows
    alpha[:body] = 1
    for x in (0.33, 0.55, 0.72):
        cv2.line(color, (int(x * width), 0), (int(x * width), int(0.7 * height)), _rgb(paint * 0.5), 2)
    for x in (0.4, 0.6):
        cv2.rectangle(color, (int(x * width), int(0.2 * height)), (int((x + 0.05) * width), int(0.25 * height)),
                      _rgb(paint * 0.4), -1)
    color[int(0.66 * height):] *= 0.5
    radius = int(0.4 * height)
    for x in (0.2, 0.8):
        center = (int(x * width), height - radius)
        for size, shade in ((1.12, (12, 12, 12)), (1.0, (28, 28, 29)), (0.62, (150, 150, 154)), (0.2, (60, 60, 60))):
            cv2.circle(color, center, int(size * radius), shade, -1, cv2.LINE_AA)
        for angle in np.arange(5) * 2 * np.pi / 5:
            tip = (int(center[0] + 0.58 * radius * np.cos(angle)), int(center[1] + 0.58 * radius * np.sin(angle)))
            cv2.line(color, center, tip, (70, 70, 74), max(1, radius // 6), cv2.LINE_AA)
        cv2.circle(alpha, center, radius, 1.0, -1, cv2.LINE_AA)
    return np.dstack([_finish(color + _grain((height, width), rng, 2, 2.0)), _finish(alpha * 255)])


@_smooth_outlines
def car_end(shape, rng, paint, rear, dusk=False):
    """A car's front or rear below the window line: lamps, plate, bumper, grille."""
    height, width = shape
    canvas = np.ascontiguousarray(
        np.broadcast_to(paint, (height, width, 3)) * np.linspace(1.15, 0.55, height, dtype=np.float32)[:, None, None])
    canvas[int(0.75 * height):] = (32, 32, 34)

    def rectangle(left, top, right, bottom, color):
        corners = (int(left * width), int(top * height)), (int(right * width), int(bottom * height))
        cv2.rectangle(canvas, *corners, color, -1)

    if not rear:
        rectangle(0.3, 0.3, 0.7, 0.6, (25, 25, 27))
        for y in np.linspace(0.33, 0.57, 5):
            rectangle(0.3, y, 0.7, y, (110, 110, 112))
    lamp = (205, 22, 22) if rear else ((255, 250, 225) if dusk else (225, 228, 232))
    for x in (0.04, 0.78):
        rectangle(x, 0.22, x + 0.18, 0.45, lamp)
        rectangle(x + 0.04, 0.27, x + 0.09, 0.36, (255, 140, 90) if rear else (255, 255, 250))
    plate = (int(0.36 * width), int(0.64 * height), int(0.28 * width), int(0.14 * height))
    cv2.rectangle(canvas, plate[:2], (plate[0] + plate[2], plate[1] + plate[3]), (235, 235, 228), -1)
    letters = ''.join(chr(65 + letter) for letter in rng.integers(0, 26, 2))
    _text(canvas, rng, plate, (20, 20, 30), word=f'{letters} {rng.integers(100, 999)}')
    return _finish(canvas + _grain((height, width), rng, 2, 2.0))


@_smooth_outlines
def car_cabin(shape, rng, paint, panes=2):
    """The windows around a car's cabin, with the roof's edge and the reflected sky."""
    height, width = shape
    canvas = np.ascontiguousarray(np.broadcast_to(paint * 0.9, (height, width, 3)).astype(np.float32))
    for pane in range(panes):
        x0, x1 = int((pane + 0.07) * width / panes), int((pane + 0.93) * width / panes)
        y0, y1 = int(0.14 * height), int(0.95 * height)
        ramp = np.linspace(125, 35, y1 - y0, dtype=np.float32)[:, None, None]
        canvas[y0:y1, x0:x1] = ramp * np.float32([0.85, 0.95, 1.0])
        slant = np.int32([[x0, y0], [x0 + (x1 - x0) // 3, y0], [x0 + (x1 - x0) // 6, y1], [x0, y1]])
        cv2.fillPoly(canvas, [slant], (150, 160, 168), cv2.LINE_AA)
    return _finish(canvas + _grain((height, width), rng, 3, 2.0))


def car_top(shape, rng, paint):
    """A roof or bonnet that mirrors the sky."""
    clouds = value_noise(shape, rng, shape[0] / 3, 0.8, 1.35)[..., None]
    return _finish(paint * clouds + 25)


def soft_shadow(shape):
    """The ambient shadow below a car or a person; RGBA, black."""
    height, width = shape
    y, x = np.mgrid[-1:1:height * 1j, -1:1:width * 1j]
    fall = np.clip(1 - np.maximum(np.abs(x), np.abs(y))**2, 0, 1)**0.8
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[..., 3] = 0.45 * 255 * fall
    return canvas


def sky(shape, rng, dusk):
    """A panorama from the zenith to below the horizon that tiles sideways: gradient, sun glow, clouds."""
    height, width = shape
    if dusk:
        zenith = random_color(rng, (228, 8), (0.35, 0.6), (0.3, 0.5))
        horizon = random_color(rng, (22, 10), (0.3, 0.6), (0.65, 0.95))
        cloud = random_color(rng, (15, 15), (0.15, 0.4), (0.45, 0.8))
    else:
        zenith = random_color(rng, (212, 6), (0.25, 0.65), (0.6, 0.85))
        horizon = random_color(rng, (210, 12), (0.03, 0.15), (0.85, 0.97))
        cloud = random_color(rng, (215, 20), (0.0, 0.06), (0.82, 1.0))
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]**0.8
    canvas = zenith + ramp * (horizon - zenith)
    # clouds are seen ever flatter towards the horizon
    noise = fractal_noise((256, 1024), rng, 3.0, low=2)
    flatness = np.linspace(0.0, 1.0, height, dtype=np.float32)**2.2 * 255
    columns = np.linspace(0, 1023, width, dtype=np.float32)
    warped = cv2.remap(noise, np.tile(columns, (height, 1)), np.tile(flatness[:, None], (1, width)), cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_WRAP)
    cover = 1 / (1 + np.exp(-(warped - rng.uniform(-0.6, 1.0)) * rng.uniform(1.5, 4)))
    shade = 1 - 0.22 * np.clip(warped - 0.8, 0, 1.5)
    canvas = canvas + (0.9 * cover)[..., None] * (cloud * shade[..., None] - canvas)
    return _finish(canvas + _grain(shape, rng, 1.2, 1.5))
