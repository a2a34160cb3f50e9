"""Train the classifier behind ``mmweather.detect`` on synthesised weather, judge it, and write it with its card.

    python tools/train_classifier.py --videos clean/*.mp4 --judge tennis.mp4

Everything is rendered ahead: crops of procedural scenes and of the videos, equally many, in every kind of weather and
clean. The judge sees whole frames of held-out scenes and videos, degraded by the synthesis at its default strength.
"""
import argparse
import shlex
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from mmweather.datasets.synthetic import SyntheticClips
from mmweather.inference import open_source
from mmweather.inference.detection import detect
from mmweather.models.classifier import WeatherClassifier, network
from mmweather.synthesis import SceneRenderer, degrade, estimate_depth
from mmweather.synthesis.blur import BlurOn, optical_flow, random_blur
from mmweather.synthesis.domains import depth_range
from mmweather.synthesis.rain import default_focal
from mmweather.synthesis.rainy import RainOn, random_rain
from mmweather.synthesis.snow import SnowOn, random_snow

#: Side of the crops.
SIDE = 208
#: Seeds of the held-out scenes; training uses small ones.
HELD_OUT = range(920_001, 920_013)
#: PSNR in dB between degraded and clean above which the weather is too faint to have a name.
FAINT = 29.0
#: Standard deviation, in gray levels, of a clean crop below which there is nothing to see.
BLAND = 20.0
CLASSES = WeatherClassifier.classes
#: Haze by daylight in half of the samples, the other domains share the rest.
HAZES = ('haze', 'haze', 'haze', 'haze', 'low_light', 'colour_cast', 'sand', 'noisy', 'night')


def scene_views(seeds, views=2, size=(288, 512)):
    """Yields clean frames of scenes: (frame, depth, flow to the next frame, flow to the one before)."""
    for number, seed in enumerate(seeds):
        renderer = SceneRenderer(('drive', 'walk')[number % 2], size, seed)
        for view in (renderer.frame(37 * t) for t in range(views)):
            # the motion is nearly even within two frames
            yield _slim(view.frame, view.depth, view.flow_forward, -view.flow_forward)


def video_frames(video, count, height=None):
    """Yields clean frames of a video, evenly spread, as :func:`scene_views` does, with estimated geometry."""
    source = open_source(video)
    size = (round(source.size[1] * height / source.size[0]), height) if height else source.size[::-1]
    frames = [cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in source]
    for index in np.linspace(1, len(frames) - 2, count).round().astype(int):
        before, frame, after = frames[index - 1:index + 2]
        yield _slim(frame, estimate_depth(frame), optical_flow(frame, after), optical_flow(frame, before))


def _slim(frame, *geometry):
    """A view that takes little memory: geometry in half precision."""
    return frame, *(array.astype(np.float16) for array in geometry)


def crop(view, rng):
    """A square of a clean frame at a random scale, mirrored or not, with its geometry and the limits of its depth."""
    frame, (depth, to_next, to_previous) = view[0], (array.astype(np.float32) for array in view[1:])
    limits = depth_range(depth)
    scale = max(rng.uniform(0.6, 1.3), SIDE / min(frame.shape[:2]) + 1e-3)
    side = int(SIDE / scale)
    top, left = (int(rng.integers(extent - side + 1)) for extent in frame.shape[:2])
    window, size = (slice(top, top + side), slice(left, left + side)), (SIDE, SIDE)
    frame, depth = cv2.resize(frame[window], size, interpolation=cv2.INTER_AREA), cv2.resize(depth[window], size)
    flows = [cv2.resize(flow[window], size) * scale for flow in (to_next, to_previous)]
    if rng.random() < 0.5:
        frame, depth = np.ascontiguousarray(frame[:, ::-1]), np.ascontiguousarray(depth[:, ::-1])
        flows = [np.ascontiguousarray(flow[:, ::-1]) * np.float32([-1, 1]) for flow in flows]
    frame = SyntheticClips.vary_tone(frame[None], rng)[0]
    return frame, depth, flows, limits


def put_on(name, frame, depth, flows, limits, rng):
    """Degrades a clean frame at random; returns it and what it would be without, which differs in a shaken view."""
    size, t = frame.shape[:2], int(rng.integers(10_000))
    if name == 'clean':
        return frame, frame
    if name in ('rain', 'drops'):
        height = rng.uniform(200, 480)
        focal = default_focal((height, height * 1.78))
        # the default in every second sample, otherwise all that there is
        rain = RainOn(size, int(rng.integers(2**31)), float(rng.uniform(0.5, 1.4)), rain=dict(focal=focal),
                      raindrops=dict(focal=focal)) if rng.random() < 0.5 else random_rain(size, rng)
        if rain.rain is None or rain.raindrops is None:
            rain = RainOn(size, int(rng.integers(2**31)), float(rng.uniform(0.5, 1.4)))
        if name == 'drops':
            rain.rain = None
        elif rng.random() < 0.4:
            rain.raindrops = None
        return rain(frame, t, depth)['lq'], frame
    if name == 'snow':
        focal = default_focal((rng.uniform(200, 480), 480))
        snow = SnowOn(size, int(rng.integers(2**31)), float(rng.uniform(0.4, 1.4)), focal=focal) \
            if rng.random() < 0.5 else random_snow(size, rng)
        return snow(frame, t, depth)['lq'], frame
    if name == 'haze':
        domain = HAZES[int(rng.integers(len(HAZES)))]
        return degrade(frame, depth, domain, int(rng.integers(2**31)), limits).lq, frame
    blurred = random_blur(size, rng)(frame, t, flows[1], flows[0])
    return blurred['lq'], blurred['gt']


def wear(image, rng):
    """What any camera and encoder do, and no weather: a little noise, JPEG."""
    if rng.random() < 0.3:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0.5, 5))
        image = np.clip(image + noise + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def difference(image, clean):
    """PSNR in dB."""
    error = np.mean((image.astype(np.float32) - clean)**2)
    return np.inf if error == 0 else 10 * np.log10(255**2 / error)


def render(views, count, seed=0):
    """Renders the training set.

    Args:
        views (list[list]): Groups of clean views, which are drawn equally often.
        count (int): Crops; as many of every class, and as many clean ones again.
        seed (int): Seed. Defaults to 0.

    Returns:
        tuple[ndarray, ndarray]: Crops uint8 ``(N, SIDE, SIDE, 3)`` and their classes ``(N,)``.
    """
    images, labels = np.empty((count, SIDE, SIDE, 3), np.uint8), np.empty(count, np.int64)
    begin = time.perf_counter()
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        label = number % (len(CLASSES) + 1) % len(CLASSES)
        # what hardly shows is drawn again
        for _ in range(20):
            group = views[int(rng.integers(len(views)))]
            clean = crop(group[int(rng.integers(len(group)))], rng)
            image, sharp = put_on(CLASSES[label], *clean, rng)
            # a wall is the same in any weather
            if clean[0].std() > BLAND and (CLASSES[label] == 'clean' or difference(image, sharp) < FAINT):
                break
        images[number], labels[number] = wear(image, rng), label
        if number % 200 == 199:
            print(f'{number + 1}/{count} crops, {(number + 1) / (time.perf_counter() - begin):.1f} per second',
                  flush=True)
    return images, labels


def train(images, labels, iterations, batch=256, seed=0, held_out=0.15):
    """Trains the layers that judge: AdamW, labels smoothed by 0.05, noisy statistics, the learning rate a cosine.

    Args:
        images (ndarray): Crops uint8 ``(N, SIDE, SIDE, 3)``.
        labels (ndarray): Their classes ``(N,)``.
        iterations (int): Steps.
        batch (int): Crops per step. Defaults to 256.
        seed (int): Seed. Defaults to 0.
        held_out (float): Share of the crops, the last ones, that only tell the accuracy. Defaults to 0.15.

    Returns:
        WeatherClassifier: In evaluation mode.
    """
    torch.manual_seed(seed)
    model = WeatherClassifier()
    described = []
    for start in range(0, len(images), 32):
        inputs = torch.from_numpy(images[start:start + 32]).permute(0, 3, 1, 2).float().div_(255)
        with torch.no_grad():
            described.append(model.describe(inputs))
        if start % 320 == 0:
            print(f'{start}/{len(images)} crops described', flush=True)
    described, labels = torch.cat(described), torch.from_numpy(labels)
    count = round(len(labels) * (1 - held_out))
    model.mean.copy_(described[:count].mean(dim=0))
    model.scale.copy_(1 / (described[:count].std(dim=0) + 1e-3))
    optimizer = torch.optim.AdamW(model.head.parameters(), lr=3e-3, weight_decay=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for iteration in range(iterations):
        chosen = torch.randint(count, (batch, ))
        # other places and weathers have other statistics than these few
        inputs = described[chosen]
        inputs = inputs + 0.1 * torch.randn_like(inputs) / model.scale
        loss = F.cross_entropy(model.judge(inputs), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if iteration % 200 == 199:
            model.eval()
            right = model.judge(described).argmax(dim=1) == labels
            print(f'{iteration + 1}/{iterations}: loss {loss.item():.3f}, right {right[:count].float().mean():.3f} of '
                  f'the training, {right[count:].float().mean():.3f} of the other crops', flush=True)
            model.train()
    return model.eval()


def default_weather(name, frame, depth, flows, seed):
    """A whole frame in the synthesis' default weather."""
    size, t = frame.shape[:2], 3
    if name in ('rain', 'drops'):
        return RainOn(size, seed, streaks=name == 'rain')(frame, t, depth)['lq']
    if name == 'snow':
        return SnowOn(size, seed)(frame, t, depth)['lq']
    if name == 'haze':
        return degrade(frame, depth, 'haze', seed).lq
    if name == 'blur':
        return BlurOn(size, seed)(frame, t, flows[1], flows[0])['lq']
    return frame


def confusion(model, views):
    """How often which class is taken for which, single frames.

    Args:
        model (WeatherClassifier): In evaluation mode.
        views (Iterable[tuple]): Clean frames as :func:`scene_views` yields them.

    Returns:
        ndarray: int ``(6, 6)``, rows are the truth.
    """
    counts = np.zeros((len(CLASSES), len(CLASSES)), int)
    for seed, (frame, *geometry) in enumerate(views):
        depth, to_next, to_previous = (array.astype(np.float32) for array in geometry)
        for row, name in enumerate(CLASSES):
            found = detect(default_weather(name, frame, depth, (to_next, to_previous), seed), network=model)
            counts[row, CLASSES.index(found.name)] += 1
    return counts


def as_table(counts):
    """A confusion matrix as a Markdown table."""
    lines = ['| truth | ' + ' | '.join(CLASSES) + ' | right |', '| --- |' + ' --- |' * (len(CLASSES) + 1)]
    for name, row in zip(CLASSES, counts):
        cells = ' | '.join(str(count) for count in row)
        lines.append(f'| {name} | {cells} | {row[CLASSES.index(name)] / row.sum():.0%} |')
    return '\n'.join(lines)


def _without_folder(argument):
    return Path(argument).name if Path(argument).suffix == '.mp4' else argument


def write(model, tables, args):
    """Writes weights and card."""
    from safetensors.torch import save_file

    from mmweather import __version__
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    path = Path(args.output)
    save_file(state, path, metadata=dict(model='weather_classifier', package=f'mmweather {__version__}',
                                         license='Apache-2.0'))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    names = ', '.join(Path(video).stem for video in args.videos)
    body = '\n\n'.join(f'{title}:\n\n{table}' for title, table in tables.items())
    path.with_suffix('.md').write_text(f"""# weather_classifier

{parameters:,} parameters, float16, {path.stat().st_size / 1e6:.2f} MB. Licence: Apache-2.0.

- Says which of {', '.join(CLASSES)} a frame shows; behind `mmweather.detect`.
- Trained on: {args.crops} crops of {SIDE} pixels from {args.scenes} procedural scenes and the real clips {names}
  (from the demo gallery of the Apache-2.0 project facebookresearch/sam2), equally often, under weather synthesised by
  the package; seed {args.seed}, {args.iterations} iterations of {args.batch} crops.
- Command: `{shlex.join(['python', 'tools/train_classifier.py', *map(_without_folder, sys.argv[1:])])}`
- Knows synthetic weather only. Real haze was tried on two photographs; real rain, snow and blur were not tried.

Confusion of single frames, the synthesis at its default strength, nothing of it trained on. Rows are the truth.

{body}
""", encoding='utf-8')
    print(f'Wrote {path} and its card.')


def main():
    """Runs rendering, training and judging."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--videos', nargs='*', default=[], help='clean videos to train on')
    parser.add_argument('--judge', nargs='*', default=[], help='clean videos that are not trained on')
    parser.add_argument('--scenes', type=int, default=120, help='scenes to train on (120)')
    parser.add_argument('--frames', type=int, default=60, help='frames of each video (60)')
    parser.add_argument('--crops', type=int, default=9100, help='crops to render (9100)')
    parser.add_argument('--iterations', type=int, default=1500, help='training steps (1500)')
    parser.add_argument('--batch', type=int, default=256, help='crops per step (256)')
    parser.add_argument('--seed', type=int, default=0, help='seed (0)')
    parser.add_argument('--cache', help='.npz file in which the rendered crops are kept')
    parser.add_argument('--render-only', action='store_true', help='stop when the crops are rendered')
    parser.add_argument('-o', '--output', default=str(network.WEIGHTS), help='where to; the package by default')
    args = parser.parse_args()

    cached = args.cache and Path(args.cache).is_file()
    if cached:
        stored = np.load(args.cache)
        images, labels = stored['images'][:args.crops], stored['labels'][:args.crops]
    else:
        views = [list(scene_views(range(args.scenes)))]
        views += [[view for video in args.videos for view in video_frames(video, args.frames, 360)]] * bool(args.videos)
        images, labels = render(views, args.crops, args.seed)
        if args.cache:
            np.savez(args.cache, images=images, labels=labels)
    if args.render_only:
        return
    model = train(images, labels, args.iterations, args.batch, args.seed)
    # judged as it ships
    model.half().float()
    tables = {f'Held-out scenes (seeds {HELD_OUT.start} to {HELD_OUT.stop - 1}, 432x240, one view of each)':
              as_table(confusion(model, scene_views(HELD_OUT, 1, (240, 432))))}
    for video in args.judge:
        tables[f'Real video {Path(video).stem} (12 frames)'] = as_table(confusion(model, video_frames(video, 12)))
    for title, table in tables.items():
        print(f'\n{title}\n{table}')
    write(model, tables, args)


if __name__ == '__main__':
    sys.exit(main())
