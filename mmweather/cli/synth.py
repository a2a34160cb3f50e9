"""``mmweather synth``: scenes with exact geometry, and rain, blur or haze on them or on a video of one's own."""
import signal
import sys

import click

from .progress import progress_on_stderr

__all__ = ['command']

PARTS = ('gt', 'drop', 'mask', 'streak')
SNOW_PARTS = ('gt', 'snow', 'transmission', 'mask')
SCENES = ('drive', 'walk')


class FrameSize(click.ParamType):
    """A frame size as people write it: ``432x240`` is 432 wide and 240 high. The value is (height, width)."""

    name = 'WxH'

    def convert(self, value, param, ctx):
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        width, _, height = value.lower().partition('x')
        if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= 16):
            self.fail(f'{value} is not a frame size of at least 16x16 such as 432x240', param, ctx)
        return int(height), int(width)


class Color(click.ParamType):
    """A colour as three shares of white with commas between them: ``0.8,0.8,0.85``."""

    name = 'R,G,B'

    def convert(self, value, param, ctx):
        """As click wants it."""
        if isinstance(value, tuple):
            return value
        try:
            color = tuple(float(part) for part in value.split(','))
        except ValueError:
            color = ()
        if len(color) != 3 or not all(0 <= part <= 1 for part in color):
            self.fail(f'{value} is not a colour of three numbers from 0 to 1 such as 0.8,0.8,0.85', param, ctx)
        return color


def _scene_options(frames, fps):
    """The options that both commands have, with the help lines of the two that they take differently."""
    def add(function):
        for option in reversed((
                click.option('--frames', type=click.IntRange(1), metavar='N', help=frames),
                click.option('--size', type=FrameSize(), help='Size of a scene.  [default: 432x240]'),
                click.option('--seed', type=int, default=0, show_default=True,
                             help='The same seed gives the same frames.'),
                click.option('--fps', type=click.FloatRange(1, 240), metavar='RATE', help=f'{fps}  [default: 25]'),
                click.option('-q', '--quiet', is_flag=True, help='No progress and no summary.'))):
            function = option(function)
        return function

    return add


# help of --frames and --fps where INPUT may be a scene, a video or frames
_ANY_SOURCE = ('Frames of a scene, or at most so many of a video, which then loses its sound.  [default: 60 of a '
               'scene, all of a video]', 'Frame rate of a scene or of a folder of frames.')


@click.group('synth')
def command():
    """Render scenes, and rain or snow on them, haze or blur them, or your own video, to train and test with."""
    # a plain kill would leave unfinished files behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@command.command('rain')
@click.argument('source', metavar='INPUT')
@click.option('-o', '--output', required=True, metavar='OUTPUT',
              help='Where to: a video, an image, or a folder for frames or for a dataset.')
@click.option('--strength', type=click.FloatRange(0, 3), default=1.0, show_default=True,
              help='1 is heavy rain, about 22 dB.')
@click.option('--no-streaks', is_flag=True, help='Drops on the lens only.')
@click.option('--no-drops', is_flag=True, help='Streaks in the air only.')
@click.option('--layout', type=click.Choice(['video', 'frames', 'vrds']),
              help='vrds: a dataset to train on.  [default: by the suffix of OUTPUT]')
@click.option('--save-parts', is_flag=True, help='Also write OUTPUT_gt, _drop, _mask and _streak.')
@click.option('--videos', type=click.IntRange(0), metavar='N',
              help='With --layout vrds: training videos.  [default: all of a folder, 1 of a scene]')
@click.option('--test-videos', type=click.IntRange(0), default=0, show_default=True, metavar='N',
              help='With --layout vrds: test videos after those.')
@_scene_options(*_ANY_SOURCE)
def rain(source, output, layout, save_parts, videos, test_videos, no_streaks, no_drops, **options):
    """Let it rain on INPUT: a video, a folder of frames, an image, scene:drive or scene:walk.

    Streaks fall in the scene and drops sit on the lens; both follow from the seed and the frame number alone. Frame
    rate and audio of a video are kept. With --layout vrds, INPUT may also be a folder of videos.
    """
    from pathlib import Path

    from mmweather.synthesis import write_vrds

    if no_streaks and no_drops:
        raise click.UsageError('--no-streaks and --no-drops together leave no rain; drop one of them.')
    if layout != 'vrds' and (videos is not None or test_videos):
        raise click.UsageError('--videos and --test-videos are for --layout vrds.')
    if layout == 'vrds' and save_parts:
        raise click.UsageError('--save-parts is not needed with --layout vrds, which holds all parts.')
    options.update(streaks=not no_streaks, drops=not no_drops)
    weather = {name: options.pop(name) for name in ('strength', 'streaks', 'drops')}

    def make(*arguments):
        return _rainy_frames(*arguments, **weather)

    if layout == 'vrds':
        _write_dataset(source, Path(output), videos, test_videos, make, write_vrds, **options)
    else:
        _write_degraded(source, Path(output), layout, PARTS if save_parts else (), 'rainy', make, **options)


@command.command('snow')
@click.argument('source', metavar='INPUT')
@click.option('-o', '--output', required=True, metavar='OUTPUT',
              help='Where to: a video, an image, or a folder for frames or for a dataset.')
@click.option('--strength', type=click.FloatRange(0, 3), default=1.0, show_default=True,
              help='1 is heavy snow, about 22 dB.')
@click.option('--wind', type=click.FloatRange(-20, 20), metavar='M/S',
              help='Positive to the right.  [default: drawn from the seed]')
@click.option('--veil', type=click.FloatRange(0, 3), default=1.0, show_default=True,
              help='Scales the haze of far flakes, 0 for none.')
@click.option('--layout', type=click.Choice(['video', 'frames', 'rvsd']),
              help='rvsd: a dataset to train on.  [default: by the suffix of OUTPUT]')
@click.option('--save-parts', is_flag=True, help='Also write OUTPUT_gt, _snow, _transmission and _mask.')
@click.option('--videos', type=click.IntRange(0), metavar='N',
              help='With --layout rvsd: training videos.  [default: all of a folder, 1 of a scene]')
@click.option('--test-videos', type=click.IntRange(0), default=0, show_default=True, metavar='N',
              help='With --layout rvsd: test videos after those.')
@_scene_options(*_ANY_SOURCE)
def snow(source, output, layout, save_parts, videos, test_videos, strength, wind, veil, **options):
    """Let it snow on INPUT: a video, a folder of frames, an image, scene:drive or scene:walk.

    Flakes fall in a volume of air before the camera and thicken to a veil far away; all follows from the seed and the
    frame number alone. Frame rate and audio of a video are kept. With --layout rvsd, INPUT may also be a folder of
    videos.
    """
    from pathlib import Path

    from mmweather.synthesis import write_rvsd

    if layout != 'rvsd' and (videos is not None or test_videos):
        raise click.UsageError('--videos and --test-videos are for --layout rvsd.')
    if layout == 'rvsd' and save_parts:
        raise click.UsageError('--save-parts is for videos and frames: RVSD has no such parts.')

    def make(*arguments):
        return _snowy_frames(*arguments, strength=strength, wind=wind, veil=veil)

    if layout == 'rvsd':
        _write_dataset(source, Path(output), videos, test_videos, make, write_rvsd, **options)
    else:
        _write_degraded(source, Path(output), layout, SNOW_PARTS if save_parts else (), 'snowy', make, **options)


@command.command('haze')
@click.argument('source', metavar='INPUT')
@click.option('-o', '--output', required=True, metavar='OUTPUT',
              help='Where to: a video, an image, or a folder for frames or for a dataset.')
@click.option('--beta', type=click.FloatRange(0, 1), default=0.01, show_default=True, metavar='1/M',
              help='Mean density; one sees 3/beta metres far.')
@click.option('--airlight', type=Color(), help='Colour of the haze.  [default: drawn from the seed]')
@click.option('--patchy', type=click.FloatRange(0, 1), default=0.0, show_default=True,
              help='Contrast of drifting patches, 0 for even haze.')
@click.option('--ceiling', type=click.FloatRange(0, min_open=True), metavar='M',
              help='Metres of haze above the camera, so that the sky shows.  [default: no end]')
@click.option('--depth', type=click.Path(), metavar='DIR',
              help='Depth maps in the order of the frames: metres as .npy, or as .npz with depth as `synth scene '
              '--with-geometry` writes them, or millimetres as 16-bit .png.  [default: estimated]')
@click.option('--right', type=click.Path(), metavar='INPUT',
              help='The right view of a rectified stereo pair, of which INPUT is the left one; depth comes from both.')
@click.option('--stereo', is_flag=True, help='Render the right view of a scene too.')
@click.option('--baseline', type=click.FloatRange(0, min_open=True), default=0.22, show_default=True, metavar='M',
              help='Distance of the two cameras.')
@click.option('--layout', type=click.Choice(['video', 'frames', 'sfvc']),
              help='sfvc: a stereo dataset to train on, of scenes.  [default: by the suffix of OUTPUT]')
@click.option('--save-parts', is_flag=True, help='Also write OUTPUT_gt and _transmission.')
@click.option('--videos', type=click.IntRange(0), metavar='N',
              help='With --layout sfvc: training sequences.  [default: 1]')
@click.option('--test-videos', type=click.IntRange(0), default=0, show_default=True, metavar='N',
              help='With --layout sfvc: test sequences after those.')
@_scene_options(*_ANY_SOURCE)
def haze(source, output, layout, save_parts, videos, test_videos, right, stereo, depth, baseline, beta, airlight,
         patchy, ceiling, **options):
    """Lay haze over INPUT: a video, a folder of frames, an image, scene:drive or scene:walk.

    The farther, the hazier: a scene knows its depth, a stereo pair is matched, and for anything else depth is given or
    estimated. Of two views the right one becomes OUTPUT_right. Frame rate and audio of a video are kept.
    """
    from pathlib import Path

    from mmweather.synthesis import write_sfvc

    scene = _scene_kind(source) is not None
    stereo = stereo or layout == 'sfvc'
    if scene and (right or depth):
        raise click.UsageError('--right and --depth are for videos and frames; a scene has --stereo and exact depth.')
    if stereo and not scene:
        raise click.UsageError('--stereo and --layout sfvc are for scenes; name the other view by --right.')
    if right and depth:
        raise click.UsageError('--right and --depth both tell the depth; drop one of them.')
    if layout != 'sfvc' and (videos is not None or test_videos):
        raise click.UsageError('--videos and --test-videos are for --layout sfvc.')
    if layout == 'sfvc' and save_parts:
        raise click.UsageError('--save-parts is for videos and frames; --layout sfvc holds the clear views.')

    def make(*arguments):
        return _hazy_frames(*arguments, right, stereo, depth, baseline, beta=beta, airlight=airlight, patchy=patchy,
                            ceiling=ceiling)

    def write(root, name, frames, split):
        return write_sfvc(root, name, (dict(left_hazy=parts['lq'], left_clear=parts['gt'], right_hazy=parts['right'],
                                            right_clear=parts['right_gt']) for parts in frames), split)

    if layout == 'sfvc':
        _write_dataset(source, Path(output), videos, test_videos, make, write, **options)
    else:
        parts = ('gt', 'transmission') if save_parts else ()
        if stereo or right:
            parts = ('right', *parts, *(f'right_{part}' for part in parts))
        _write_degraded(source, Path(output), layout, parts, 'hazy', make, **options)


@command.command('blur')
@click.argument('source', metavar='INPUT')
@click.option('-o', '--output', required=True, metavar='OUTPUT', help='Where to: a video, an image, or a folder.')
@click.option('--strength', type=click.FloatRange(0, 3), default=1.0, show_default=True,
              help="Of the camera's shake, 0 for none.")
@click.option('--shutter', type=click.FloatRange(0, 1), default=0.8, show_default=True,
              help='Share of the time between two frames in which the shutter is open.')
@click.option('--layout', type=click.Choice(['video', 'frames']), help='[default: by the suffix of OUTPUT]')
@click.option('--save-parts', is_flag=True, help='Also write OUTPUT_gt, the sharp frames of the shaken camera.')
@_scene_options(*_ANY_SOURCE)
def blur(source, output, layout, save_parts, strength, shutter, **options):
    """Blur INPUT by motion: a video, a folder of frames, an image, scene:drive or scene:walk.

    The camera is shaken and its shutter stays open. Of a scene every moment is rendered; a video is blurred along its
    optical flow. Light is summed, not pixel values.
    """
    from pathlib import Path

    _write_degraded(source, Path(output), layout, ('gt', ) if save_parts else (), 'blurred',
                    lambda *arguments: _blurred_frames(*arguments, strength=strength, shutter=shutter), **options)


@command.command('domains')
@click.argument('source', metavar='CLEAR')
@click.argument('output', metavar='OUT')
@click.option('--domains', default='all', show_default=True, metavar='NAMES',
              help='Names with commas between them: haze, low_light, noisy, colour_cast, sand, night, combined.')
@click.option('--per-image', type=click.IntRange(1), default=1, show_default=True, metavar='N',
              help='Hazy images per clear image and domain.')
@click.option('--depth', type=click.Path(), metavar='DIR',
              help='Depth maps by the names of the images: metres as .npy, .npz, or millimetres as 16-bit .png.  '
              '[default: estimated]')
@click.option('--frames', type=click.IntRange(1), metavar='N', help='Images of a scene.  [default: 8]')
@click.option('--size', type=FrameSize(), help='Size of a scene.  [default: 512x288]')
@click.option('--seed', type=int, default=0, show_default=True, help='The same seed gives the same images.')
@click.option('--workers', type=click.IntRange(1), metavar='N', help='Threads.  [default: one per core]')
@click.option('-q', '--quiet', is_flag=True, help='No progress and no summary.')
def domains(source, output, domains, per_image, depth, frames, size, seed, workers, quiet):
    """Make hazy images of many domains from CLEAR: a folder of images, one image, scene:drive or scene:walk.

    OUT becomes a dataset: hazy/, clear/ and labels.jsonl with the domain and all parameters of every hazy image. The
    same command continues a run that was stopped.
    """
    import os
    from pathlib import Path

    from mmweather.errors import UserError
    from mmweather.synthesis.domain_files import write_domains
    from mmweather.synthesis.domains import DOMAINS

    names = DOMAINS if domains == 'all' else tuple(dict.fromkeys(name.strip() for name in domains.split(',')))
    unknown = [name for name in names if name not in DOMAINS]
    if unknown:
        raise UserError(f'{unknown[0] or "--domains"} is not a domain: choose from {", ".join(DOMAINS)}, or all')
    kind = _scene_kind(source)
    if kind and depth:
        raise click.UsageError('--depth is for images; a scene has exact depth.')
    if not kind and (frames or size):
        raise click.UsageError('--frames and --size are for scenes.')
    images = _scene_images(kind, frames or 8, size or (288, 512), seed) if kind else _clear_images(source, depth)
    with progress_on_stderr(quiet) as progress:
        written, kept = write_domains(images, Path(output), names, per_image, seed, workers or os.cpu_count(), progress)
    if not quiet:
        there = f', {kept} were there' if kept else ''
        click.echo(f'{output}: {written} hazy images of {len(images)} clear ones in {len(names)} '
                   f'domain{"s"[:len(names) != 1]}{there}')


@command.command('scene')
@click.argument('kind', type=click.Choice(SCENES))
@click.option('-o', '--output', required=True, metavar='OUTPUT', help='Where to: a video, or a folder for frames.')
@click.option('--stereo', is_flag=True, help='Also write OUTPUT_right.')
@click.option('--with-geometry', is_flag=True,
              help='Also write OUTPUT_geometry: depth, flow and disparity of every frame, and the camera.')
@_scene_options('Frames.  [default: 60]', 'Frame rate.')
def scene(kind, output, stereo, with_geometry, frames, size, seed, fps, quiet):
    """Render a drive along a street, or a walk on a pavement or in a park.

    The geometry is one compressed .npz per frame with depth (metres), disparity (pixels), but for the last frame
    flow_forward and flow_backward (pixels), with --stereo right_depth, and a camera.json.
    """
    from contextlib import ExitStack
    from pathlib import Path

    from mmweather.inference import open_sink
    from mmweather.synthesis import SceneRenderer

    output, frames = Path(output), frames or 60
    _check_room(output, frames)
    renderer = SceneRenderer(kind, size or (240, 432), seed, stereo, fps or 25)
    with ExitStack() as stack:
        left = stack.enter_context(open_sink(output, fps=renderer.fps))
        right = stack.enter_context(open_sink(_beside(output, 'right'), fps=renderer.fps)) if stereo else None
        if with_geometry:
            folder = output.with_name(f'{output.stem}_geometry')
            geometry = stack.enter_context(_GeometryFolder(folder, renderer))
        progress = stack.enter_context(progress_on_stderr(quiet))
        for t in range(frames):
            view = renderer.frame(t, flow=with_geometry and t + 1 < frames)
            left.write(view.frame)
            if stereo:
                right.write(view.right)
            if with_geometry:
                geometry.write(view)
            progress(t + 1, frames)
    if not quiet:
        click.echo(f'{output}: {frames} frames of {renderer.size[1]}x{renderer.size[0]}')


def _clear_images(source, depth):
    """The images behind CLEAR and their depth maps, read when their turn comes."""
    from pathlib import Path

    from mmweather.errors import UserError
    from mmweather.inference.frames import ImageSource
    from mmweather.synthesis.domain_files import ClearImage, read_depth

    def depth_of(path):
        found = [Path(depth) / f'{path.stem}{suffix}' for suffix in ('.npy', '.npz', '.png')]
        found = [file for file in found if file.is_file()]
        if not found:
            raise UserError(f'{depth} has no depth map {path.stem}.npy, .npz or .png: add it, or leave --depth out')
        return found[0]

    def reader(path, depth_path):
        def read():
            image = next(iter(ImageSource(path)))
            return image, None if depth_path is None else read_depth(depth_path, image.shape[:2])
        return read

    if depth and not Path(depth).is_dir():
        raise UserError(f'{depth} is no folder: give a folder of depth maps')
    files = ImageSource(source).files
    return [ClearImage(path.stem, reader(path, depth_of(path) if depth else None)) for path in files]


def _scene_images(kind, count, size, seed):
    """Views along a scene, more than a second apart so that they differ."""
    from threading import Lock

    from mmweather.synthesis import SceneRenderer
    from mmweather.synthesis.domain_files import ClearImage

    renderer, lock = SceneRenderer(kind, size, seed), Lock()

    def reader(t):
        def read():
            with lock:
                view = renderer.frame(t, flow=False)
            return view.frame, view.depth
        return read

    return [ClearImage(f'{kind}{seed}-{number:04d}', reader(30 * number)) for number in range(count)]


class _SceneSource:
    """A scene in the manner of the sources of :mod:`mmweather.inference.media`; its frames come with their depth.

    The world is made when the first frame is asked for.
    """

    def __init__(self, kind, seed, frames, size, fps):
        self.path, self._kind, self._seed = f'scene:{kind}', kind, seed
        self.frame_count, self.size, self.fps = frames or 60, size or (240, 432), fps or 25

    def shaken(self, strength):
        from mmweather.synthesis import SceneRenderer
        from mmweather.synthesis.blur import CameraShake

        return SceneRenderer(self._kind, self.size, self._seed, fps=self.fps,
                             shake=CameraShake(self._seed, strength).rotation)

    def renderer(self, **options):
        from mmweather.synthesis import SceneRenderer

        return SceneRenderer(self._kind, self.size, self._seed, fps=self.fps, **options)

    def with_depth(self):
        renderer = self.renderer()
        for t in range(self.frame_count):
            view = renderer.frame(t, flow=False)
            yield view.frame, view.depth


class _GeometryFolder:
    """The geometry of a scene: a folder that appears when it is whole and replaces an older one."""

    def __init__(self, path, renderer):
        self.path, self.renderer, self.count = path, renderer, 0
        self.part = path.with_name(f'.{path.name}.part')

    def __enter__(self):
        import json
        import shutil

        from mmweather.inference.files import writing
        shutil.rmtree(self.part, ignore_errors=True)
        camera = {**self.renderer.intrinsics, 'baseline': self.renderer.baseline, 'fps': self.renderer.fps}
        with writing(self.path):
            self.part.mkdir()
            (self.part / 'camera.json').write_text(json.dumps(camera, indent=2) + '\n', encoding='utf-8')
        return self

    def write(self, view):
        import numpy as np

        from mmweather.inference.files import writing
        names = ('depth', 'disparity', 'flow_forward', 'flow_backward', 'right_depth')
        arrays = {name: getattr(view, name) for name in names if getattr(view, name) is not None}
        with writing(self.path):
            np.savez_compressed(self.part / f'{self.count:08d}.npz', **arrays)
        self.count += 1

    def __exit__(self, kind, *exception):
        import os
        import shutil

        from mmweather.inference.files import writing
        try:
            if kind is None:
                with writing(self.path):
                    if self.path.is_dir():
                        shutil.rmtree(self.path)
                    os.replace(self.part, self.path)
        finally:
            shutil.rmtree(self.part, ignore_errors=True)


def _scene_kind(source):
    """The kind of scene that INPUT names, None if it is a file or folder."""
    from mmweather.errors import UserError

    if not source.startswith('scene:'):
        return None
    kind = source.removeprefix('scene:')
    if kind not in SCENES:
        raise UserError(f'{source} is not a scene: use {" or ".join(f"scene:{name}" for name in SCENES)}')
    return kind


def _open(source, size):
    """A file or folder as a source of frames."""
    from mmweather.errors import UserError
    from mmweather.inference import open_source

    if size:
        raise UserError(f'{source} has a size of its own: leave --size out, which is for scenes')
    return open_source(source)


def _check_room(output, frames):
    """An image holds one frame; a sink finds out by itself only if it knows its source."""
    from mmweather.errors import UserError
    from mmweather.inference.frames import IMAGE_SUFFIXES

    if frames > 1 and output.suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f'{output} is one image but the scene has {frames} frames: name a video or a folder, or use '
                        '--frames 1')


def _length(source, frames):
    """How many of its frames are wanted, None if only reading will tell."""
    if source.frame_count is None or frames is None:
        return source.frame_count
    return min(source.frame_count, frames)


def _rainy_frames(source, seed, frames, fps, strength, streaks, drops):
    """Rain on a source, frame by frame: the dicts of :class:`mmweather.synthesis.RainOn`."""
    from itertools import islice

    from mmweather.synthesis import RainOn

    rainer = RainOn(source.size, seed, strength, float(source.fps or fps or 25), streaks, drops)
    pairs = source.with_depth() if isinstance(source, _SceneSource) else ((frame, None) for frame in source)
    for t, (frame, depth) in enumerate(islice(pairs, frames)):
        yield rainer(frame, t, depth)


def _snowy_frames(source, seed, frames, fps, **weather):
    """Snow on a source, frame by frame: the dicts of :class:`mmweather.synthesis.SnowOn`."""
    from itertools import islice

    from mmweather.synthesis import SnowOn

    snower = SnowOn(source.size, seed, fps=float(source.fps or fps or 25), **weather)
    pairs = source.with_depth() if isinstance(source, _SceneSource) else ((frame, None) for frame in source)
    for t, (frame, depth) in enumerate(islice(pairs, frames)):
        yield snower(frame, t, depth)


def _hazy_frames(source, seed, frames, fps, right, stereo, depth, baseline, **weather):
    """Haze over a source, frame by frame.

    Yields:
        dict: ``lq``, ``gt`` and ``transmission``, and of a second view ``right``, ``right_gt`` and
        ``right_transmission``; uint8.
    """
    from itertools import islice

    import numpy as np

    from mmweather.synthesis import HazeOn
    from mmweather.synthesis.fog import StereoCamera
    from mmweather.synthesis.haze import scatter

    rate = float(source.fps or fps or 25)
    if isinstance(source, _SceneSource):
        renderer = source.renderer(stereo=stereo, baseline=baseline)
        air = HazeOn(source.size, seed, fps=rate, intrinsics=renderer.intrinsics, **weather)
        views = _scene_views(renderer, source.frame_count)
    elif right:
        height, width = source.size
        # nothing is known of the lens: one of 58 degrees
        camera = StereoCamera(0.9 * width, 0.9 * width, (width - 1) / 2, (height - 1) / 2, baseline)
        air = HazeOn(source.size, seed, fps=rate, intrinsics=camera.intrinsics, **weather)
        views = _matched_views(source, right, camera)
    else:
        air = HazeOn(source.size, seed, fps=rate, **weather)
        views = _single_views(source, depth)
    for t, (images, depths, smooth) in enumerate(islice(views, frames)):
        transmissions = [air.transmission(t, metres, offset) for metres, offset in zip(depths, (0.0, baseline))]
        if smooth is not None:
            transmissions = smooth(*transmissions)
        made = {}
        for names, image, transmission in zip(
                (('lq', 'gt', 'transmission'), ('right', 'right_gt', 'right_transmission')), images, transmissions):
            made.update(zip(names, (scatter(image, transmission, air.airlight), image,
                                    np.rint(transmission * 255).astype(np.uint8)[..., None])))
        yield made


def _scene_views(renderer, count):
    """The views of a scene with their depths; like the next two it yields (images, depths, smoothing or None)."""
    for t in range(count):
        view = renderer.frame(t, flow=False)
        if renderer.stereo:
            yield (view.frame, view.right), (view.depth, view.right_depth), None
        else:
            yield (view.frame, ), (view.depth, ), None


def _single_views(source, folder):
    """The frames of one camera with their depths, from a folder or estimated."""
    from pathlib import Path

    from mmweather.errors import UserError
    from mmweather.inference.frames import natural_key
    from mmweather.synthesis import estimate_depth
    from mmweather.synthesis.domain_files import read_depth

    if folder is None:
        for frame in source:
            yield (frame, ), (estimate_depth(frame), ), None
        return
    if not Path(folder).is_dir():
        raise UserError(f'{folder} is no folder: give a folder of depth maps')
    files = sorted((file for file in Path(folder).iterdir() if file.suffix in ('.npy', '.npz', '.png')
                    and not file.name.startswith('.')), key=lambda file: natural_key(file.name))
    for t, frame in enumerate(source):
        if t == len(files):
            raise UserError(f'{folder} has {t} depth maps, fewer than {source.path} has frames: add the others, or '
                            f'use --frames {t}')
        yield (frame, ), (read_depth(files[t], frame.shape[:2]), ), None


def _matched_views(left, right, camera):
    """The frames of a stereo pair with the depths that matching them gives, and the smoothing by their edges."""
    from itertools import zip_longest

    from mmweather.errors import UserError
    from mmweather.synthesis.fog import StereoFog

    right = _open(right, None)
    if right.size != left.size or (right.fps and left.fps and right.fps != left.fps):
        raise UserError(f'{right.path} has another size or frame rate than {left.path}: both views must be of one '
                        'camera pair')
    for t, images in enumerate(zip_longest(left, right)):
        if any(image is None for image in images):
            raise UserError(f'{(left, right)[images[1] is None].path} ends after {t} frames, before the other view: '
                            'both views must be of one length')
        fog = StereoFog(*images, camera)
        yield images, fog.depth, fog.smooth


def _blurred_frames(source, seed, frames, fps, strength, shutter):
    """Blur a source, frame by frame: the dicts of :class:`mmweather.synthesis.blur.BlurOn`."""
    from itertools import islice

    from mmweather.synthesis.blur import BlurOn, blur_stream, scene_exposures

    if isinstance(source, _SceneSource):
        yield from scene_exposures(source.shaken(strength), frames or source.frame_count, shutter)
    else:
        blur = BlurOn(source.size, seed, strength, float(source.fps or fps or 25), shutter)
        yield from blur_stream(islice(source, frames), blur)


def _write_degraded(source, output, layout, parts, word, make, seed, frames, size, fps, quiet):
    """One degraded video, image or folder of frames, and parts of its making beside it.

    Args:
        source (str): What the user gave as INPUT.
        output (Path): Where to.
        layout (str, optional): ``'video'``, ``'frames'`` or None.
        parts (Sequence[str]): What to write beside it.
        word (str): What the frames are, for the summary.
        make (Callable): From (source, seed, frames, fps) to dicts with ``lq`` and the parts, frame by frame.
        seed (int): The user's.
        frames (int, optional): The user's.
        size (tuple[int, int], optional): The user's.
        fps (float, optional): The user's.
        quiet (bool): The user's.
    """
    from contextlib import ExitStack

    import cv2

    from mmweather.errors import UserError
    from mmweather.inference import open_sink
    from mmweather.inference.video import VIDEO_SUFFIXES

    if layout == 'video' and output.suffix.lower() not in VIDEO_SUFFIXES:
        raise UserError(f'{output} is not the name of a video: give it a suffix such as .mp4, or use --layout frames')
    if layout == 'frames' and output.suffix:
        raise UserError(f'{output} is not the name of a folder: leave its suffix out, or use --layout video')
    kind = _scene_kind(source)
    opened = _SceneSource(kind, seed, frames, size, fps) if kind else _open(source, size)
    if not kind and output.exists() and output.samefile(opened.path):
        raise UserError(f'{output} is the input, which would be overwritten: choose another output')
    total = _length(opened, frames)
    # the sound of all of a video does not belong to a part of it
    part = frames is not None and (opened.frame_count is None or frames < opened.frame_count)
    like = None if kind or (opened.fps and part) else opened
    if kind:
        _check_room(output, total)
    with ExitStack() as stack:
        sinks = {part: stack.enter_context(open_sink(_beside(output, part), like, fps=opened.fps or fps))
                 for part in ('lq', *parts)}
        progress = stack.enter_context(progress_on_stderr(quiet))
        done = 0
        for made in make(opened, seed, frames, fps):
            for part, sink in sinks.items():
                gray = made[part].shape[2] == 1
                sink.write(cv2.cvtColor(made[part], cv2.COLOR_GRAY2RGB) if gray else made[part])
            done += 1
            progress(done, total)
    if not quiet:
        click.echo(f'{output}: {done} {word} frames of {opened.size[1]}x{opened.size[0]}')


def _write_dataset(source, output, videos, test_videos, make, write, seed, frames, size, fps, quiet):
    """Degraded videos in the layout of a dataset; each has its own seed, counted up from the user's.

    Args:
        source (str): What the user gave as INPUT.
        output (Path): The dataset's folder.
        videos (int, optional): The user's.
        test_videos (int): The user's.
        make (Callable): See :func:`_write_degraded`.
        write (Callable): From (folder, name, frames, split) writes one video, such as :func:`write_vrds`.
        seed (int): The user's.
        frames (int, optional): The user's.
        size (tuple[int, int], optional): The user's.
        fps (float, optional): The user's.
        quiet (bool): The user's.
    """
    kind = _scene_kind(source)
    if kind:
        videos = 1 if videos is None else videos
        jobs = [(f'{kind}_{seed + number:04d}', _SceneSource(kind, seed + number, frames, size, fps))
                for number in range(videos + test_videos)]
    else:
        jobs = [(name, _open(path, size)) for name, path in _videos_in(source)]
        videos = _train_count(source, len(jobs), videos, test_videos)
        jobs = jobs[:videos + test_videos]
    lengths = [_length(opened, frames) for _, opened in jobs]
    total = None if None in lengths else sum(lengths)
    done = 0
    with progress_on_stderr(quiet) as progress:

        def counted(degraded):
            nonlocal done
            for parts in degraded:
                yield parts
                done += 1
                progress(done, total)

        for number, (name, opened) in enumerate(jobs):
            degraded = make(opened, seed + number, frames, fps)
            write(output, name, counted(degraded), 'train' if number < videos else 'test')
    if not quiet:
        click.echo(f'{output}: {videos} training and {len(jobs) - videos} test videos, {done} frames')


def _train_count(source, found, videos, test_videos):
    """How many of the videos found are for training."""
    from mmweather.errors import UserError

    wanted = max(found - test_videos, 0) if videos is None else videos
    if wanted + test_videos > found or wanted + test_videos == 0:
        raise UserError(f'{source} holds {found} video{"s" if found > 1 else ""} but {wanted} for training and '
                        f'{test_videos} for testing are asked for: change --videos and --test-videos')
    return wanted


def _videos_in(source):
    """Names and paths of the videos behind INPUT: itself, or the videos and folders of frames in it."""
    from pathlib import Path

    from mmweather.inference.frames import IMAGE_SUFFIXES, natural_key
    from mmweather.inference.video import VIDEO_SUFFIXES

    path = Path(source)
    inside = sorted(path.iterdir(), key=lambda entry: natural_key(entry.name)) if path.is_dir() else []
    videos = [entry for entry in inside if not entry.name.startswith('.')
              and (entry.is_dir() or entry.suffix.lower() in VIDEO_SUFFIXES)]
    if not videos or any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in inside):
        videos = [path]
    stems = [video.stem for video in videos]
    # two containers of one name stay apart
    return [(video.name if stems.count(video.stem) > 1 else video.stem, video) for video in videos]


def _beside(output, part):
    """The output for a part: rainy.mp4 has its drops in rainy_drop.mp4."""
    return output if part == 'lq' else output.with_name(f'{output.stem}_{part}{output.suffix}')
