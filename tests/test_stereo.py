"""Stereo from disk to disk: the SFVC layouts, views that stay a pair, synthetic haze, and two videos in and out."""
import cv2
import numpy as np
import pytest
import torch

from mmweather.cli.main import main
from mmweather.datasets import SFVC, FlipClip, SyntheticHaze
from mmweather.datasets.cache import cache_frames
from mmweather.datasets.check import check_dataset
from mmweather.errors import UserError
from mmweather.inference import open_sink, open_source, restore_stereo, restore_video
from mmweather.synthesis.sfvc import IMAGES, LISTS, image_path, lists_folder, write_sfvc
from mmweather.zoo import build_network

LOAD = [dict(type='LoadFrames'), dict(type='StackViews')]
SIZE = (16, 24)
PARTS = ('left_hazy', 'right_hazy', 'left_clear', 'right_clear')


def pixels(part, clip, frame):
    """Row and column in two channels; the third says what it is of."""
    row, column = np.mgrid[:SIZE[0], :SIZE[1]]
    stamp = np.full(SIZE, 60 * PARTS.index(part) + 20 * clip + frame)
    return np.stack([row, column, stamp], axis=-1).astype(np.uint8)


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


@pytest.fixture
def published(tmp_path):
    """Two training clips of one city and sequence, and a test clip, each of 7 frames, in fog of 0.01."""
    lines = {part: [] for part in LISTS}
    for clip, (split, first) in enumerate((('train', 16), ('train', 46), ('val', 2))):
        for number in range(first, first + 7):
            frame = f'hamburg_000000_{number:06d}'
            for view, kind in LISTS:
                line = image_path(view, split, frame, 0.01 if kind == 'hazy' else None)
                lines[view, kind].append(line)
                write(tmp_path / IMAGES / line, pixels(f'{view}_{kind}', clip, number - first))
    for part, name in LISTS.items():
        path = tmp_path / lists_folder(0.01) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('\n'.join(lines[part]) + '\n')
    return tmp_path


def write_plain(root, split='train', frames=3):
    for clip, name in enumerate(('a', 'b')):
        write_sfvc(root, name, ({part: pixels(part, clip, t) for part in PARTS} for t in range(frames)), split)
    return root


# -- SFVC ------------------------------------------------------------------------------------------------------------

def test_published_lists_are_read_clip_by_clip(published):
    train = SFVC(str(published), beta=0.01, pipeline=LOAD)
    # Both clips have the same city and sequence number; only the frame numbers tell them apart.
    assert [train[(index, 0)]['video'] for index in range(2)] == ['hamburg_000000_000019', 'hamburg_000000_000049']
    test = SFVC(str(published), split='test', beta=0.01, num_frames=None, test_mode=True, pipeline=LOAD)
    assert len(test) == 1
    sample = test[0]
    assert sample['names'][0] == 'hamburg_000000_000002_leftImg8bit_foggy_beta_0.01.png' and len(sample['names']) == 7
    for key, kind in (('lq', 'hazy'), ('gt', 'clear')):
        assert sample[key].shape == (7, 2, *SIZE, 3)
        for view, side in enumerate(('left', 'right')):
            expected = np.stack([pixels(f'{side}_{kind}', 2, t) for t in range(7)])
            np.testing.assert_array_equal(sample[key][:, view], expected)
    assert not [key for key in sample if key.startswith('right_')]


def test_plain_layouts_with_and_without_density_and_split(tmp_path):
    write_plain(tmp_path / 'one')
    sample = SFVC(str(tmp_path / 'one'), beta=None, num_frames=2, pipeline=LOAD)[(1, 0)]
    assert sample['video'] == 'b' and sample['lq'][0, 1, 0, 0, 2] in (80, 81)
    assert len(SFVC(str(tmp_path / 'one' / 'train'), split='test', beta=None, test_mode=True)) == 2
    for beta in ('0.005', '0.03'):
        for view in ('left', 'right'):
            (tmp_path / 'one' / 'train' / f'{view}_hazy').rename(tmp_path / 'one' / 'train' / f'{view}_hazy_{beta}')
        if beta == '0.005':
            write_plain(tmp_path / 'again')
            for view in ('left', 'right'):
                (tmp_path / 'again' / 'train' / f'{view}_hazy').rename(tmp_path / 'one' / 'train' / f'{view}_hazy')
    mixed = SFVC(str(tmp_path / 'one'), beta=(0.005, 0.03), num_frames=3, pipeline=LOAD)
    assert [mixed[(index, 0)]['video'] for index in range(4)] == ['0.005/a', '0.005/b', '0.03/a', '0.03/b']


def test_check_finds_what_is_missing_in_either_view(published):
    report = check_dataset(SFVC, published)
    assert report.ok and 'train_0.005' in report.absent
    assert {(row['split'], row['key'], row['videos'], row['frames']) for row in report.rows} == {
        (f'{split}_0.01', key, clips, 7 * clips) for split, clips in (('train', 2), ('test', 1))
        for key in ('lq', 'right_lq', 'gt', 'right_gt')}
    gone = published / IMAGES / image_path('right', 'val', 'hamburg_000000_000003', 0.01)
    gone.unlink()
    listed = published / lists_folder(0.01) / LISTS['right', 'clear']
    listed.write_text('\n'.join(listed.read_text().split()[1:]) + '\n')
    problems = {(problem.kind, problem.key): problem for problem in check_dataset(SFVC, published).problems}
    assert problems['unreadable', 'right_lq'].path == str(gone)
    assert problems['unreadable', 'right_lq'].text == 'the file is missing'
    assert ('missing', 'right_gt') in problems
    with pytest.raises(UserError, match='mmweather data check'):
        SFVC(str(published), beta=0.01)


def test_faults_of_the_folder_are_named(published, tmp_path):
    with pytest.raises(UserError, match=r'no SFVC train_0.02 split .*tools/dataset_converters/sfvc.py'):
        SFVC(str(published), beta=0.02)
    listed = published / lists_folder(0.01) / LISTS['left', 'hazy']
    listed.write_text('train/clouds.png\n')
    with pytest.raises(UserError, match='the line train/clouds.png, which is no name of Cityscapes'):
        SFVC(str(published), beta=0.01)


def test_clips_that_share_a_folder_are_not_cached(published):
    # Their arrays would overwrite each other.
    class Foggy(SFVC):
        def __init__(self, root, **kwargs):
            super().__init__(root, beta=0.01, **kwargs)

    with pytest.raises(UserError, match='frames of several videos'):
        cache_frames(Foggy, published, published.parent / 'cache')


# -- transforms ------------------------------------------------------------------------------------------------------

def test_crops_keep_rows_aligned_and_flips_keep_the_pair_a_pair(published):
    pipeline = [dict(type='RandomCropClip', size=8), *LOAD]
    sample = SFVC(str(published), beta=0.01, num_frames=2, pipeline=pipeline)[(0, 3)]
    views = sample['lq'][0]
    np.testing.assert_array_equal(views[0][..., :2], views[1][..., :2])
    before = {key: sample[key].copy() for key in ('lq', 'gt')}
    flipped = FlipClip(prob=1.0)(sample)
    for key, clip in before.items():
        np.testing.assert_array_equal(flipped[key][:, 0], clip[:, 1, :, ::-1])
        np.testing.assert_array_equal(flipped[key][:, 1], clip[:, 0, :, ::-1])
    upright = dict(before, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(FlipClip(prob=1.0, direction='vertical')(upright)['lq'], before['lq'][:, :, ::-1])


def test_disparity_stays_positive_when_mirrored():
    # A square that stands at column 20 on the left and 15 on the right, as near things do.
    pair = np.zeros((1, 2, 8, 32, 1), np.uint8)
    pair[:, 0, :, 20:24], pair[:, 1, :, 15:19] = 255, 255
    flipped = FlipClip(prob=1.0)(dict(lq=pair, rng=np.random.default_rng(0)))['lq']
    left, right = (int(flipped[0, view, 0, :, 0].argmax()) for view in range(2))
    assert left - right == 5


def test_one_view_is_not_stacked(published):
    dataset = SFVC(str(published), beta=0.01, keys=('lq', 'gt'), pipeline=LOAD)
    with pytest.raises(UserError, match='no right view'):
        dataset[(0, 0)]


# -- synthetic haze --------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    return dict(scenes=2, scene_frames=3, scene_size=(48, 96), num_frames=2, crop_size=(32, 64),
                cache_dir=str(tmp_path_factory.mktemp('cache')))


def test_draws_are_reproducible_and_of_the_asked_size(scenes):
    samples = [SyntheticHaze(**scenes)[(0, draw)] for draw in (5, 5, 6)]
    for key in ('lq', 'gt'):
        assert samples[0][key].shape == (2, 2, 32, 64, 3)
        np.testing.assert_array_equal(samples[0][key], samples[1][key])
    assert not np.array_equal(samples[0]['lq'], samples[2]['lq'])


def test_haze_follows_the_depth_of_the_crop(scenes):
    """Of a crop as of the whole frame, in both views: the transmission is that of the closed form."""
    from mmweather.synthesis.scenes import SceneRenderer
    dataset = SyntheticHaze(**scenes, betas=(0.02, ), default_share=1.0, clean_share=0.0, augment=False)
    sample = dataset[(0, 1)]
    kind, number = ('drive', 'walk')[int(sample['video'][-1])], int(sample['video'][-1])
    renderer = SceneRenderer(kind, (48, 96), number, stereo=True, baseline=0.22)
    rendered = renderer.frame(int(sample['names'][0].split('.')[0]), flow=False)
    place = next((top, left) for top in range(17) for left in range(33)
                 if np.array_equal(rendered.frame[top:top + 32, left:left + 64], sample['gt'][0, 0]))
    rows, columns = (slice(start, start + size) for start, size in zip(place, (32, 64)))
    np.testing.assert_array_equal(sample['gt'][0, 1], rendered.right[rows, columns])
    y, x = np.mgrid[rows, columns]
    camera = renderer.intrinsics
    stretch = np.sqrt(1 + ((x - camera['cx']) / camera['fx'])**2 + ((y - camera['cy']) / camera['fy'])**2)
    far = 1 - np.exp(-0.02 * stretch * rendered.depth[rows, columns])
    # I - J = (L - J) (1 - t): the airlight that each pixel implies is the same one wherever there is enough haze
    hazy, clear = (sample[key][0, 0].astype(float) for key in ('lq', 'gt'))
    implied = (clear + (hazy - clear) / far[..., None])[far > 0.5]
    assert implied.std(axis=0).max() < 2
    right = 1 - np.exp(-0.02 * stretch * rendered.right_depth[rows, columns])
    hazy, clear = (sample[key][0, 1].astype(float) for key in ('lq', 'gt'))
    np.testing.assert_allclose((clear + (hazy - clear) / right[..., None])[right > 0.5].mean(axis=0),
                               implied.mean(axis=0), atol=1)


def test_training_samples_say_what_the_haze_was_made_with(scenes):
    from mmweather.synthesis.fog import estimate_airlight
    for airlight in ('scene', 'random'):
        dataset = SyntheticHaze(**{**scenes, 'crop_size': (48, 96)}, airlight=airlight, default_share=1.0,
                                clean_share=0.0)
        sample = dataset[(0, 3)]
        assert sample['transmission'].shape == (2, 2, 48, 96, 1) and sample['airlight'].shape == (2, 2, 1, 1, 3)
        share, light = sample['transmission'] / 255, sample['airlight'].astype(float)
        # both are rounded to 8 bits, and so is the haze
        np.testing.assert_allclose(sample['lq'], sample['gt'] * share + light * (1 - share), atol=2)
        seen = np.rint(estimate_airlight(sample['gt'][1, 0]) * 255)
        assert np.array_equal(light[0, 0, 0, 0], seen) == (airlight == 'scene')
        # what is at column x on the left is at x - disparity on the right
        disparity = sample['disparity'][0, 0, 40, :, 0]
        assert disparity.shape == (96, ) and 0.5 < disparity.max() < 40
        partner = np.rint(np.arange(96) - disparity).astype(int)
        there = partner >= 0
        across = sample['disparity'][0, 1, 40, :, 0][partner[there]]
        assert np.mean(np.abs(across - disparity[there]) < 1) > 0.7
    assert 'airlight' not in SyntheticHaze(**scenes, test_mode=True)[0]
    with pytest.raises(ValueError, match="airlight: expected 'scene' or 'random'"):
        SyntheticHaze(**scenes, airlight='sky')


def test_clean_samples_and_held_out_scenes(scenes):
    clean = SyntheticHaze(**scenes, clean_share=1.0)[(0, 0)]
    np.testing.assert_array_equal(clean['lq'], clean['gt'])
    test = SyntheticHaze(**scenes, test_mode=True)
    assert len(test) == 2 and test[0]['lq'].shape == (2, 2, 48, 96, 3)
    np.testing.assert_array_equal(test[1]['lq'], test[1]['lq'])


def test_scenes_too_short_or_small_are_named(scenes):
    with pytest.raises(UserError, match='scenes have 3 frames, but a clip takes 4'):
        SyntheticHaze(**{**scenes, 'num_frames': 4})
    with pytest.raises(UserError, match='smaller than crops of 128x64'):
        SyntheticHaze(**{**scenes, 'crop_size': (64, 128)})


# -- two views in, two views out -------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def identity():
    """A network that gives back what it gets: so its head begins."""
    torch.manual_seed(0)
    return build_network('pmcn_tiny').eval()


@pytest.fixture(scope='module')
def brightens_right(identity):
    """A network that answers for each view by itself: it makes the right one brighter."""
    class Brighten(type(identity)):
        def step(self, frames, state):
            assert frames.shape[1:3] == (1, 2)
            return frames[:, 0] + torch.tensor([0, 0.2]).view(1, 2, 1, 1, 1), state

    network = build_network('pmcn_tiny').eval()
    network.__class__ = Brighten
    return network


def random_frames(count, size, seed):
    # dark enough that nothing is clipped
    return np.random.default_rng(seed).integers(0, 200, (count, *size, 3), dtype=np.uint8)


def write_folder(path, frames):
    for t, frame in enumerate(frames):
        write(path / f'{t:03d}.png', frame)
    return path


def read_folder(path):
    return np.stack(list(open_source(path)))


@pytest.mark.parametrize('size', [(32, 48), (19, 37)])
def test_two_folders_come_back_under_their_own_names(identity, brightens_right, tmp_path, size):
    left, right = (random_frames(3, size, seed) for seed in range(2))
    sources = write_folder(tmp_path / 'l', left), write_folder(tmp_path / 'r', right)
    outputs = tmp_path / 'out_l', tmp_path / 'out_r'
    summary = restore_stereo(sources, outputs, identity, precision='fp32')
    assert summary.frames == 3
    np.testing.assert_array_equal(read_folder(outputs[0]), left)
    np.testing.assert_array_equal(read_folder(outputs[1]), right)
    restore_stereo(sources, outputs, brightens_right, precision='fp32')
    np.testing.assert_array_equal(read_folder(outputs[0]), left)
    np.testing.assert_array_equal(read_folder(outputs[1]), right + 51)


@pytest.mark.parametrize(('layout', 'axis'), [('sbs', 2), ('tb', 1)])
def test_views_in_one_frame_are_taken_apart_and_put_together(brightens_right, tmp_path, layout, axis):
    left, right = (random_frames(2, (16, 24), seed) for seed in range(2))
    source = write_folder(tmp_path / 'both', np.concatenate([left, right], axis=axis))
    restore_stereo([source], [tmp_path / 'out'], brightens_right, layout=layout, precision='fp32')
    np.testing.assert_array_equal(read_folder(tmp_path / 'out'), np.concatenate([left, right + 51], axis=axis))


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """Stereo videos of 4 frames and lonely ones of another length, rate and size, by name."""
    root = tmp_path_factory.mktemp('videos')
    for name, count, size, fps in (('left', 4, (32, 48), 25), ('right', 4, (32, 48), 25), ('short', 3, (32, 48), 25),
                                   ('fast', 4, (32, 48), 30), ('large', 4, (48, 48), 25)):
        with open_sink(root / f'{name}.mp4', fps=fps) as sink:
            for frame in cv2.blur(random_frames(count, size, 7).reshape(-1, *size[1:], 3), (9, 9)).reshape(
                    count, *size, 3):
                sink.write(frame)
    return root


@pytest.fixture(scope='module')
def checkpoint(identity, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(identity.state_dict(), path)
    return path


@pytest.mark.parametrize('order', ['inputs first', 'outputs first'])
def test_command_takes_two_inputs_and_two_outputs(videos, checkpoint, tmp_path, order):
    inputs = [str(videos / 'left.mp4'), str(videos / 'right.mp4')]
    outputs = ['-o', str(tmp_path / 'l.mp4'), str(tmp_path / 'r.mp4')]
    files = [*inputs, *outputs] if order == 'inputs first' else [*outputs, *inputs]
    assert run(['restore', *files, '--model', 'pmcn_tiny', '--checkpoint', str(checkpoint), '-q']) == 0
    for view in 'lr':
        restored = open_source(tmp_path / f'{view}.mp4')
        assert len(list(restored)) == 4 and restored.fps == 25 and restored.size == (32, 48)


def test_command_takes_views_side_by_side(videos, checkpoint, tmp_path):
    assert run(['restore', str(videos / 'left.mp4'), '-o', str(tmp_path / 'x.mp4'), '--stereo', 'sbs', '--model',
                'pmcn_tiny', '--checkpoint', str(checkpoint), '-q']) == 0
    assert open_source(tmp_path / 'x.mp4').size == (32, 48)


@pytest.mark.parametrize(('other', 'fault'), [
    ('short', 'short.mp4 ends after 3 frames but .*left.mp4 goes on'),
    ('fast', '25 frames per second but .*fast.mp4 has 30 frames per second'),
    ('large', 'left.mp4 has 48x32 pixels but .*large.mp4 has 48x48 pixels'),
])
@pytest.mark.parametrize('swapped', [False, True])
def test_views_that_do_not_belong_together_are_refused(identity, videos, tmp_path, other, fault, swapped):
    names = ('left', other)[::-1 if swapped else 1]
    if swapped:
        fault = other
    with pytest.raises(UserError, match=fault):
        restore_stereo([videos / f'{name}.mp4' for name in names], [tmp_path / 'l.mp4', tmp_path / 'r.mp4'], identity)
    assert list(tmp_path.iterdir()) == []


def test_stereo_faults_are_one_sentence_each(identity, videos, tmp_path):
    left, right, out = videos / 'left.mp4', videos / 'right.mp4', tmp_path / 'out.mp4'
    with pytest.raises(UserError, match='pmcn_tiny restores stereo video: give it two inputs and two outputs'):
        restore_video(left, out, identity)
    with pytest.raises(UserError, match='restores one view'):
        restore_stereo([left, right], [out, tmp_path / 'r.mp4'], build_network('vimpnet_tiny'))
    with pytest.raises(UserError, match='two inputs and two outputs'):
        restore_stereo([left, right], [out], identity)
    with pytest.raises(UserError, match='named for both views'):
        restore_stereo([left, right], [out, out], identity)
    with pytest.raises(UserError, match='overwritten'):
        restore_stereo([left, right], [out, left], identity)
    odd = write_folder(tmp_path / 'odd', random_frames(1, (16, 25), 0))
    with pytest.raises(UserError, match='25x16, which cannot be halved'):
        restore_stereo([odd], [tmp_path / 'o'], identity, layout='sbs')


def run(arguments):
    """Exit code of the command."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code or 0
