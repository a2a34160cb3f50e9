"""PVDNet and BIMNet against the outputs and losses of the published implementation, and what their parts promise."""
import copy

import cv2
import numpy as np
import pytest
import torch
from deterministic import DATA, input_for, official_state
from torch.nn import functional as F

from mmweather.models import ClipProtocol, load_weights, restore_clip, restore_frames
from mmweather.models.pvdnet import BIMNet, BlurInvariantLoss, EndPointLoss, PVDLoss, PVDNet
from mmweather.models.pvdnet.network import PATH, _convolve_blocks, blur_path
from mmweather.models.temporal import split_scenes
from mmweather.zoo import build_network, bundled_weights, load_bundled

# Made by the published implementation with the same deterministic weights and inputs, under our names of the mixes:
# the published code calls 'bs' what is sharp in the current frame and blurred in the previous one.
GOLDEN_MOTION_LOSSES = dict(bb=0.004485760349780321, sb=0.013091744855046272, bs=0.006151155568659306,
                            ss=0.016478944569826126)
GOLDEN_MOTION_LOSS = 0.010051901335828006

LARGE = dict(body_channels=192, num_blocks=24)


def golden_clip():
    return (input_for('pvdnet/public', (1, 4, 3, 128, 192), -1, 1) + 1) / 2


def run(network, clip):
    """All that the steps return, stacked along the frames."""
    results, state = [], network.init_state(clip[:, :2])
    with torch.no_grad():
        for t in range(clip.shape[1]):
            following = min(t + 1, clip.shape[1] - 1)
            result, state = network.step(torch.stack((clip[:, t], clip[:, following]), dim=1), state)
            results.append(result)
    return {name: torch.stack([result[name] for result in results], dim=1) for name in results[0]}


@pytest.fixture(scope='module')
def published():
    """The network with weights in the published layout, and what it makes of the golden video."""
    network = PVDNet().eval()
    report = load_weights(network, {f'module.{key}': value for key, value in official_state('pvdnet').items()})
    return network, report, run(network, golden_clip())


@pytest.fixture(scope='module')
def tiny():
    torch.manual_seed(0)
    network = build_network('pvdnet_tiny').eval()
    # it begins as the identity, of which there is nothing to see
    torch.nn.init.xavier_uniform_(network.deblur.to_residual.weight)
    return network


def clip_of(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


# -- the published networks ------------------------------------------------------------------------------------------

def test_parameter_counts():
    def count(module):
        return sum(p.numel() for p in module.parameters())

    network = PVDNet()
    assert count(network.motion) == count(BIMNet()) == 5_381_969
    assert count(network.deblur) == 5_132_579
    assert count(PVDNet(**LARGE).deblur) == 17_979_811
    assert count(build_network('pvdnet_large')) == 17_979_811 + 5_381_969
    assert count(build_network('pvdnet_tiny')) <= 2_000_000


def test_published_layout_loads_key_by_key(published):
    _, report, _ = published
    assert report.complete and report.layout == 'PVDNet (authors)' and len(report.matched) == 290


def test_outputs_equal_the_published_network(published):
    golden = np.load(DATA / 'pvdnet_golden.npz')
    output = 2 * published[2]['output'].numpy()[..., ::4, ::4] - 1
    error = np.abs(output - golden['output'])
    assert np.quantile(error, 0.999) < 5e-3 * golden['output'].std()
    # What this implementation reaches; a looser result means that something changed.
    assert np.quantile(error, 0.999) < 1e-4 * golden['output'].std()


def test_flow_equals_the_published_network(published):
    error = np.abs(published[2]['flow'].numpy()[..., ::4, ::4] - np.load(DATA / 'pvdnet_golden.npz')['flow'])
    assert np.quantile(error, 0.999) < 1e-4


def test_pixel_volume_equals_the_published_network(published):
    volume = published[2]['pixel_volume'][:, 1:3].numpy()
    error = np.abs(volume[..., ::8, ::8] - np.load(DATA / 'pvdnet_golden.npz')['pixel_volume'])
    assert np.quantile(error, 0.999) < 1e-5
    # The rim that no shifted neighbour reaches is mid-gray, as published, and not the current frame.
    assert not volume[:, :, 0, -2:].any() and not volume[:, :, 24, :2].any()


def test_large_network_equals_the_published_one():
    network = PVDNet(**LARGE).eval()
    assert load_weights(network, official_state('pvdnet_large')).complete
    clip = golden_clip()[:, :3]
    golden = np.load(DATA / 'pvdnet_golden.npz')['large_output']
    state, outputs = network.init_state(clip[:, :2]), []
    with torch.no_grad():
        for t in range(2):
            result, state = network.step(clip[:, t:t + 2], state)
            outputs.append(result['output'])
    error = np.abs(2 * torch.stack(outputs, dim=1).numpy()[..., ::8, ::8] - 1 - golden)
    assert np.quantile(error, 0.999) < 1e-4 * golden.std()


def test_motion_losses_equal_the_published_ones(published):
    motion, clip = published[0].motion, golden_clip()
    sharp = (input_for('pvdnet/loss/gt', (1, 2, 3, 128, 192), -1, 1) + 1) / 2
    loss = BlurInvariantLoss()
    with torch.no_grad():
        terms = loss.terms(motion, (clip[:, 1], clip[:, 0]), (sharp[:, 1], sharp[:, 0]))
    assert {mix: float(term) for mix, term in terms.items()} == pytest.approx(GOLDEN_MOTION_LOSSES, rel=1e-4)
    assert float(sum(terms.values()) / 4) == pytest.approx(GOLDEN_MOTION_LOSS, rel=1e-4)


@pytest.mark.parametrize('prefix', ['', 'BIMNet.', 'module.BIMNet.'])
def test_bimnet_checkpoint_of_the_authors_loads_alone(published, prefix):
    state = {prefix + key.removeprefix('BIMNet.'): value for key, value in official_state('pvdnet').items()
             if key.startswith('BIMNet.')}
    network = BIMNet()
    assert load_weights(network, state).complete
    assert torch.equal(network.features[0][0].weight, published[0].motion.features[0][0].weight)


# -- motion ----------------------------------------------------------------------------------------------------------

def test_motion_crops_to_its_multiple_and_has_no_flow_beyond(published):
    motion, clip = published[0].motion, clip_of(2, 3, 70, 100)
    with torch.no_grad():
        flow, inside = motion(clip, clip.flip(0)), motion(clip[..., :64, :96], clip.flip(0)[..., :64, :96])
    assert torch.equal(flow[..., :64, :96], inside)
    assert not flow[..., 64:, :].any() and not flow[..., 96:].any()


def test_motion_refuses_frames_below_its_multiple():
    with pytest.raises(ValueError, match='sides of at least 32'):
        BIMNet()(torch.rand(1, 3, 31, 64), torch.rand(1, 3, 31, 64))


def test_all_of_bimnet_learns_from_the_blur_invariant_loss(tiny):
    frames = [clip_of(1, 3, 48, 48) for _ in range(4)]
    BlurInvariantLoss()(tiny.motion, frames[:2], frames[2:])['loss_bim'].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tiny.motion.parameters())
    tiny.zero_grad(set_to_none=True)


def test_blur_invariant_loss_judges_by_the_sharp_pair_alone():
    # A flow that is right for the sharp frames costs nothing, whatever the blurred ones look like.
    sharp = clip_of(1, 3, 32, 32)
    moved = torch.roll(sharp, 3, dims=-1)
    flow = torch.zeros(4, 2, 32, 32)
    flow[:, 0] = -3

    def right(current, previous):
        assert current.shape == previous.shape == (4, 3, 32, 32)
        return flow

    blurred = (torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    terms = BlurInvariantLoss().terms(right, blurred, (moved, sharp))
    assert max(terms.values()) < 1e-10
    # Outside of the frame nothing is counted: without the mask, three columns of the current frame would be.
    wrong = BlurInvariantLoss().terms(lambda *_: flow * 0, blurred, (moved, sharp))
    assert min(wrong.values()) > 0.01


def test_mixes_can_be_chosen_and_drawn():
    seen = []

    def motion(current, previous):
        seen.append((float(current.mean()), float(previous.mean())))
        return torch.zeros(len(current), 2, 8, 8)

    blurred, sharp = [torch.zeros(1, 3, 8, 8)] * 2, [torch.ones(1, 3, 8, 8)] * 2
    BlurInvariantLoss(mixes=('bs', ))(motion, blurred, sharp)
    assert seen == [(0.0, 1.0)]
    drawing = BlurInvariantLoss(draw=1)
    for _ in range(30):
        drawing(motion, blurred, sharp)
    assert set(seen) == {(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)}
    with pytest.raises(ValueError, match='mixes'):
        BlurInvariantLoss(mixes=('bx', ))


def test_motion_of_an_encoded_frame_is_the_same_as_of_two_frames():
    torch.manual_seed(0)
    motion = BIMNet(feature_channels=(4, 8, 8), match_channels=8, refine_channels=(8, ), smooth_channels=(8, 8),
                    reduction=2).eval()
    for part in (*motion.matching, *motion.subpixel):
        torch.nn.init.normal_(part.main[-1].weight, std=0.01)
    assert motion.size_divisor == 8
    first, second = clip_of(2, 3, 40, 52).chunk(2)
    with torch.no_grad():
        found = motion.between(motion.encode(first), motion.encode(second))
        torch.testing.assert_close(found, motion(first, second), rtol=1e-4, atol=1e-4)
        reversed_ = motion(second, first)
    assert found.shape == (1, 2, 40, 52) and not torch.allclose(found, reversed_, atol=1e-3)
    # The last four columns are beyond the multiple of 8.
    assert found[..., :48].abs().min() > 0 and not found[..., 48:].any()


def test_end_point_loss_compares_each_level_in_pixels_of_the_full_frame():
    class Motion:
        def pyramid(self, current, previous):
            self.mean = float(current.mean()), float(previous.mean())
            return [torch.full((1, 2, side, side), 3.0) for side in (2, 4)]

    motion, true = Motion(), torch.full((1, 2, 8, 8), 3.0)
    blurred, sharp = [torch.zeros(1, 3, 8, 8)] * 2, [torch.ones(1, 3, 8, 8)] * 2
    assert float(EndPointLoss()(motion, blurred, sharp, true)['loss_flow']) == pytest.approx(0, abs=1e-6)
    # 3 to the left and 4 up are 5 pixels off; what is not known is not counted
    true[:, 0] += 3
    true[:, 1] -= 4
    true[..., :4] = float('nan')
    loss = EndPointLoss(weight=2, mixes=('bs', ), eps=1e-3)(motion, blurred, sharp, true)['loss_flow']
    assert float(loss) == pytest.approx(10, rel=1e-2) and motion.mean == (0, 1)
    with pytest.raises(ValueError, match='mixes'):
        EndPointLoss(mixes=())


def shaken_pairs(count, rng, side=32, speed=3, smear=9):
    """Random pictures that move evenly, each frame smeared along a way of its own; and the true flow."""
    picture_side = side + 4 * smear
    picture = F.interpolate(torch.rand((count, 3, picture_side // 3, picture_side // 3), generator=rng),
                            (picture_side, picture_side), mode='bicubic', align_corners=False)

    def vector(length):
        return (2 * torch.rand((count, 2), generator=rng) - 1) * length

    def view(place):
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = side / picture_side
        theta[:, :, 2] = 2 * place / picture_side
        return F.grid_sample(picture, F.affine_grid(theta, (count, 3, side, side), align_corners=False),
                             align_corners=False).clamp(0, 1)

    def frame(place):
        way = vector(smear / 2)
        return torch.stack([view(place + step * way) for step in torch.linspace(-1, 1, 7)]).mean(dim=0), view(place)

    flow = vector(speed)
    previous, current = frame(torch.zeros(count, 2)), frame(flow)
    return (current[0], previous[0]), (current[1], previous[1]), flow[..., None, None].expand(-1, -1, side, side)


def train_motion(network, loss, steps, seed, lr):
    rng = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 10,
                                                                             2 * (steps - step) / steps))
    for _ in range(steps):
        optimizer.zero_grad()
        sum(loss(network, *shaken_pairs(8, rng)).values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10)
        optimizer.step()
        schedule.step()


def test_blur_invariant_loss_teaches_flow_that_blur_misleads_less():
    torch.manual_seed(0)
    beginning = BIMNet(feature_channels=(8, 12, 16), match_channels=12, refine_channels=(24, 16),
                       smooth_channels=(16, 16))
    train_motion(beginning, EndPointLoss(mixes=('ss', )), 100, seed=0, lr=1e-3)
    invariant = BlurInvariantLoss(pyramid_weight=1.0, draw=1)
    ordinary = BlurInvariantLoss(mixes=('bb', ), pyramid_weight=1.0)
    # The same network from the same beginning on the same blurred pairs. An ordinary loss knows nothing but those.
    networks = dict(invariant=copy.deepcopy(beginning), ordinary=copy.deepcopy(beginning))
    train_motion(networks['invariant'], lambda net, blurred, sharp, _: invariant(net, blurred, sharp), 100, 1, 5e-4)
    train_motion(networks['ordinary'], lambda net, blurred, sharp, _: ordinary(net, blurred, blurred), 100, 1, 5e-4)

    blurred, sharp, flow = shaken_pairs(64, torch.Generator().manual_seed(99))
    kinds = dict(b=blurred, s=sharp)

    def errors(network):
        with torch.no_grad():
            found = torch.stack([network(kinds[current][0], kinds[previous][1]) for current, previous in
                                 ('bb', 'bs', 'sb', 'ss')])
        return (found - flow)[..., 4:-4, 4:-4].norm(dim=2).mean((1, 2, 3))

    found = {name: errors(network) for name, network in networks.items()}
    assert (found['invariant'] < found['ordinary']).all(), found
    assert found['invariant'].mean() < 0.95 * found['ordinary'].mean(), found
    # ... and the ordinary one has learned something too: no straw man
    assert found['ordinary'].mean() < errors(beginning).mean() < flow.norm(dim=1).mean()


# -- recurrence ------------------------------------------------------------------------------------------------------

def test_image_loss_is_on_the_published_scale_and_does_not_reach_the_motion(tiny):
    clip, gt = clip_of(1, 2, 3, 32, 32), clip_of(1, 3, 32, 32).flip(-1)
    result, _ = tiny.step(clip, tiny.init_state(clip))
    loss = PVDLoss()(result, dict(gt=gt))['loss_mse']
    expected = F.mse_loss(2 * result['output'] - 1, 2 * gt - 1)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    loss.backward()
    assert all(p.grad is None for p in tiny.motion.parameters())
    assert all(p.grad is not None for p in tiny.deblur.parameters())
    tiny.zero_grad(set_to_none=True)


def test_restoring_feeds_the_unclipped_output_back(tiny):
    clip = clip_of(1, 4, 3, 48, 64)
    expected = run(tiny, clip)['output']
    restored = restore_clip(tiny, clip, clamp=False)
    assert torch.equal(restored, expected)
    # The past matters: the same frames without the first give another result.
    assert not torch.equal(restored[:, 1:], restore_clip(tiny, clip[:, 1:], clamp=False))


def test_a_video_in_two_parts_gives_the_same_frames_when_the_state_is_kept(tiny):
    clip = clip_of(1, 6, 3, 32, 48)
    whole = run(tiny, clip)['output']
    state, outputs = tiny.init_state(clip[:, :2]), []
    with torch.no_grad():
        for part in (range(3), range(3, 6)):
            for t in part:
                result, state = tiny.step(clip[:, [t, min(t + 1, 5)]], state)
                outputs.append(result['output'])
            # what a file between two runs would hold: the encoding is found again
            state = type(state)(state.previous.clone(), state.output.clone())
    assert torch.equal(torch.stack(outputs, dim=1), whole)


def test_blur_path_looks_where_the_light_has_been():
    picture = clip_of(1, 3, 40, 40)
    # five pixels per frame down, and a turn to the right: at 0.4 of a frame's time by (0.16 * 6.25, 2)
    flow, ahead = torch.zeros(2, 1, 2, 40, 40)
    flow[:, 0], flow[:, 1] = 6.25, -5
    ahead[:, 0], ahead[:, 1] = 6.25, 5
    samples, motion = blur_path(picture, flow, ahead)
    assert samples.shape == (1, 3 * len(PATH), 40, 40)
    inner = slice(10, 30)

    def shifted(right, down):
        return (picture.roll((-down, -right), (-2, -1)) - picture)[..., inner, inner]

    for place, expected in (((0.4, 0.0), shifted(1, 2)), ((-0.4, 0.0), shifted(1, -2)), ((0.4, 1.0), shifted(1, 3)),
                            ((-0.4, -1.0), shifted(1, -3)), ((0.8, 0.0), shifted(4, 4))):
        found = samples.unflatten(1, (-1, 3))[:, PATH.index(place), :, inner, inner]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
    assert motion[0, :, 20, 20].tolist() == pytest.approx([0, 5 / 8, 6.25 / 8, 0, 5 / 8])
    blocks, same = blur_path(picture, flow, ahead, shuffle=2)
    torch.testing.assert_close(blocks, torch.nn.functional.pixel_unshuffle(samples, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(same, motion, rtol=0, atol=1e-5)


def test_motion_goes_on_as_it_was_at_the_ends_of_a_video(tiny):
    network, seen = copy.deepcopy(tiny), []
    for part in (*network.motion.matching, *network.motion.subpixel):
        torch.nn.init.normal_(part.main[-1].weight, std=0.01)
    network.deblur.register_forward_pre_hook(
        lambda _, args: seen.append(args[-1][1]))
    flow = run(network, clip_of(1, 3, 3, 48, 48))['flow']
    # where there is no neighbour on one side, the path is straight: no bend, and the speed that of the other side
    for motion in (seen[0], seen[2]):
        assert motion[:, :2].abs().max() > 0 and not motion[:, 2:4].any()
    torch.testing.assert_close(8 * seen[2][:, :2], -flow[:, 2])
    assert seen[1][:, 2:4].abs().max() > 0


@pytest.mark.parametrize('size', [(37, 91), (48, 48), (5, 130)])
def test_any_size_is_padded_and_cropped_back(tiny, size):
    assert restore_clip(tiny, clip_of(1, 2, 3, *size)).shape == (1, 2, 3, *size)


def test_zero_init_begins_as_the_identity():
    network = build_network('pvdnet_tiny').eval()
    clip = clip_of(1, 2, 3, 48, 48)
    torch.testing.assert_close(restore_clip(network, clip), clip, rtol=0, atol=1e-6)


def test_published_protocol_crops(tiny):
    clip = clip_of(1, 2, 3, 39, 93)
    restored = restore_clip(tiny, clip, protocol='published')
    assert restored.shape == (1, 2, 3, 32, 88)
    assert torch.equal(restored, restore_clip(tiny, clip[..., :32, :88], protocol='published'))
    # Padding everywhere and cropping within see other borders.
    assert not torch.equal(restored, restore_clip(tiny, clip)[..., :32, :88])
    assert PVDNet().protocols['published'] == ClipProtocol(fit='crop', size_divisor=4)
    with pytest.raises(ValueError, match=r'at least 16 pixels for PVDNet, not 93x9'):
        restore_clip(tiny, clip[..., :9, :], protocol='published')


def test_frame_sides_that_do_not_fit_are_named(tiny):
    with pytest.raises(ValueError, match='multiples of 8'):
        tiny.step(torch.rand(1, 2, 3, 36, 64), tiny.init_state(torch.rand(1, 2, 3, 36, 64)))


def test_half_precision_spares_the_motion(tiny):
    from mmweather.inference.restore import _choose_precision
    clip = clip_of(1, 3, 3, 48, 64)
    state = tiny.init_state(clip[:, :2])
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        result, _ = tiny.step(clip[:, 1:], state)
    with torch.no_grad():
        exact, _ = tiny.step(clip[:, 1:], state)
    # A flow that is rounded would flip pixels of the volume.
    assert torch.equal(result['flow'], exact['flow'])
    half, full = restore_clip(tiny, clip, dtype=torch.bfloat16), restore_clip(tiny, clip)
    assert not torch.equal(half, full)
    assert -10 * torch.log10((half - full).square().mean()) > 45
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert _choose_precision('auto', torch.device('cpu'), tiny) == ('bf16' if native else 'fp32')


def test_a_folder_of_frames_is_restored_with_a_checkpoint(tiny, tmp_path):
    from mmweather.inference import restore_video
    (tmp_path / 'in').mkdir()
    frames = (255 * clip_of(3, 37, 50, 3)).byte().numpy()
    for t, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / 'in' / f'{t}.png'), frame)
    torch.save(dict(state_dict={f'generator.{key}': value for key, value in tiny.state_dict().items()}),
               tmp_path / 'tiny.pth')
    summary = restore_video(tmp_path / 'in', tmp_path / 'out', model='pvdnet_tiny', checkpoint=tmp_path / 'tiny.pth',
                            precision='fp32', scene_cuts=False)
    assert summary.frames == 3
    clip = torch.from_numpy(frames[..., ::-1].copy()).permute(0, 3, 1, 2)[None]
    expected = restore_clip(tiny, clip, protocol=ClipProtocol())[0].mul(255).round().byte().permute(0, 2, 3, 1)
    for t in range(3):
        restored = cv2.imread(str(tmp_path / 'out' / f'{t}.png'))[..., ::-1]
        assert np.array_equal(restored, expected[t].numpy())


# -- scene cuts ------------------------------------------------------------------------------------------------------

def scene(seed, length, size=(48, 64)):
    """A pan over a smooth random picture."""
    picture = F.interpolate(torch.rand(1, 3, 6, 30, generator=torch.Generator().manual_seed(seed)), (size[0], 200),
                            mode='bicubic', align_corners=False)[0].clamp(0, 1)
    return torch.stack([picture[..., t:t + size[1]] for t in range(length)])[None]


def test_the_state_restarts_at_a_scene_cut(tiny):
    first, second = scene(0, 4), scene(1, 3)
    joined = torch.cat((first, second), dim=1)
    apart = torch.cat((restore_clip(tiny, first), restore_clip(tiny, second)), dim=1)
    assert torch.equal(restore_clip(tiny, joined), apart)
    through = restore_clip(tiny, joined, protocol=ClipProtocol(scene_cuts=False))
    assert torch.equal(through[:, :3], apart[:, :3]) and not torch.equal(through[:, 4:], apart[:, 4:])


def test_cuts_are_found_and_pans_noise_and_short_scenes_are_none():
    def lengths(clip):
        return [len(list(part)) for part in split_scenes(clip.unbind(1))]

    assert lengths(torch.cat((scene(0, 5), scene(1, 1), scene(2, 7)), dim=1)) == [5, 1, 7]
    assert lengths(scene(3, 20)) == [20]
    assert lengths(torch.rand(1, 8, 3, 64, 64)) == [8]
    # A fade changes a lot, but no frame changes more than its neighbours.
    assert lengths(scene(0, 1) * torch.linspace(1, 0, 12).view(1, 12, 1, 1, 1)) == [12]
    assert lengths(torch.rand(1, 1, 3, 8, 8)) == [1]


def test_cuts_keep_every_frame_while_streaming(tiny):
    clip = torch.cat((scene(0, 3), scene(1, 2)), dim=1)
    restored = list(restore_frames(tiny, iter(clip[0])))
    assert len(restored) == 5
    assert torch.equal(torch.stack(restored)[None], restore_clip(tiny, clip))


# -- the bundled weights ---------------------------------------------------------------------------------------------

def test_bundled_weights_hold_their_card():
    from mmweather.evaluation import psnr
    from mmweather.synthesis.blur import blur_on
    from mmweather.synthesis.scenes import render_scene
    network = load_bundled('pvdnet_tiny')
    assert bundled_weights()['pvdnet_tiny'].stat().st_size <= 4e6

    def restored(frames):
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
        return [(frame * 255).round().byte().permute(1, 2, 0).numpy() for frame in restore_frames(network, clip)]

    def mean_psnr(frames, truth):
        return np.mean([psnr(frame, clean) for frame, clean in zip(frames, truth)])

    sharp = render_scene('drive', frames=7, size=(144, 256), seed=900_001).frames
    blurred = blur_on(sharp, seed=900_001)
    before, after = mean_psnr(blurred.lq, blurred.gt), mean_psnr(restored(blurred.lq), blurred.gt)
    assert after - before > 1.5
    # the old way, at its best
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 1) for frame in blurred.lq]).astype(np.float32)
    sharpened = [np.clip(np.rint(blurred.lq + amount * (blurred.lq - soft)), 0, 255).astype(np.uint8)
                 for amount in (0.25, 0.5, 1.0)]
    assert after > max(mean_psnr(frames, blurred.gt) for frames in sharpened) + 1
    # what is sharp stays as it is
    assert mean_psnr(restored(sharp), sharp) > 36


def test_a_convolution_of_blocks_is_one_with_a_stride():
    conv = torch.nn.Conv2d(3 * 4, 5, 3, padding=1)
    picture = torch.rand(2, 3, 12, 16)
    blocks = torch.nn.functional.pixel_unshuffle(picture, 2)
    torch.testing.assert_close(_convolve_blocks(conv, picture, 2), conv(blocks))
