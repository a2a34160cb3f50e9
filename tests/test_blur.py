"""Motion blur: the synthesis, the data sets, the converter, and training and testing on them."""
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from mmweather.datasets import DVD, GoPro, SyntheticBlur
from mmweather.errors import UserError
from mmweather.models import RecurrentNetwork
from mmweather.models.recurrent_restorer import RecurrentRestorer
from mmweather.registry import MODELS
from mmweather.synthesis.blur import (
    BlurOn,
    CameraResponse,
    CameraShake,
    ExposureAverage,
    blur_on,
    blur_stream,
    render_blurry_scene,
)


def texture(height, width, seed=0):
    noise = np.random.default_rng(seed).random((height // 8, width // 8, 3)).astype(np.float32)
    return (cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def pan(frames, height, width, speed):
    picture = texture(height, width + speed * frames)
    return np.stack([picture[:, speed * t:speed * t + width] for t in range(frames)])


# ------------------------------------------------------------------------------------------------------------- light

def test_response_and_its_inverse_cancel():
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    for response in (CameraResponse(), CameraResponse(1.0), CameraResponse(curve=np.arange(256)**1.5 + 3)):
        assert np.array_equal(response.display(response.linear(values)), values)


def test_exposures_sum_light_and_not_pixel_values():
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert (ExposureAverage()([black, white]) == round(255 * 0.5**(1 / 2.2))).all()
    assert (np.abs(ExposureAverage(CameraResponse(1.0))([black, white]) - 127.5) <= 0.5).all()
    with pytest.raises(ValueError, match='at least one moment'):
        ExposureAverage()([])


@pytest.mark.parametrize('arguments', [dict(gamma=0), dict(curve=range(255)), dict(curve=[1] * 256)])
def test_responses_that_cannot_be_inverted_are_refused(arguments):
    with pytest.raises(ValueError, match=r'gamma|curve'):
        CameraResponse(**arguments)


# --------------------------------------------------------------------------------------------------------- synthesis

def test_blur_of_a_pan_is_as_long_as_the_way_of_the_shutter():
    # A bright line that moves 8 pixels per frame smears over 8 * shutter pixels, centred on its sharp place.
    frame = np.zeros((16, 64, 3), np.uint8)
    frame[:, 32] = 255
    moving = np.full((16, 64, 2), (8, 0), np.float32)
    blurred = BlurOn((16, 64), strength=0, shutter=0.75, samples=13, response=CameraResponse(1.0))(
        frame, 0, to_previous=-moving, to_next=moving)
    assert np.array_equal(blurred['gt'], frame)
    profile = blurred['lq'][8, :, 0].astype(float)
    # the ends of the smear are half covered
    assert np.flatnonzero(profile > 10).tolist() == list(range(29, 36))
    assert (profile * np.arange(64)).sum() / profile.sum() == pytest.approx(32, abs=0.1)
    assert profile.sum() == pytest.approx(255, rel=0.1)


def test_film_is_blurred_along_its_flow_and_as_a_stream():
    film = pan(4, 64, 96, 6)
    steady = blur_on(film, strength=0, samples=9)
    assert np.array_equal(steady.gt, film)
    # horizontally smeared, vertically not
    edges = [np.abs(np.diff(clip[1:3].astype(float), axis=axis)).mean() for clip in (film, steady.lq)
             for axis in (2, 1)]
    assert edges[2] < 0.9 * edges[0] and edges[2] / edges[0] < edges[3] / edges[1] - 0.05
    streamed = list(blur_stream(iter(film), BlurOn((64, 96), seed=3, samples=5), start=7))
    whole = blur_on(film, seed=3, samples=5, start=7)
    assert np.array_equal(np.stack([part['lq'] for part in streamed]), whole.lq)
    assert not np.array_equal(whole.gt, film)  # the camera shakes


def test_shake_is_a_smooth_rotation_that_its_seed_decides():
    shake = CameraShake(5)
    rotations = np.stack([shake.rotation(t / 1000) for t in range(100)])
    assert np.allclose(rotations @ rotations.swapaxes(1, 2), np.eye(3), atol=1e-12)
    assert np.abs(np.diff(rotations, axis=0)).max() < 0.005
    assert np.array_equal(CameraShake(5).rotation(0.3), shake.rotation(0.3))
    assert not np.array_equal(CameraShake(6).rotation(0.3), shake.rotation(0.3))
    assert np.array_equal(CameraShake(5, 0).rotation(0.3), np.eye(3))


def test_rendered_blur_is_exact_and_its_flow_leads_from_sharp_frame_to_sharp_frame():
    size = (72, 128)
    clip = render_blurry_scene('walk', frames=2, size=size, seed=11, strength=1.0, samples=3)
    steady = render_blurry_scene('walk', frames=2, size=size, seed=11, strength=0, samples=1)
    assert np.array_equal(steady.lq, steady.gt) and not np.array_equal(clip.gt, steady.gt)
    assert np.abs(clip.flow_backward - steady.flow_backward).mean() > 0.3  # the shake is in the flow
    rows, columns = np.mgrid[0:size[0], 0:size[1]].astype(np.float32)
    moved = cv2.remap(clip.gt[0], columns + clip.flow_backward[0, ..., 0], rows + clip.flow_backward[0, ..., 1],
                      cv2.INTER_LINEAR).astype(float)
    inside = np.s_[12:-12, 12:-12]
    now = clip.gt[1].astype(float)
    # what is left is what things uncover, and resampling
    assert np.abs(moved - now)[inside].mean() < 0.75 * np.abs(clip.gt[0].astype(float) - now)[inside].mean()
    assert clip.depth.shape == (2, *size) and np.isfinite(clip.depth).all()


@pytest.mark.parametrize('make', [lambda: BlurOn((16, 16), samples=4),
                                  lambda: render_blurry_scene(frames=1, size=(32, 32), samples=2)])
def test_an_even_number_of_moments_has_no_middle(make):
    with pytest.raises(ValueError, match='samples must be odd'):
        make()


def test_command_line_blurs_a_scene_exactly_and_a_film_along_its_flow(tmp_path, monkeypatch, film):
    from mmweather.cli.synth import command
    monkeypatch.chdir(tmp_path)
    command(['blur', 'scene:walk', '-o', 'scene', '--frames', '1', '--size', '64x48', '--seed', '4', '--save-parts',
             '-q'], standalone_mode=False)
    expected = render_blurry_scene('walk', 1, (48, 64), seed=4)
    for folder, frame in (('scene', expected.lq[0]), ('scene_gt', expected.gt[0])):
        assert np.array_equal(cv2.imread(f'{folder}/00000000.png')[..., ::-1], frame)
    command(['blur', str(film), '-o', 'blurred', '--strength', '0', '--frames', '3', '-q'], standalone_mode=False)
    frames = np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted(film.iterdir())[:3]])
    found = np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / 'blurred').iterdir())])
    assert np.array_equal(found, blur_on(frames, strength=0).lq)


# ---------------------------------------------------------------------------------------------------------- datasets

def write_frames(folder, frames, suffix='.png'):
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / f'{index:06d}{suffix}'), frame[..., ::-1])


def write_gopro(root, layout='published', videos=2, frames=9, size=(48, 64)):
    """A data set whose frame t has the value 10 t + video in the input and one more in the target."""
    train, test, blurred = dict(published=('train_nah', 'test_nah', 'blur_gamma'), original=('train', 'test',
                                'blur_gamma'), plain=('train', 'test', 'blur'))[layout]
    for split in (train, test):
        for video in range(videos):
            clip = np.stack([np.full((*size, 3), 10 * t + video, np.uint8) for t in range(frames)])
            write_frames(root / split / f'GOPR{video}' / blurred, clip)
            write_frames(root / split / f'GOPR{video}' / 'sharp', clip + 1)
    return root


PIPELINE = [dict(type='LoadFrames'), dict(type='PackClip')]


@pytest.mark.parametrize('layout', ['published', 'original', 'plain'])
def test_gopro_is_recognised_in_its_layouts(tmp_path, layout):
    dataset = GoPro(str(write_gopro(tmp_path, layout)), split='test', num_frames=None, test_mode=True,
                    pipeline=PIPELINE)
    assert len(dataset) == 2
    sample = dataset[1]
    assert sample['inputs'].shape == (9, 3, 48, 64)
    assert sample['inputs'][4].unique().tolist() == [41] and sample['data_samples'].gt[4].unique().tolist() == [42]


def test_training_clips_do_not_overlap_and_repeat_the_ends_of_the_video_as_context(tmp_path):
    dataset = GoPro(str(write_gopro(tmp_path)), num_frames=4, pipeline=PIPELINE)
    assert len(dataset) == 4  # nine frames are two clips of four and a rest
    clips = [(dataset[index]['inputs'][:, 0, 0, 0] // 10).tolist() for index in range(4)]
    assert clips[0] == clips[2] == [0, 0, 1, 2, 3, 4] and clips[1] == clips[3] == [3, 4, 5, 6, 7, 8]
    anywhere = GoPro(str(tmp_path), num_frames=7, context=2, starts='random', pipeline=PIPELINE)
    seen = {tuple((anywhere[(0, draw)]['inputs'][:, 0, 0, 0] // 10).tolist()) for draw in range(20)}
    assert seen == {(0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8), (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8),
                    (0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8)}
    with pytest.raises(UserError, match='holds 9 frames'):
        GoPro(str(tmp_path), num_frames=10, pipeline=PIPELINE)


def test_clips_are_the_same_from_a_cache_of_arrays(tmp_path):
    from mmweather.datasets.cache import cache_frames
    root = write_gopro(tmp_path / 'images')
    cache_frames(GoPro, root, tmp_path / 'arrays', 'train')
    pipeline = [dict(type='RandomCropClip', size=32), *PIPELINE]
    images, arrays = (GoPro(str(tmp_path / name), num_frames=4, pipeline=pipeline) for name in ('images', 'arrays'))
    for index in range(4):
        assert torch.equal(images[(index, 5)]['inputs'], arrays[(index, 5)]['inputs'])


def test_dvd_is_read_and_checked(tmp_path, run_python):
    clip = pan(4, 48, 64, 3)
    for split in ('train_DVD', 'test_DVD'):
        for kind in ('input', 'GT'):
            write_frames(tmp_path / split / 'IMG_0030' / kind, clip, '.jpg')
    sample = DVD(str(tmp_path), num_frames=2, pipeline=PIPELINE)[(0, 0)]
    assert sample['inputs'].shape == (4, 3, 48, 64)
    assert run_python('-m', 'mmweather', 'data', 'check', '--dataset', 'dvd', tmp_path).returncode == 0
    (tmp_path / 'train_DVD' / 'IMG_0030' / 'GT' / '000002.jpg').unlink()
    result = run_python('-m', 'mmweather', 'data', 'check', '--dataset', 'dvd', tmp_path)
    assert result.returncode == 2 and 'IMG_0030' in result.stdout and '000002' in result.stdout


def test_a_folder_that_is_not_gopro_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r'train_nah/<video>/blur_gamma .*tools/dataset_converters/gopro\.py'):
        GoPro(str(tmp_path))


@pytest.fixture
def film(tmp_path):
    folder = tmp_path / 'film'
    write_frames(folder, pan(8, 80, 96, 4))
    return folder


def test_synthetic_blur_is_a_function_of_seed_and_draw(tmp_path, film):
    def dataset(**options):
        defaults = dict(videos=[str(film)], scenes=1, scene_frames=2, scene_size=(64, 80), heights=(80, ), num_frames=2,
                        crop_size=32, samples=3, cache_dir=str(tmp_path / 'cache'), pipeline=[dict(type='PackClip')])
        return SyntheticBlur(**{**defaults, **options})

    train = dataset()
    first, again, other = train[(0, 1)], dataset()[(5, 1)], train[(0, 2)]
    assert first['inputs'].shape == first['data_samples'].gt.shape == (2, 3, 32, 32)
    assert torch.equal(first['inputs'], again['inputs']) and not torch.equal(first['inputs'], other['inputs'])
    # blurred samples are softer than their targets, those of the sharp share are equal to them
    for draw in range(4):
        sample = dataset(sharp_share=0, default_share=1)[(0, draw)]
        blurred, sharp = (clip.float().diff(dim=-1).abs().mean() for clip in (sample['inputs'],
                                                                             sample['data_samples'].gt))
        assert blurred < sharp
    sample = dataset(sharp_share=1)[(0, 0)]
    assert torch.equal(sample['inputs'], sample['data_samples'].gt)
    test = dataset(test_mode=True)
    assert len(test) == 2 and [test[i]['inputs'].shape[-2:] for i in range(2)] == [(64, 80), (80, 96)]
    with pytest.raises(UserError, match='smaller than crops of 64 with 16 around'):
        dataset(crop_size=64)[0]


def test_flow_of_synthetic_blur_leads_from_sharp_frame_to_sharp_frame(tmp_path):
    def dataset(**options):
        defaults = dict(scenes=2, scene_frames=4, scene_size=(96, 128), num_frames=2, crop_size=48, max_pan=8,
                        samples=3, with_flow=True, sharp_share=0.2, cache_dir=str(tmp_path))
        return SyntheticBlur(**{**defaults, **options})

    def misfits(sample):
        rows, columns = np.mgrid[0:sample['gt'].shape[1], 0:sample['gt'].shape[2]].astype(np.float32)
        before, now = sample['gt'].astype(np.float32)
        assert np.isnan(sample['flow'][0]).all() and sample['flow'].dtype == np.float32
        known = np.isfinite(sample['flow'][1]).all(axis=-1)
        x, y = np.nan_to_num(sample['flow'][1]).transpose(2, 0, 1)
        moved = cv2.remap(before, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                          borderValue=(np.nan, ) * 3)
        known &= np.isfinite(moved).all(axis=-1)
        return [np.abs(other - now)[known].mean() for other in (moved, before)] if known.mean() > 0.5 else None

    # Crops pan, are mirrored both ways and shaken, in training; none of it may be missed, and no sign be wrong.
    found = [misfits(dataset()[(0, draw)]) for draw in range(60)]
    aligned, at_rest = np.array([pair for pair in found if pair]).T
    assert aligned.size > 30 and np.mean(aligned) < 0.5 * np.mean(at_rest) and np.mean(aligned < at_rest) > 0.95
    aligned, at_rest = np.array([misfits(sample) for sample in dataset(test_mode=True)]).T
    assert (aligned < 0.7 * at_rest).all()


def test_flow_of_blurred_videos_is_estimated_between_the_sharp_frames(tmp_path, film):
    def flow(strength, draw=0):
        dataset = SyntheticBlur(videos=[str(film)], scenes=0, heights=(80, ), num_frames=2, crop_size=32, samples=3,
                                with_flow=True, sharp_share=1 - strength, augment=False, cache_dir=str(tmp_path / 'c'))
        return dataset[(0, draw)]['flow']

    # the film pans by four pixels per frame to the right: what is seen now was further right before
    still = flow(strength=0)
    assert np.isnan(still[0]).all()
    np.testing.assert_allclose(np.median(still[1], axis=(0, 1)), (4, 0), atol=0.3)
    # the shake's part is added
    assert np.abs(np.nanmedian(flow(strength=1)[1], axis=(0, 1)) - (4, 0)).max() > 0.5


# --------------------------------------------------------------------------------------------------------- converter

def convert(root, *arguments):
    return subprocess.run([sys.executable, root / 'tools' / 'dataset_converters' / 'gopro.py', *map(str, arguments)],
                          capture_output=True, text=True, check=False, env=None)


def test_converter_makes_a_gopro_data_set_without_gaps(root, tmp_path, film):
    result = convert(root, film, '-o', tmp_path / 'out', '--average', 3)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / 'out' / 'train_nah' / 'film'
    assert sorted(path.name for path in (folder / 'sharp').iterdir()) == ['000000.png', '000001.png']

    def read(path):
        return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)

    frames = [read(film / f'{t:06d}.png') for t in range(6)]
    for pair in range(2):
        group = frames[3 * pair:3 * pair + 3]
        assert np.array_equal(read(folder / 'sharp' / f'00000{pair}.png'), group[1])
        light = np.mean([(frame / 255.0)**2.2 for frame in group], axis=0)
        expected = np.rint(255 * light**(1 / 2.2))
        assert np.abs(read(folder / 'blur_gamma' / f'00000{pair}.png') - expected).max() <= 1
    assert len(GoPro(str(tmp_path / 'out'), num_frames=2)) == 1


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--average', '4'], 'must be odd'), (['--average', '31'], 'fewer than 31 frames'),
    (['--response', 'nowhere.txt'], 'nowhere.txt cannot be read'), (['--gamma', '-1'], 'gamma must be positive')])
def test_converter_faults_are_one_sentence_and_leave_nothing(root, tmp_path, film, arguments, words):
    result = convert(root, film, '-o', tmp_path / 'out', *arguments)
    assert result.returncode == 2 and words in result.stderr
    assert result.stderr.count('\n') == 1 and not list(tmp_path.glob('out/*/*'))


# ---------------------------------------------------------------------------------------------- training and testing

class Toy(RecurrentNetwork):
    """Mixes the frame, the one after it and the last result with three weights."""

    lookahead = 1

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.2, 0.3, 0.4]))
        self.seen = []

    def init_state(self, frames):
        return dict(output=frames[:, 0])

    def step(self, frames, state):
        self.seen.append(([round(float(frame.mean()) * 255) for frame in frames.unbind(1)],
                          state['output'].requires_grad))
        output = self.weights[0] * frames[:, 0] + self.weights[1] * frames[:, 1] + self.weights[2] * state['output']
        return dict(output=output), dict(output=output)


def toy_restorer(**options):
    MODELS.register_module(name='Toy', module=Toy, force=True)
    return RecurrentRestorer(dict(type='Toy'), loss=dict(type='PVDLoss'), **options)


def counted_batch(frames):
    clip = torch.arange(frames, dtype=torch.uint8).view(-1, 1, 1, 1).expand(frames, 3, 4, 4) * 10
    from mmweather.structures import ClipSample
    return dict(inputs=[clip], data_samples=[ClipSample(gt=clip // 2)])


class CountingOptimWrapper:
    """Takes plain gradient steps and counts them."""

    def __new__(cls, model, lr=0.1):
        from mmengine.optim import OptimWrapper

        class Counting(OptimWrapper):
            steps = 0

            def step(self, **kwargs):
                self.steps += 1
                super().step(**kwargs)

        return Counting(torch.optim.SGD(model.parameters(), lr=lr))


def test_a_clip_is_walked_through_with_context_and_one_step_per_frame():
    model = toy_restorer(context=1)
    wrapper = CountingOptimWrapper(model)
    logs = model.train_step(counted_batch(6), wrapper)
    # six frames are four targets and a frame of context at each end
    assert [frames for frames, _ in model.generator.seen] == [[10, 20], [20, 30], [30, 40], [40, 50]]
    assert not any(grad for _, grad in model.generator.seen) and wrapper.steps == 4
    assert set(logs) == {'loss', 'loss_mse'} and model.generator.weights.grad is None


def test_without_context_the_last_frame_is_repeated():
    model = toy_restorer()
    model.train_step(counted_batch(3), CountingOptimWrapper(model))
    assert [frames for frames, _ in model.generator.seen] == [[0, 10], [10, 20], [20, 20]]


def test_accumulating_takes_one_step_with_the_mean_gradient():
    model = toy_restorer(update='clip')
    batch = counted_batch(4)
    data = model.data_preprocessor(batch, training=True)
    expected = torch.autograd.grad(model(**data, mode='loss')['loss_mse'], model.generator.weights)[0]
    before = model.generator.weights.detach().clone()
    wrapper = CountingOptimWrapper(model)
    model.train_step(batch, wrapper)
    assert wrapper.steps == 1
    torch.testing.assert_close(before - model.generator.weights.detach(), 0.1 * expected)


def test_back_propagation_through_the_clip_differs_and_needs_one_step_per_clip():
    through = toy_restorer(update='clip', detach_state=False)
    data = through.data_preprocessor(counted_batch(4), training=True)
    losses = [torch.autograd.grad(model(**data, mode='loss')['loss_mse'], model.generator.weights)[0]
              for model in (through, toy_restorer(update='clip'))]
    assert not torch.allclose(*losses)
    before = through.generator.weights.detach().clone()
    through.train_step(counted_batch(4), CountingOptimWrapper(through))
    torch.testing.assert_close(before - through.generator.weights.detach(), 0.1 * losses[0])
    assert [grad for _, grad in through.generator.seen[-4:]] == [False, True, True, True]
    with pytest.raises(ValueError, match="needs update='clip'"):
        toy_restorer(detach_state=False)


def test_clips_that_are_all_context_are_refused():
    with pytest.raises(UserError, match='none is left to restore'):
        model = toy_restorer(context=1)
        model.train_step(counted_batch(2), CountingOptimWrapper(model))


def test_published_schedules_are_those_of_the_paper():
    from mmengine import Config
    from mmengine.optim import build_optim_wrapper

    import mmweather  # noqa: F401
    from mmweather.zoo import find_config
    config = Config.fromfile(find_config('pvdnet_gopro'))
    assert config.train_cfg.max_iters == 46_153 and config.param_scheduler.periods == [3846, 7692, 11538, 11538, 11538]
    optimizer = build_optim_wrapper(nn.Linear(1, 1), config.optim_wrapper).optimizer
    assert type(optimizer).__name__ == 'RAdam' and optimizer.defaults['decoupled_weight_decay']
    assert optimizer.defaults['lr'] == 1e-4 and optimizer.defaults['weight_decay'] == 0.01
    drop = Config.fromfile(find_config('pvdnet').parent / '_base_' / 'schedule_pvdnet_ld.py').param_scheduler
    assert drop.milestones == [30_769] and drop.gamma == 0.25


SMALL = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
         'train_dataloader.dataset.pipeline.0.size=32', 'train_dataloader.batch_size=1',
         'train_dataloader.dataset.num_frames=2', 'train_cfg.max_iters=2', 'default_hooks.logger.interval=1']
NARROW_MOTION = ['feature_channels=[4,4,4,4]', 'match_channels=4', 'refine_channels=[4,4,4]',
                 'smooth_channels=[4,4,4,4,4,4]']
NARROW = ['volume_channels=4', 'image_channels=4', 'channels=4', 'half_channels=4', 'bottleneck_channels=4',
          'body_channels=4', 'num_blocks=1']


def test_both_stages_train_and_the_result_is_tested_by_both_protocols(root, tmp_path, run_python):
    data = write_gopro(tmp_path / 'data', frames=4)
    where = f'train_dataloader.dataset.data_root={data}'
    motion = [f'model.generator.{option}' for option in NARROW_MOTION]
    result = run_python(root / 'tools/train.py', 'bimnet_gopro', '--work-dir', tmp_path / 'one', '--cfg-options',
                        where, *SMALL, *motion)
    assert result.returncode == 0, result.stderr[-2000:]
    first = tmp_path / 'one' / 'iter_2.pth'

    options = [f'model.generator.{option}' for option in NARROW]
    options += [option.replace('generator.', 'generator.motion.') for option in motion]
    result = run_python(root / 'tools/train.py', 'pvdnet_gopro', '--work-dir', tmp_path / 'two', '--cfg-options',
                        where, *SMALL, *options, f'model.motion_checkpoint={first}')
    assert result.returncode == 0, result.stderr[-2000:]
    second = tmp_path / 'two' / 'iter_2.pth'
    motion_before, after = (torch.load(path, weights_only=False)['state_dict'] for path in (first, second))
    for name, value in motion_before.items():
        # fixed in the second stage
        assert torch.equal(after[name.replace('generator.', 'generator.motion.')], value)

    result = run_python(root / 'tools/test.py', 'pvdnet_gopro', second, '--work-dir', tmp_path / 'three', '--save',
                        tmp_path / 'saved', '--cfg-options', *options, f'test_dataloader.dataset.data_root={data}',
                        'test_dataloader.num_workers=0')
    assert result.returncode == 0, result.stderr[-2000:]
    numbers = json.loads(next((tmp_path / 'three').glob('*/*.json')).read_text())
    assert {f'{protocol}/{kind}{metric}' for protocol in ('plain', 'koehler') for kind in ('', 'input_')
            for metric in ('PSNR', 'SSIM')} <= set(numbers)
    assert len(list((tmp_path / 'saved').glob('GOPR*/*.png'))) == 8
