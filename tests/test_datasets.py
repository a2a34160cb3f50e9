"""Datasets: the right frames together, reproducible draws, and one sentence when a folder is wrong."""
import io
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch.utils.data import DataLoader
from vrds_fixtures import KEYS, SIZE, TEST, TRAIN, pixels, write_frame, write_split

from mmweather.datasets import VRDS, PairedClipDataset, SyntheticRain
from mmweather.datasets.base import Layout
from mmweather.datasets.cache import cache_frames
from mmweather.datasets.frames import image_size, is_whole, list_frames, read_frame
from mmweather.errors import UserError
from mmweather.registry import DATASETS
from mmweather.structures import ClipSample

LOAD = [dict(type='LoadFrames')]
TRAINING = [dict(type='RandomCropClip', size=16), dict(type='LoadFrames'), dict(type='FlipClip'),
            dict(type='TransposeClip'), dict(type='PackClip')]


@pytest.fixture(scope='module')
def vrds(tmp_path_factory):
    """A whole VRDS folder: two training videos of 7 frames, one test video of 11."""
    root = write_split(tmp_path_factory.mktemp('vrds'), TRAIN)
    return str(write_split(root, TEST, videos=('031',), frames=11))


@pytest.fixture
def own_vrds(tmp_path):
    """A training split to damage."""
    return write_split(tmp_path / 'VRDS', TRAIN)


# ------------------------------------------------------------------------------------------------- samples from disk


def test_training_sample_holds_the_same_consecutive_frames_of_every_key(vrds):
    dataset = VRDS(vrds, num_frames=5, pipeline=LOAD)
    starts = set()
    for draw in range(20):
        sample = dataset[(1, draw)]
        assert sample['video'] == '002'
        start = int(sample['names'][0].split('.')[0])
        starts.add(start)
        assert sample['names'] == [f'{start + t:08d}.png' for t in range(5)]
        assert sample['ori_shape'] == SIZE
        for key in KEYS:
            expected = np.stack([pixels(key, 1, start + t) for t in range(5)])
            np.testing.assert_array_equal(sample[key], expected)
    assert starts == {0, 1, 2}


def test_interval_spreads_the_frames(vrds):
    dataset = VRDS(vrds, num_frames=3, interval=2, pipeline=LOAD)
    names = {tuple(dataset[(0, draw)]['names']) for draw in range(30)}
    assert names == {tuple(f'{start + 2 * t:08d}.png' for t in range(3)) for start in range(3)}


def test_training_pipeline_ends_in_tensors_for_the_preprocessor(vrds):
    batch = next(iter(DataLoader(VRDS(vrds, pipeline=TRAINING), batch_size=2, collate_fn=pseudo_collate)))
    assert [clip.shape for clip in batch['inputs']] == [(5, 3, 16, 16)] * 2
    sample = batch['data_samples'][0]
    assert isinstance(sample, ClipSample)
    assert set(sample.keys()) == {'gt', 'drop', 'mask', 'streak'}
    # rows and columns agree after crop, flip and transposition, so all keys are still of the same place
    torch.testing.assert_close(batch['inputs'][0][:, :2], sample.gt[:, :2])


def test_whole_test_videos_in_natural_order(tmp_path):
    """Frames numbered without leading zeros: 10 comes after 9; hidden and foreign files are no frames."""
    write_split(tmp_path, TEST, videos=('2', '10'), frames=12, template='{}.png')
    (tmp_path / 'testlq' / '2' / '._3.png').write_bytes(b'resource fork')
    (tmp_path / 'testlq' / '2' / 'notes.txt').write_text('bumpy')
    (tmp_path / 'testlq' / '.cache').mkdir()
    dataset = VRDS(str(tmp_path), split='test', num_frames=None, test_mode=True, pipeline=LOAD)
    assert [dataset[index]['video'] for index in range(len(dataset))] == ['2', '10']
    sample = dataset[0]
    assert sample['names'] == [f'{frame}.png' for frame in range(12)]
    assert sample['lq'][:, 0, 0, 2].tolist() == list(range(12))
    assert set(sample) >= {'lq', 'gt'} and 'mask' not in sample


@pytest.mark.parametrize(('num_frames', 'interval', 'sizes'), [(4, 1, [4, 4, 3]), (2, 3, [2, 2, 2, 2, 2, 1])])
def test_windows_cover_every_test_frame_once(vrds, num_frames, interval, sizes):
    dataset = VRDS(vrds, split='test', num_frames=num_frames, interval=interval, test_mode=True, pipeline=LOAD)
    windows = [sample['names'] for sample in dataset]
    assert [len(window) for window in windows] == sizes
    assert sorted(sum(windows, [])) == [f'{frame:08d}.png' for frame in range(11)]


def test_rainmamba_layout_is_recognised(tmp_path):
    write_split(tmp_path, TRAIN, videos=('001',))
    write_split(tmp_path, dict(lq='test/lq', gt='test/gt'), videos=('031',))
    assert VRDS(str(tmp_path), pipeline=LOAD)[0]['video'] == '001'
    assert VRDS(str(tmp_path), split='test', test_mode=True, pipeline=LOAD)[0]['video'] == '031'


def test_a_dataset_is_its_layout(tmp_path):
    """The layout of DVD and GoPro: keys below the video, other suffixes for input and target."""

    class Deblur(PairedClipDataset):
        LAYOUTS = (Layout('official', dict(train=dict(lq='train/{video}/input', gt='train/{video}/GT'))),)

    for frame in range(3):
        write_frame(tmp_path / 'train' / 'car' / 'input' / f'{frame:05d}.jpg', pixels('lq', 0, frame))
        write_frame(tmp_path / 'train' / 'car' / 'GT' / f'{frame:05d}.png', pixels('gt', 0, frame))
    (tmp_path / 'train' / 'empty').mkdir()
    sample = Deblur(str(tmp_path), num_frames=3, pipeline=LOAD)[0]
    np.testing.assert_array_equal(sample['gt'], np.stack([pixels('gt', 0, frame) for frame in range(3)]))


def test_folders_and_videos_can_be_named(tmp_path):
    write_split(tmp_path, dict(lq='rainy', gt='sunny'), videos=('a', 'b', 'c'))
    (tmp_path / 'held_out.txt').write_text('c\na\n')
    dataset = VRDS(str(tmp_path), keys=('lq', 'gt'), data_prefix=dict(lq='rainy', gt='sunny/{video}'),
                   ann_file='held_out.txt', pipeline=LOAD)
    assert [dataset[index]['video'] for index in range(len(dataset))] == ['c', 'a']


def test_registered_under_their_names(vrds):
    dataset = DATASETS.build(dict(type='VRDS', data_root=vrds, pipeline=LOAD))
    assert type(dataset) is VRDS and dataset.metainfo['dataset_name'] == 'VRDS'
    assert DATASETS.get('SyntheticRain') is SyntheticRain


# ------------------------------------------------------------------------------------------------------- randomness


def same(one, other):
    assert one['data_samples'].metainfo == other['data_samples'].metainfo
    fields = [(value, other['data_samples'].get(key)) for key, value in one['data_samples'].items()]
    return all(torch.equal(*pair) for pair in [(one['inputs'], other['inputs']), *fields])


def test_a_draw_is_reproducible_whatever_came_before(vrds):
    first, second = VRDS(vrds, pipeline=TRAINING, seed=1), VRDS(vrds, pipeline=TRAINING, seed=1)
    samples = [first[(draw % 2, draw)] for draw in range(12)]
    np.random.seed(99)  # noqa: NPY002 - the global states must not matter
    torch.manual_seed(99)
    for draw in reversed(range(12)):
        assert same(samples[draw], second[(draw % 2, draw)])


def test_draws_and_seeds_differ(vrds):
    datasets = [VRDS(vrds, pipeline=TRAINING, seed=seed) for seed in (0, 1)]
    inputs = [dataset[(0, draw)]['inputs'] for dataset in datasets for draw in range(6)]
    assert len({clip.numpy().tobytes() for clip in inputs}) > 9


def test_workers_do_not_change_the_draws(vrds):
    draws = [(draw % 2, draw) for draw in range(6)]
    dataset = VRDS(vrds, pipeline=TRAINING)
    with_workers = DataLoader(dataset, sampler=draws, num_workers=2, collate_fn=lambda batch: batch[0], batch_size=1)
    for draw, sample in zip(draws, with_workers):
        assert same(sample, dataset[draw])


def test_plain_indices_differ_in_training_and_not_in_testing(vrds):
    """A stock sampler must not train on the same crops in every epoch."""
    training = VRDS(vrds, pipeline=TRAINING)
    assert len({training[0]['inputs'].numpy().tobytes() for _ in range(8)}) > 4
    testing = VRDS(vrds, split='test', num_frames=4, test_mode=True, pipeline=TRAINING)
    assert same(testing[1], testing[1])


def test_times_repeats_without_another_index(vrds):
    dataset = VRDS(vrds, times=1000, pipeline=LOAD)
    assert len(dataset) == 2000
    assert [dataset[(index, 0)]['video'] for index in (0, 1, 1998, 1999)] == ['001', '002', '001', '002']
    assert len(dataset.data_address) == 2
    with pytest.raises(IndexError):
        dataset[2000]


# ------------------------------------------------------------------------------------------------------------ faults


def test_folder_that_is_no_vrds_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r'holds no VRDS train split \(looked for lq/<video>\): download VRDS from '):
        VRDS(str(tmp_path))
    with pytest.raises(UserError, match=r'looked for testlq/<video> or test/lq/<video>'):
        VRDS(str(tmp_path), split='test', test_mode=True)
    with pytest.raises(UserError, match='is no folder'):
        VRDS(str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match="no split 'val': choose one of test, train"):
        VRDS(str(tmp_path), split='val')


@pytest.mark.parametrize('given', ['.', 'VRDS/lq'])
def test_folder_above_or_below_is_pointed_out(own_vrds, given):
    root = own_vrds.parent
    with pytest.raises(UserError, match='VRDS does: give that folder'):
        VRDS(str(root / given))


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda root: (root / 'gt/002/00000003.png').unlink(), r'gt/002 does not pair up .*00000003 .*data check'),
    (lambda root: write_frame(root / 'drop/001/00000007.png', pixels('drop', 0, 7)), 'drop/001 does not pair up'),
    (lambda root: shutil.rmtree(root / 'mstreak/002'), r'mstreak/002 is missing .*data check'),
    (lambda root: [path.unlink() for path in root.glob('*/001/*.png')], 'lq/001 holds no frames'),
])
def test_damage_that_a_scan_shows_stops_the_start(own_vrds, damage, message):
    damage(own_vrds)
    with pytest.raises(UserError, match=message):
        VRDS(str(own_vrds))


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda path: path.write_bytes(b'no image'), 'gt/001/00000002.png is damaged or no image'),
    (lambda path: write_frame(path, pixels('gt', 0, 2, (20, 36))), '36x20, but the frames it belongs to are 36x24'),
])
def test_damage_that_reading_shows_names_the_file(own_vrds, damage, message):
    dataset = VRDS(str(own_vrds), num_frames=7, pipeline=LOAD)
    damage(own_vrds / 'gt/001/00000002.png')
    with pytest.raises(UserError, match=message):
        dataset[0]


def test_fault_in_a_worker_stays_one_sentence(own_vrds):
    """PyTorch would make it a page of traceback."""
    dataset = VRDS(str(own_vrds), num_frames=7, pipeline=LOAD)
    path = own_vrds / 'gt/001/00000002.png'
    path.unlink()
    with pytest.raises(UserError) as fault:
        next(iter(DataLoader(dataset, num_workers=1, collate_fn=pseudo_collate)))
    assert str(fault.value) == f'{path} is missing: restore it from the original archive'


def test_arguments_that_make_no_sense(vrds, tmp_path):
    with pytest.raises(UserError, match='holds 7 frames, but a clip spans 9'):
        VRDS(vrds, num_frames=5, interval=2)
    with pytest.raises(UserError, match='choose from lq, gt, mask, drop, streak'):
        VRDS(vrds, keys=('lq', 'snow'))
    with pytest.raises(ValueError, match='training needs a clip length'):
        VRDS(vrds, num_frames=None)
    (tmp_path / 'list.txt').write_text('001 777')
    with pytest.raises(UserError, match='names videos that are not in .*: 777'):
        VRDS(vrds, ann_file=str(tmp_path / 'list.txt'))
    with pytest.raises(UserError, match='cannot be read'):
        VRDS(vrds, ann_file=str(tmp_path / 'none.txt'))


# ------------------------------------------------------------------------------------------------------------ frames


def encoded(array, suffix, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, suffix, **options)
    return buffer.getvalue()


GRADIENT = np.arange(24 * 36, dtype=np.float64).reshape(24, 36) / (24 * 36)


@pytest.mark.parametrize(('data', 'expected'), [
    (encoded((GRADIENT * 255).astype(np.uint8), 'png'), (GRADIENT * 255).astype(np.uint8)),
    (cv2.imencode('.png', (GRADIENT * 65535).astype(np.uint16))[1].tobytes(), GRADIENT * 255),
    (encoded(np.dstack([pixels('lq', 0, 0), np.full(SIZE, 7, np.uint8)]), 'png'), pixels('lq', 0, 0)),
    (encoded(pixels('lq', 0, 0), 'bmp'), pixels('lq', 0, 0)),
], ids=['gray', '16 bit', 'alpha', 'bmp'])
def test_any_image_is_read_as_8_bit_rgb(tmp_path, data, expected):
    path = tmp_path / 'frame.png'
    path.write_bytes(data)
    frame = read_frame(path)
    assert frame.dtype == np.uint8 and frame.shape == (*SIZE, 3)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    assert np.abs(frame.astype(int) - expected).max() <= 1
    assert read_frame(path, gray=True).shape == (*SIZE, 1)


def turned_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(('suffix', 'options'), [
    ('png', {}), ('jpeg', {}), ('jpeg', dict(progressive=True)), ('jpeg', dict(exif=turned_exif())), ('bmp', {})])
def test_size_from_the_header_is_the_size_of_the_pixels(tmp_path, suffix, options):
    """An EXIF orientation turns neither: frames of one video must not differ by how the camera was held."""
    path = tmp_path / f'frame.{suffix}'
    path.write_bytes(encoded(pixels('lq', 0, 0), suffix, **options))
    assert image_size(path) == read_frame(path).shape[:2] == SIZE


def test_size_from_the_header_reads_no_pixels(tmp_path):
    path = tmp_path / 'frame.png'
    path.write_bytes(encoded(pixels('lq', 0, 0), 'png')[:40])
    assert image_size(path) == SIZE
    assert not is_whole(path)


@pytest.mark.parametrize('suffix', ['png', 'jpeg'])
def test_truncated_files_are_told_from_whole_ones(tmp_path, suffix):
    path, data = tmp_path / f'frame.{suffix}', encoded(pixels('lq', 0, 0), suffix)
    path.write_bytes(data)
    assert is_whole(path)
    path.write_bytes(data[:-20])
    assert not is_whole(path)


def test_list_frames_sorts_by_number(tmp_path):
    for name in ('f10.png', 'f9.png', 'F1.JPG', '.f2.png', 'readme.md'):
        (tmp_path / name).touch()
    assert list_frames(tmp_path) == ['F1.JPG', 'f9.png', 'f10.png']


# ------------------------------------------------------------------------------------------------------------- cache


def test_cache_is_read_as_the_original(vrds, tmp_path):
    assert cache_frames(VRDS, vrds, tmp_path) == 10
    original, cached = VRDS(vrds, pipeline=TRAINING), VRDS(str(tmp_path), pipeline=TRAINING)
    for draw in range(12):
        assert same(original[(draw % 2, draw)], cached[(draw % 2, draw)])


def test_cache_goes_on_where_it_was_interrupted(own_vrds, tmp_path):
    frame = own_vrds / 'gt/001/00000005.png'
    whole = frame.read_bytes()
    frame.write_bytes(whole[:60])
    target = tmp_path / 'cache'
    with pytest.raises(UserError, match='gt/001/00000005.png is damaged'):
        cache_frames(VRDS, own_vrds, target)
    assert [path.name for path in target.rglob('*.np*')] == ['001.npy'] and (target / 'lq/001.npy').exists()
    done = (target / 'lq/001.npy').stat().st_mtime_ns
    frame.write_bytes(whole)
    assert cache_frames(VRDS, own_vrds, target) == 9
    assert (target / 'lq/001.npy').stat().st_mtime_ns == done


def test_cache_refuses_before_it_fills_the_disk(vrds, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10_000))
    with pytest.raises(UserError, match='needs 0.0 GB but the disk has 0.0 GB left'):
        cache_frames(VRDS, vrds, tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()
    with pytest.raises(UserError, match='is the dataset itself'):
        cache_frames(VRDS, vrds, vrds)


def test_cached_crop_reads_only_its_pixels(tmp_path):
    """A training crop from a cache does not touch the rest of the file: most of it need not even exist."""
    shape = (5, 4000, 4000, 3)
    for folder in ('lq', 'gt'):
        path = tmp_path / folder / '001.npy'
        path.parent.mkdir()
        with open(path, 'wb') as file:
            np.lib.format.write_array_header_1_0(file, dict(descr='|u1', fortran_order=False, shape=shape))
            file.truncate(file.tell() + int(np.prod(shape)))  # sparse
        path.with_suffix('.txt').write_text('\n'.join(f'{t}.png' for t in range(5)))
    sample = VRDS(str(tmp_path), keys=('lq', 'gt'), pipeline=TRAINING[:2])[(0, 0)]
    assert isinstance(sample['lq'], np.memmap) and sample['lq'].shape == (5, 16, 16, 3)


# --------------------------------------------------------------------------------------------------------- synthetic


@pytest.fixture(scope='module')
def scene_cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp('scenes'))


def synthetic(scene_cache, **options):
    return SyntheticRain(**{**dict(scenes=2, scene_frames=6, scene_size=(48, 64), num_frames=3, crop_size=32,
                                   cache_dir=scene_cache), **options})


def write_video(path, frames=8, size=(48, 64)):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=25)
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], 'bgr0'
        for t in range(frames):
            image = np.full((*size, 3), 40 + 10 * t, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, 'rgb24')))
        container.mux(stream.encode())
    return path


def test_synthetic_sample_has_the_form_of_a_vrds_sample(scene_cache):
    sample = synthetic(scene_cache, clean_share=0, default_share=1)[(0, 1)]
    for key in ('lq', 'gt', 'drop'):
        assert sample[key].shape == (3, 32, 32, 3) and sample[key].dtype == np.uint8
    for key in ('mask', 'streak'):
        assert sample[key].shape == (3, 32, 32, 1) and sample[key].dtype == np.uint8
    assert len(sample['names']) == 3 and sample['video'] in ('drive0', 'walk1')
    assert (sample['lq'] != sample['gt']).any()
    assert (sample['lq'] != sample['drop']).any() and sample['streak'].any()


def test_synthetic_draw_depends_on_seed_and_draw_only(scene_cache):
    first, second = synthetic(scene_cache), synthetic(scene_cache)
    for draw in (5, 0, 3):
        one, other = first[(0, draw)], second[(7, draw)]
        assert all(np.array_equal(one[key], other[key]) for key in KEYS)
    assert not np.array_equal(first[(0, 1)]['gt'], first[(0, 2)]['gt'])


def test_synthetic_clean_share_stays_dry(scene_cache):
    sample = synthetic(scene_cache, clean_share=1)[(0, 0)]
    np.testing.assert_array_equal(sample['lq'], sample['gt'])
    assert not sample['mask'].any() and not sample['streak'].any()


def test_synthetic_test_mode_rains_on_whole_frames_of_every_source(scene_cache):
    dataset = synthetic(scene_cache, test_mode=True, num_frames=4)
    assert len(dataset) == 2
    assert [sample['video'] for sample in dataset] == ['drive0', 'walk1']
    assert dataset[1]['lq'].shape == (4, 48, 64, 3)
    np.testing.assert_array_equal(dataset[1]['lq'], dataset[1]['lq'])


def test_synthetic_crops_pan_only_where_asked(tmp_path):
    folder = tmp_path / 'still'
    folder.mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    for frame in range(4):
        cv2.imwrite(str(folder / f'{frame}.png'), picture)
    options = dict(videos=[str(folder)], scenes=0, heights=(48,), num_frames=4, crop_size=24, clean_share=1.0,
                   cache_dir=tmp_path)
    assert all((clip == clip[:1]).all() for clip in (SyntheticRain(**options)[0, draw]['gt'] for draw in range(8)))
    panned = [SyntheticRain(**options, max_pan=12)[0, draw]['gt'] for draw in range(8)]
    assert sum(not (clip == clip[:1]).all() for clip in panned) >= 6
    assert {clip.shape for clip in panned} == {(4, 24, 24, 3)}


@pytest.mark.parametrize('kind', ['file', 'folder'])
def test_synthetic_reads_clean_videos_and_folders(tmp_path, kind):
    video = write_video(tmp_path / 'street.mkv')
    if kind == 'folder':
        video = tmp_path / 'street'
        for t in range(8):
            write_frame(video / f'{t}.png', np.full((48, 64, 3), 40 + 10 * t, np.uint8))
    dataset = SyntheticRain(videos=[str(video)], scenes=0, heights=(48,), num_frames=4, test_mode=True, max_frames=6,
                            cache_dir=str(tmp_path / 'cache'))
    sample = dataset[0]
    assert sample['video'] == 'street'
    np.testing.assert_allclose(sample['gt'][:, 0, 0, 0].astype(int), [40, 50, 60, 70], atol=1)
    array, = (tmp_path / 'cache').glob('*.npy')
    assert np.load(array, mmap_mode='r').shape == (6, 48, 64, 3)


def test_synthetic_video_is_decoded_once_and_again_when_it_changed(tmp_path):
    video = write_video(tmp_path / 'street.mkv')
    options = dict(videos=[str(video)], scenes=0, heights=(48,), num_frames=3, crop_size=32,
                   cache_dir=str(tmp_path / 'cache'))
    first = Path(SyntheticRain(**options).get_data_info(0)['path'])
    written = first.stat().st_mtime_ns
    assert Path(SyntheticRain(**options).get_data_info(0)['path']) == first and first.stat().st_mtime_ns == written
    write_video(video, frames=9)
    assert len(np.load(SyntheticRain(**options).get_data_info(0)['path'])) == 9


def test_synthetic_scene_is_rendered_once_and_again_by_other_code(scene_cache, tmp_path, monkeypatch):
    first = Path(synthetic(scene_cache, scenes=1).get_data_info(0)['path'])
    written = first.stat().st_mtime_ns
    assert Path(synthetic(scene_cache, scenes=1).get_data_info(0)['path']) == first
    assert first.stat().st_mtime_ns == written
    (tmp_path / 'scenes.py').write_text('# another renderer')
    monkeypatch.setattr('mmweather.synthesis.__file__', str(tmp_path / '__init__.py'))
    assert Path(synthetic(scene_cache, scenes=1).get_data_info(0)['path']) != first


def test_synthetic_faults_are_sentences(tmp_path, scene_cache):
    (tmp_path / 'notes.mp4').write_text('no video')
    (tmp_path / 'empty').mkdir()
    for video, message in [('nowhere.mp4', 'cannot be read'), ('notes.mp4', 'is no readable video'),
                           ('empty', 'has no frames')]:
        with pytest.raises(UserError, match=message):
            SyntheticRain(videos=[str(tmp_path / video)], scenes=0, cache_dir=scene_cache)
    with pytest.raises(UserError, match='has 6 frames, but a clip takes 9'):
        synthetic(scene_cache, num_frames=9)
    with pytest.raises(UserError, match='is 64x48, smaller than crops of 64'):
        synthetic(scene_cache, crop_size=64)
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot be written'):
        synthetic(str(tmp_path / 'file'))


# --------------------------------------------------------------------------------------------------------- structure


def test_clip_sample_checks_what_it_carries():
    sample = ClipSample(gt=torch.zeros(2, 3, 4, 5), metainfo=dict(video='a'))
    sample.output = torch.ones(2, 3, 4, 5)
    sample.mask = torch.zeros(2, 2, 1, 4, 5)
    assert set(sample.to_dict()) == {'gt', 'output', 'mask', 'video'}
    assert sample.to(torch.float64).output.dtype == torch.float64
    assert sample.numpy().to_tensor().gt.shape == (2, 3, 4, 5)
    for name, value in [('gt', torch.zeros(3, 4, 5)), ('mask', torch.zeros(2, 3, 4, 5)),
                        ('output', torch.zeros(2, 3, 3, 4, 5))]:
        with pytest.raises(ValueError, match=rf'ClipSample.{name} must have the shape'):
            setattr(sample, name, value)
    with pytest.raises(TypeError, match='must be a tensor'):
        sample.gt = [1, 2]
