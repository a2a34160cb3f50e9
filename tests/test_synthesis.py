"""The weather and the scenes: determinism, exact geometry, and rain that looks and measures like rain."""
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mmweather.datasets import VRDS
from mmweather.errors import UserError
from mmweather.synthesis import (
    Rain,
    Raindrops,
    RainOn,
    SceneRenderer,
    VRDSVideo,
    rain_on,
    random_rain,
    render_scene,
    scene_stream,
    write_vrds,
)
from mmweather.synthesis.noise import fractal_noise, value_noise
from mmweather.synthesis.rain import composite_streaks
from mmweather.synthesis.raindrops import ERA
from mmweather.synthesis.randomness import generator, smooth_signal
from mmweather.synthesis.scenes import SKY_DEPTH

SIZE = (120, 216)


def psnr(first, second, where=None):
    error = np.square(first.astype(np.float64) - second)
    return 10 * np.log10(255**2 / (error if where is None else error[where]).mean())


@pytest.fixture(scope='module', params=['drive', 'walk'])
def scene(request):
    return render_scene(request.param, 4, SIZE, seed=1, stereo=True)


@pytest.fixture(scope='module')
def clean():
    return render_scene('walk', 6, SIZE, seed=3).frames


def textured(size, seed=0):
    noise = fractal_noise((256, 256), np.random.default_rng(seed), 1.5)
    noise = np.tile(noise, (1 + size[0] // 256, 1 + size[1] // 256))[:size[0], :size[1]]
    return np.clip(110 + 40 * noise, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def pull(image, flow):
    """The image looked up where the flow points, and where that is inside."""
    rows, columns = np.mgrid[:image.shape[0], :image.shape[1]].astype(np.float32)
    x, y = columns + flow[..., 0], rows + flow[..., 1]
    inside = (x >= 0) & (x <= image.shape[1] - 1) & (y >= 0) & (y <= image.shape[0] - 1)
    return cv2.remap(image, x, y, cv2.INTER_LINEAR), inside


def not_occluded(flow, back):
    """Where going there and coming back ends within a fifth of a pixel."""
    returned, inside = pull(back, flow)
    return inside & (np.abs(returned + flow).max(axis=-1) < 0.2)


# randomness


def test_a_seed_means_the_same_numbers_everywhere():
    assert generator(0, 'rain', 1).integers(2**31) == 8202018
    assert generator(-1, 'x').integers(2**31) == 375017410


def test_places_are_independent():
    draws = {generator(0, *place).integers(2**62) for place in ((), (0,), (1,), ('a',), ('a', 0), (0, 'a'))}
    assert len(draws) == 6


def test_smooth_signal_is_continuous_and_bounded():
    times = np.linspace(-3, 7, 4001)
    values = np.array([smooth_signal(5, time, 0.8, 'gust') for time in times])
    assert np.abs(values).max() <= 1 and values.std() > 0.2
    # at most 1.5 times the largest difference of two knots per period
    assert np.abs(np.diff(values)).max() < 3 * 0.0025 / 0.8 * 1.01


def test_fractal_noise_tiles_and_has_its_spectrum():
    noise = fractal_noise((128, 128), np.random.default_rng(0), beta=2.0)
    assert abs(noise.mean()) < 1e-4 and abs(noise.std() - 1) < 1e-3
    seam, inner = np.abs(noise[:, 0] - noise[:, -1]).mean(), np.abs(np.diff(noise, axis=1)).mean()
    assert seam < 1.3 * inner
    power = np.abs(np.fft.fft2(noise))**2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128) * 128, np.fft.fftfreq(128) * 128))
    low, high = (power[(frequency > f - 1) & (frequency < f + 1)].mean() for f in (10, 40))
    # four times the frequency, a sixteenth of the power
    assert low / high == pytest.approx(16, rel=0.4)


def test_value_noise_stays_in_its_range():
    noise = value_noise((40, 60), np.random.default_rng(0), cell=10, low=0.2, high=0.7)
    assert noise.shape == (40, 60) and noise.min() >= 0.2 and noise.max() <= 0.7 and noise.std() > 0.05


# scenes


def test_scene_shapes_and_types(scene):
    assert scene.frames.shape == scene.right.shape == (4, *SIZE, 3)
    assert scene.frames.dtype == scene.right.dtype == np.uint8
    assert scene.depth.shape == scene.disparity.shape == (4, *SIZE)
    assert scene.flow_forward.shape == scene.flow_backward.shape == (3, *SIZE, 2)
    assert {array.dtype for array in (scene.depth, scene.disparity, scene.flow_forward)} == {np.dtype(np.float32)}
    assert scene.frames.std() > 25


@pytest.mark.parametrize('backward', [False, True])
def test_flow_pulls_the_neighbour_onto_the_frame(scene, backward):
    for t in range(3):
        here, there = (t + 1, t) if backward else (t, t + 1)
        flows = scene.flow_forward[t], scene.flow_backward[t]
        flow, back = flows[::-1] if backward else flows
        warped, _ = pull(scene.frames[there], flow)
        visible = not_occluded(flow, back)
        assert visible.mean() > 0.75
        aligned = psnr(warped, scene.frames[here], visible)
        assert aligned > 30
        assert aligned > psnr(scene.frames[there], scene.frames[here], visible) + 5


def test_disparity_pulls_the_right_view_onto_the_left(scene):
    for t in (0, 3):
        flow = np.stack([-scene.disparity[t], np.zeros(SIZE, np.float32)], axis=-1)
        warped, inside = pull(scene.right[t], flow)
        # seen by both where both cameras, side by side, say the same depth
        inverse, _ = pull(1 / scene.right_depth[t], flow)
        visible = inside & (np.abs(inverse * scene.depth[t] - 1) < 0.03)
        assert visible.mean() > 0.6
        aligned = psnr(warped, scene.frames[t], visible)
        assert aligned > 31 and aligned > psnr(scene.right[t], scene.frames[t], visible) + 6


def test_depth_is_metric(scene):
    assert np.isfinite(scene.depth).all() and scene.depth.min() > 0.25 and scene.depth.max() <= SKY_DEPTH
    focal = scene.intrinsics['fx']
    np.testing.assert_allclose(scene.disparity, focal * scene.baseline / scene.depth, rtol=1e-5)
    # the ground before one's feet is as far away as the height of the eyes makes it
    bottom = np.median(scene.depth[:, -1], axis=1)
    height = bottom * (SIZE[0] - 1 - scene.intrinsics['cy']) / focal
    assert (height > 0.9).all() and (height < 2.1).all()


def test_the_sky_is_far_and_moves_by_the_cameras_turn_only():
    renderer = SceneRenderer('drive', SIZE, seed=0)
    first = renderer.frame(0)
    sky = first.depth == SKY_DEPTH
    assert sky[:20].mean() > 0.1 and not sky[-20:].any()
    _, here = renderer.world.pose(0)
    _, there = renderer.world.pose(1 / 25)
    rows, columns = np.nonzero(sky)
    focal, cx, cy = (renderer.intrinsics[name] for name in ('fx', 'cx', 'cy'))
    rays = np.stack([(columns - cx) / focal, (rows - cy) / focal, np.ones(rows.size)])
    turned = there @ here.T @ rays
    expected = (turned[:2] / turned[2] * focal).T + (cx, cy) - np.stack([columns, rows], axis=1)
    # a sky at a finite distance would be off by thousandths of a pixel at this speed
    np.testing.assert_allclose(first.flow_forward[sky], expected, atol=3e-4)


def test_things_move_by_themselves(scene):
    """The flow is not that of the camera alone: of most pixels it follows from depth and poses, of some it does not."""
    kind = 'drive' if np.abs(scene.flow_forward).max() > 15 else 'walk'
    world = SceneRenderer(kind, SIZE, seed=1).world
    (here, turn), (there, turned) = world.pose(0), world.pose(1 / 25)
    focal, cx, cy = (scene.intrinsics[name] for name in ('fx', 'cx', 'cy'))
    rows, columns = np.mgrid[:SIZE[0], :SIZE[1]]
    points = np.stack([(columns - cx) / focal, (rows - cy) / focal, np.ones(SIZE)], axis=-1) * scene.depth[0][..., None]
    points = (points @ turn + here - there) @ turned.T
    camera = points[..., :2] / points[..., 2:] * focal + (cx, cy) - np.stack([columns, rows], axis=-1)
    alone = np.abs(scene.flow_forward[0] - camera).max(axis=-1) < 0.05
    assert 0.5 < alone.mean() < 0.995
    # both flows know of it: there and back again
    assert not_occluded(scene.flow_forward[0], scene.flow_backward[0])[~alone].mean() > 0.5


def test_a_frame_does_not_depend_on_those_before_it():
    run = list(scene_stream('drive', 3, SIZE, seed=4))
    alone = SceneRenderer('drive', SIZE, seed=4).frame(2)
    for name in ('frame', 'depth', 'flow_forward', 'flow_backward'):
        np.testing.assert_array_equal(getattr(run[2], name), getattr(alone, name))
    clip = render_scene('drive', 3, SIZE, seed=4)
    np.testing.assert_array_equal(clip.frames, [view.frame for view in run])
    np.testing.assert_array_equal(clip.flow_backward, [view.flow_backward for view in run[:2]])


def test_a_late_frame_needs_no_past():
    view = SceneRenderer('drive', SIZE, seed=4).frame(5000)
    assert view.frame.std() > 25 and np.isfinite(view.flow_forward).all()


def test_seeds_and_kinds_differ():
    first, second, walk = (render_scene(kind, 1, SIZE, seed).frames[0] for kind, seed in (
        ('drive', 0), ('drive', 1), ('walk', 0)))
    assert psnr(first, second) < 20 and psnr(first, walk) < 20


def test_a_single_frame_has_no_flow():
    clip = render_scene('walk', 1, (32, 48), seed=0)
    assert clip.frames.shape == (1, 32, 48, 3) and clip.flow_forward.shape == (0, 32, 48, 2) and clip.right is None


def test_an_unknown_scene_is_refused():
    with pytest.raises(ValueError, match='drive, walk'):
        render_scene('swim', 1)


# streaks


def test_streaks_are_a_function_of_seed_and_frame():
    in_order = [Rain(SIZE, seed=7).render(t) for t in range(4)]
    rain = Rain(SIZE, seed=7)
    for t in (3, 0, 2):
        np.testing.assert_array_equal(rain.render(t), in_order[t])
    assert not np.array_equal(Rain(SIZE, seed=8).render(0), in_order[0])


def test_every_frame_has_new_streaks():
    first, second = Rain((240, 432), seed=0).render(0), Rain((240, 432), seed=0).render(1)
    assert 0 <= first.min() and first.max() <= 1 and first.dtype == np.float32
    assert first.mean() == pytest.approx(second.mean(), rel=0.35)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.15


def lean(streaks):
    """Pixels to the right per pixel down, from the structure tensor."""
    dx, dy = cv2.Sobel(streaks, cv2.CV_32F, 1, 0), cv2.Sobel(streaks, cv2.CV_32F, 0, 1)
    return -(dx * dy).sum() / (dx * dx).sum()


def test_wind_blows_the_streaks_to_its_side():
    leans = {wind: np.mean([lean(Rain((240, 432), 3, wind=wind).render(t)) for t in range(3)]) for wind in (-4, 0, 4)}
    assert leans[-4] < -0.2 < leans[0] < 0.2 < leans[4]
    assert leans[4] == pytest.approx(4 / 8, abs=0.2)


def test_a_longer_exposure_makes_longer_streaks():
    def likeness(exposure, shift=12):
        streaks = Rain((240, 432), 3, wind=0, exposure=exposure).render(0)
        return np.corrcoef(streaks[shift:].ravel(), streaks[:-shift].ravel())[0, 1]

    assert likeness(0.04) > likeness(0.01) + 0.1


def test_a_camera_that_moves_forward_spreads_the_streaks():
    streaks = [Rain((240, 432), 3, wind=0, forward=12).render(t) for t in range(4)]
    left, right = (np.mean([lean(part) for part in parts]) for parts in (
        [s[:, :140] for s in streaks], [s[:, -140:] for s in streaks]))
    assert left < -0.15 and right > 0.15


def test_more_strength_more_rain():
    means = [Rain(SIZE, 0, strength).render(0).mean() for strength in (0, 0.4, 1.0, 2.0)]
    assert means[0] == 0 and np.all(np.diff(means) > 0.01)


def test_surfaces_hide_the_rain_behind_them():
    rain = Rain((240, 432), seed=0)
    free = rain.render(0)
    assert not rain.render(0, np.full((240, 432), 0.5)).any()
    np.testing.assert_array_equal(rain.render(0, np.full((240, 432), np.inf)), free)
    depth = np.full((240, 432), 1000.0)
    depth[:, 200:] = 3.0
    half = rain.render(0, depth)
    np.testing.assert_array_equal(half[:, :200], free[:, :200])
    assert 0 < half[:, 200:].sum() < 0.7 * free[:, 200:].sum()


def test_streaks_are_a_veil_of_light():
    frame = np.full((2, 2, 3), (10, 100, 240), np.uint8)
    veil = np.float32([[0, 0.5], [0.25, 1]])
    rainy = composite_streaks(frame, veil, np.float32([200, 200, 200]))
    np.testing.assert_array_equal(rainy[0, 0], (10, 100, 240))
    np.testing.assert_array_equal(rainy[0, 1], (105, 150, 220))
    np.testing.assert_array_equal(rainy[1, 0], (58, 125, 230))
    np.testing.assert_array_equal(rainy[1, 1], (200, 200, 200))


def test_rain_changes_a_frame_exactly_where_it_says():
    frame = textured(SIZE)
    rainy, streaks = Rain(SIZE, seed=2).apply(frame, 5)
    changed = (rainy != frame).any(axis=2)
    assert not changed[streaks == 0].any()
    assert changed[streaks > 0.1].mean() > 0.95
    # light is added on the whole
    assert rainy[streaks > 0.1].mean() > frame[streaks > 0.1].mean() + 5


# drops


def test_drops_are_a_function_of_seed_and_frame():
    frame = textured(SIZE)
    times = (0, 3, 170, 199, 200, 201, 420)
    drops = Raindrops(SIZE, seed=7)
    in_order = {t: drops.apply(frame, t) for t in times}
    for t in times[::-1]:
        image, mask = Raindrops(SIZE, seed=7).apply(frame, t)
        np.testing.assert_array_equal(image, in_order[t][0])
        np.testing.assert_array_equal(mask, in_order[t][1])


def test_drops_change_a_frame_exactly_where_they_say():
    frame = textured((240, 432))
    image, mask = Raindrops((240, 432), seed=1).apply(frame, 0)
    assert mask.dtype == np.float32 and 0 <= mask.min() and mask.max() <= 1
    assert 0.03 < (mask > 0.5).mean() < 0.3
    changed = (image != frame).any(axis=2)
    assert not changed[mask == 0].any()
    assert changed[mask > 0.5].mean() > 0.9


def test_a_drop_shows_the_scene_upside_down():
    """Below a bright sky a drop is bright at its foot."""
    frame = np.linspace(250, 20, 240)[:, None, None].repeat(432, axis=1).repeat(3, axis=2).astype(np.uint8)
    image, mask = Raindrops((240, 432), seed=1, sliding=0).apply(frame, 0)
    inside = cv2.erode((mask > 0.85).astype(np.uint8), np.ones((5, 5))) > 0
    slope = np.gradient(image[..., 0].astype(np.float32), axis=0)[inside]
    assert inside.sum() > 500 and np.median(slope) > 0.5
    # and less sharp than the scene is: fine texture is gone
    fine = textured((240, 432))
    seen = Raindrops((240, 432), seed=1, sliding=0).look_through(fine, Raindrops((240, 432), seed=1, sliding=0).lens(0))
    sharpness = [np.abs(cv2.Laplacian(i[..., 0].astype(np.float32), cv2.CV_32F))[inside].mean() for i in (fine, seen)]
    assert sharpness[1] < 0.7 * sharpness[0]


def test_most_drops_stay_and_dry_up_in_time():
    drops = Raindrops((240, 432), seed=2, fps=25)
    now, soon, later = (drops.mask(drops.lens(t)) > 0.5 for t in (100, 105, 100 + int(2.5 * ERA * 25)))
    assert (now & soon).sum() > 0.85 * now.sum()
    assert (now & later).sum() < 0.4 * now.sum()


def test_drops_live_in_seconds_not_frames():
    slow, fast = Raindrops(SIZE, seed=2, fps=25), Raindrops(SIZE, seed=2, fps=50)
    np.testing.assert_array_equal(slow.mask(slow.lens(60)), fast.mask(fast.lens(120)))


def test_sliding_drops_go_down():
    drops = Raindrops((240, 432), seed=5, sliding=1.0, density=30)
    masks = [drops.mask(drops.lens(t)) for t in range(0, 200, 2)]
    # what is newly covered lies below what is uncovered, followed over the short while in which no drop is born
    heights = np.arange(240)[:, None]
    falls = []
    for before, after in zip(masks, masks[1:]):
        came, went = np.clip(after - before, 0, 1), np.clip(before - after, 0, 1)
        if min(came.sum(), went.sum()) > 20 and max(came.sum(), went.sum()) < 2 * min(came.sum(), went.sum()):
            falls.append((came * heights).sum() / came.sum() - (went * heights).sum() / went.sum())
    assert len(falls) > 10 and np.median(falls) > 1


def test_a_sliding_drop_swallows_those_in_its_way_and_grows():
    drops = Raindrops((480, 432), seed=3, sliding=0.4, strength=2)
    table = drops._sitting_of(0)
    eaten = table['death'] < table['dry']
    assert eaten.any() and (table['eater'][eaten] >= -1).all()
    era, number = (int(v) for v in table['eater'][eaten][0])
    moment = table['death'][eaten][0]
    assert drops._growth(era, number, moment + 1e-6) > drops._growth(era, number, moment - 1e-6)


def test_a_crop_has_drops_and_streaks_of_a_whole_frames_size():
    whole, crop = Raindrops((240, 432)), Raindrops((128, 128))
    assert whole.focal == crop.focal == Rain((128, 128)).focal
    assert Raindrops((720, 1280)).focal == pytest.approx(whole.focal * 1280 / 432)


def test_a_long_video_needs_no_more_memory():
    drops = Raindrops((60, 80), seed=0, fps=1)
    for t in range(600):
        drops.lens(t)
    assert max(len(drops._sitting), len(drops._sliders), len(drops._beads)) < 12
    assert len(drops._sprites) < 200


# both


def test_rain_on_is_rain_frame_by_frame(clean):
    clip = rain_on(clean, seed=5, fps=30, start=40)
    rainer = RainOn(SIZE, seed=5, fps=30)
    for t in (5, 1):
        for name, part in rainer(clean[t], 40 + t).items():
            np.testing.assert_array_equal(getattr(clip, name)[t], part)
    assert clip.lq.shape == clip.gt.shape == clip.drop.shape == clean.shape
    assert clip.mask.shape == clip.streak.shape == (6, *SIZE, 1)
    assert {part.dtype for part in vars(clip).values()} == {np.dtype(np.uint8)}


def test_the_parts_agree(clean):
    clip = rain_on(clean, seed=5)
    np.testing.assert_array_equal(clip.gt, clean)
    no_drop, no_streak = clip.mask[..., 0] == 0, clip.streak[..., 0] == 0
    assert 0.2 < no_drop.mean() < 0.97 and 0.05 < no_streak.mean() < 0.9
    # an opacity that rounds to 0 may still move a value by one
    np.testing.assert_allclose(clip.drop[no_drop].astype(int), clean[no_drop], atol=1)
    untouched = no_drop & no_streak
    np.testing.assert_allclose(clip.lq[untouched].astype(int), clean[untouched], atol=2)
    assert psnr(clip.lq, clip.drop, no_drop & ~no_streak) < 30


def test_streaks_and_drops_alone(clean):
    streaks, drops = rain_on(clean, 5, drops=False), rain_on(clean, 5, streaks=False)
    np.testing.assert_array_equal(streaks.drop, clean)
    assert not streaks.mask.any() and streaks.streak.any()
    np.testing.assert_array_equal(drops.lq, drops.drop)
    assert not drops.streak.any() and drops.mask.any()
    both = rain_on(clean, 5)
    np.testing.assert_array_equal(both.drop, drops.drop)
    np.testing.assert_array_equal(both.streak, streaks.streak)


def test_default_rain_is_calibrated():
    """What costs a real video 22 dB costs this texture 24; a change here changes the rain that weights are made for."""
    frames = np.stack([textured((240, 432))] * 2)

    def cost(**parts):
        return np.mean([psnr(rain_on(frames, seed, **parts).lq, frames) for seed in range(4)])

    both, streaks, drops = cost(), cost(drops=False), cost(streaks=False)
    assert both == pytest.approx(23.9, abs=0.5)
    # neither part is a trifle beside the other
    assert abs(streaks - drops) < 6 and min(streaks, drops) > both + 0.5


def test_strength_is_gradual():
    frames = np.stack([textured((240, 432))] * 2)
    values = [np.mean([psnr(rain_on(frames, seed, strength).lq, frames) for seed in range(3)])
              for strength in (0.3, 0.6, 1.0, 1.5)]
    assert np.all(np.diff(values) < -0.7)
    np.testing.assert_array_equal(rain_on(frames, 0, 0.0).lq, frames)


def test_random_rain_follows_its_generator_and_varies(clean):
    first, again = (random_rain(SIZE, np.random.default_rng(1))(clean[0], 3) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    rng = np.random.default_rng(0)
    rains = [random_rain((64, 64), rng) for _ in range(60)]
    kinds = {(rain.rain is not None, rain.raindrops is not None) for rain in rains}
    assert kinds == {(True, True), (True, False), (False, True)}
    strengths = [(rain.rain or rain.raindrops).strength for rain in rains]
    assert min(strengths) < 0.5 and max(strengths) > 1.3
    winds = [rain.rain.wind for rain in rains if rain.rain]
    assert min(winds) < -1 and max(winds) > 1


@pytest.mark.parametrize('size', [(1, 1), (2, 3), (33, 17), (17, 400)])
def test_any_size_can_be_rained_on(size):
    frames = textured(size)[None].repeat(2, axis=0)
    clip = rain_on(frames, 3, strength=1.5)
    assert clip.lq.shape == frames.shape


# the layout on disk


def test_vrds_layout(tmp_path, clean):
    rainer = RainOn(SIZE, seed=1)
    parts = [rainer(frame, t) for t, frame in enumerate(clean[:3])]
    assert write_vrds(tmp_path / 'data', 'a', parts) == 3
    assert write_vrds(tmp_path / 'data', 'b', parts[:2], split='test') == 2
    root = tmp_path / 'data'
    files = sorted(str(path.relative_to(root)) for path in root.rglob('*') if path.is_file())
    expected = [f'{folder}/a/{t:08d}.png' for folder in ('lq', 'gt', '01drop', 'drop', 'mstreak') for t in range(3)]
    expected += [f'{folder}/b/{t:08d}.png' for folder in ('testlq', 'testgt') for t in range(2)]
    assert files == sorted(expected)
    mask = cv2.imread(str(tmp_path / 'data/01drop/a/00000002.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, parts[2]['mask'][..., 0])
    lq = cv2.imread(str(tmp_path / 'data/lq/a/00000001.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(lq[..., ::-1], parts[1]['lq'])


def test_the_dataset_reads_what_was_written(tmp_path, clean):
    rainer = RainOn(SIZE, seed=1)
    write_vrds(tmp_path / 'data', 'a', (rainer(frame, t) for t, frame in enumerate(clean)))
    write_vrds(tmp_path / 'data', 'b', (rainer(frame, t) for t, frame in enumerate(clean)), split='test')
    assert len(VRDS(str(tmp_path / 'data'), split='train')) == 1
    assert VRDS(str(tmp_path / 'data'), split='test', num_frames=None, test_mode=True)[0]['names'] == [
        f'{t:08d}.png' for t in range(6)]


def test_a_video_is_there_whole_or_not_at_all(tmp_path, clean):
    rainer = RainOn(SIZE, seed=1)
    with pytest.raises(RuntimeError), VRDSVideo(tmp_path / 'data', 'a') as video:
        video.write(rainer(clean[0], 0))
        assert not (tmp_path / 'data/lq/a').exists()
        raise RuntimeError('the source broke off')
    assert not (tmp_path / 'data').exists()


def test_a_video_is_not_overwritten(tmp_path, clean):
    parts = [RainOn(SIZE)(clean[0], 0)]
    write_vrds(tmp_path / 'data', 'a', parts)
    with pytest.raises(UserError, match='exists already'):
        write_vrds(tmp_path / 'data', 'a', parts)
    assert write_vrds(tmp_path / 'new/data', 'a', parts) == 1


def test_synthesis_needs_neither_torch_nor_mmcv():
    code = 'import sys, mmweather.synthesis; print([name for name in ("torch", "mmcv") if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
