"""Transforms: one decision for all frames and keys of a sample, drawn from the sample's own generator."""
import numpy as np
import pytest
import torch

from mmweather.datasets.transforms import FlipClip, LoadFrames, PackClip, RandomCropClip, TransposeClip
from mmweather.errors import UserError
from mmweather.registry import TRANSFORMS

HEIGHT, WIDTH, FRAMES = 9, 13, 3


def clip(channels=3, stereo=False):
    """Pixels that say where they were: row, column and frame."""
    frame, row, column = np.meshgrid(np.arange(FRAMES), np.arange(HEIGHT), np.arange(WIDTH), indexing='ij')
    array = np.stack([row, column, frame][:channels], axis=-1).astype(np.uint8)
    return np.stack([array, array + 100], axis=1) if stereo else array


def sample(seed=0, stereo=False, **more):
    return dict(lq=clip(stereo=stereo), gt=clip(stereo=stereo), mask=clip(1, stereo), key='a/0', video='a',
                names=['0.png', '1.png', '2.png'], ori_shape=(HEIGHT, WIDTH), rng=np.random.default_rng(seed), **more)


def windows(size, draws=200):
    """The corners of the crops of many draws."""
    for seed in range(draws):
        yield RandomCropClip(size)(sample(seed))['lq'][0, 0, 0, :2].tolist()


def test_crop_is_the_same_window_for_all_frames_and_keys():
    for seed in range(20):
        cropped = RandomCropClip((4, 6))(sample(seed))
        assert cropped['lq'].shape == (FRAMES, 4, 6, 3) and cropped['mask'].shape == (FRAMES, 4, 6, 1)
        top, left = cropped['lq'][0, 0, 0, :2]
        for key in ('lq', 'gt', 'mask'):
            np.testing.assert_array_equal(cropped[key], sample()[key][:, top:top + 4, left:left + 6])


def test_crop_reaches_every_place_and_no_other():
    assert {tuple(corner) for corner in windows((7, 11))} == {(row, column) for row in range(3) for column in range(3)}


def test_crop_of_the_full_size_is_the_frame():
    np.testing.assert_array_equal(RandomCropClip((HEIGHT, WIDTH))(sample())['lq'], clip())


def test_crop_larger_than_the_frame_names_the_clip():
    with pytest.raises(UserError, match='a/0 is 13x9, smaller than the crop of 10x10'):
        RandomCropClip(10)(sample())


def test_crop_before_loading_chooses_the_window_that_it_would_cut_after():
    after = RandomCropClip(4)(sample(3))
    before = RandomCropClip(4)(dict(ori_shape=(HEIGHT, WIDTH), rng=np.random.default_rng(3)))
    top, left, height, width = before['window']
    np.testing.assert_array_equal(after['lq'], clip()[:, top:top + height, left:left + width])


@pytest.mark.parametrize(('transform', 'axis'), [
    (FlipClip(1.0, 'horizontal'), 2), (FlipClip(1.0, 'vertical'), 1)])
def test_flip_mirrors_all_keys_along_its_axis(transform, axis):
    flipped = transform(sample())
    for key in ('lq', 'gt', 'mask'):
        np.testing.assert_array_equal(flipped[key], np.flip(sample()[key], axis))


def test_horizontal_flip_of_stereo_swaps_the_views():
    """A mirrored left view is what the right camera would see in the mirrored world."""
    flipped = FlipClip(1.0)(sample(stereo=True))['lq']
    np.testing.assert_array_equal(flipped[:, 0], clip(stereo=True)[:, 1, :, ::-1])
    np.testing.assert_array_equal(flipped[:, 1], clip(stereo=True)[:, 0, :, ::-1])
    vertical = FlipClip(1.0, 'vertical')(sample(stereo=True))['lq']
    np.testing.assert_array_equal(vertical[:, 0], clip(stereo=True)[:, 0, ::-1])


def test_transpose_exchanges_height_and_width_of_all_keys():
    turned = TransposeClip(1.0)(sample())
    for key in ('lq', 'gt', 'mask'):
        np.testing.assert_array_equal(turned[key], sample()[key].transpose(0, 2, 1, 3))


def test_transpose_refuses_stereo_even_when_it_would_not_turn():
    with pytest.raises(ValueError, match='epipolar'):
        TransposeClip(0.0)(sample(stereo=True))


@pytest.mark.parametrize('transform', [FlipClip(0.25), FlipClip(0.25, 'vertical'), TransposeClip(0.25)])
def test_probability_is_kept(transform):
    changed = [not np.array_equal(transform(sample(seed))['lq'], clip()) for seed in range(400)]
    assert 0.18 < np.mean(changed) < 0.32


@pytest.mark.parametrize('transform', [RandomCropClip(4), FlipClip(), TransposeClip()])
def test_only_the_samples_generator_decides(transform):
    results = []
    for state in range(8):
        np.random.seed(state)  # noqa: NPY002 - the global state must not matter
        torch.manual_seed(state)
        results.append(transform(sample(5))['lq'])
    assert all(np.array_equal(results[0], other) for other in results)


def test_pack_gives_contiguous_uint8_tensors_of_their_own():
    source = sample(drop=clip())
    source['gt'] = source['gt'][:, ::-1, 2:9]
    packed = PackClip()(dict(source))
    inputs, data = packed['inputs'], packed['data_samples']
    assert inputs.shape == (FRAMES, 3, HEIGHT, WIDTH) and data.mask.shape == (FRAMES, 1, HEIGHT, WIDTH)
    for tensor in (inputs, data.gt, data.drop, data.mask):
        assert tensor.dtype == torch.uint8 and tensor.is_contiguous()
    np.testing.assert_array_equal(data.gt.permute(0, 2, 3, 1).numpy(), source['gt'])
    inputs.zero_()
    assert source['lq'].any()
    assert 'lq' not in data and 'rng' not in data
    assert data.metainfo == {key: source[key] for key in ('key', 'video', 'names', 'ori_shape')}


def test_pack_keeps_views_of_stereo():
    packed = PackClip()(sample(stereo=True))
    assert packed['inputs'].shape == (FRAMES, 2, 3, HEIGHT, WIDTH)
    assert packed['inputs'][0, 1, 0, 4, 0] == 104


def test_registered_under_their_names():
    for cls in (FlipClip, LoadFrames, PackClip, RandomCropClip, TransposeClip):
        assert TRANSFORMS.get(cls.__name__) is cls
    assert repr(TRANSFORMS.build(dict(type='FlipClip', prob=0.1))) == "FlipClip(prob=0.1, direction='horizontal')"
    with pytest.raises(ValueError, match='horizontal'):
        FlipClip(direction='diagonal')
