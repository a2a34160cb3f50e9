"""PMCN against the outputs of the published implementation, and what its parts promise."""
import numpy as np
import pytest
import torch
from deterministic import DATA, input_for, official_state
from mmengine import Config
from mmengine.runner import Runner

from mmweather.errors import UserError
from mmweather.evaluation import ssim as oracle
from mmweather.models import load_weights, restore_clip, restore_frames
from mmweather.models.losses import PerceptualLoss, ssim
from mmweather.models.pmcn import PMCN, PMCNLoss
from mmweather.models.pmcn.blocks import ParallaxInteraction
from mmweather.models.pmcn.losses import disparity_loss, parallax_loss
from mmweather.models.pmcn.matching import DISPARITIES, match_views
from mmweather.models.recurrent_restorer import RecurrentRestorer
from mmweather.synthesis.sfvc import write_sfvc
from mmweather.zoo import build_network, bundled_weights, load_bundled

SMALL = dict(channels=16, num_extract_blocks=1, num_dynamic_blocks=1, num_reconstruct_blocks=1, attention_channels=8,
             windows=1)


def clip_of(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def run(network, clip):
    """The outputs of all steps, stacked along the frames, and the last state."""
    state, outputs = network.init_state(clip[:, :1]), []
    with torch.no_grad():
        for t in range(clip.shape[1]):
            result, state = network.step(clip[:, t:t + 1], state)
            outputs.append(result['output'])
    return torch.stack(outputs, dim=1), state


@pytest.fixture(scope='module')
def small():
    """A narrow network in the published manner, its offsets and its head no longer as they begin."""
    torch.manual_seed(0)
    network = PMCN(**SMALL, head='scattering', disparity=True, dark_channel=True).eval()
    return stirred(network)


def stirred(network):
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if 'conv_offset' in name or 'reconstruct.tail' in name:
                parameter.normal_(0, 0.05)
    return network


# -- the published network -------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def published():
    """The network with weights in the published layout, and what it makes of the golden video."""
    network = PMCN().eval()
    report = load_weights(network, {f'module.{key}': value for key, value in official_state('pmcn').items()})
    clip = torch.stack([input_for(f'pmcn/public/{view}', (1, 3, 3, 64, 128)) for view in ('left', 'right')], dim=2)
    return network, report, run(network, clip)


def test_parameter_counts():
    def count(network):
        return sum(p.numel() for p in network.parameters())

    assert count(build_network('pmcn')) == 3_798_591
    assert count(PMCN(num_blocks=5)) == 4_704_818
    network = PMCN()
    assert count(network.blocks[0].parallax) == 278_847 and count(network.blocks[0].motion[1]) == 313_690
    assert count(build_network('pmcn_tiny')) <= 1_000_000


def test_published_layout_loads_key_by_key(published):
    _, report, _ = published
    assert report.complete and report.layout == 'PMCN (authors)' and len(report.matched) == 560


def test_outputs_and_states_equal_the_published_network(published):
    outputs, state = published[2]
    golden = np.load(DATA / 'pmcn_golden.npz')
    for view, name in enumerate(('left', 'right')):
        error = np.abs(outputs[:, :, view].numpy()[..., ::2, ::2] - golden[name])
        assert np.quantile(error, 0.999) < 1e-4 * golden[name].std()
        error = np.abs(getattr(state, name)[2].numpy() - golden[f'state_{name}'])
        assert np.quantile(error, 0.999) < 1e-4 * golden[f'state_{name}'].std()
    assert len(state.left) == len(state.right) == 4
    assert [tuple(kept.shape[-2:]) for kept in state.left] == [(32, 64), (16, 32), (8, 16), (16, 32)]


def test_five_blocks_end_at_the_resolution_of_the_first():
    network = PMCN(**SMALL, num_blocks=5).eval()
    clip = clip_of(1, 1, 2, 3, 16, 16)
    outputs, state = run(network, clip)
    assert outputs.shape == clip.shape
    assert [kept.shape[-1] for kept in state.right] == [8, 4, 2, 4, 8]


def test_arguments_that_are_none_are_named():
    with pytest.raises(ValueError, match='num_blocks: expected 4 or 5'):
        PMCN(num_blocks=3)
    with pytest.raises(ValueError, match="head: expected 'direct' or 'scattering'"):
        PMCN(head='affine')
    with pytest.raises(ValueError, match="reduce: .* needs head='scattering'"):
        PMCN(reduce=2)


# -- parallax --------------------------------------------------------------------------------------------------------

def test_attention_stays_in_its_window_and_sums_to_one():
    torch.manual_seed(0)
    parallax = ParallaxInteraction(16, attention_channels=8, windows=4)
    left, right = clip_of(1, 16, 2, 32), clip_of(1, 16, 2, 32, seed=1)
    _, _, maps = parallax(left, right)
    for attention in maps:
        assert attention.shape == (1, 2, 4, 8, 8)
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 2, 4, 8))
    # Both maps are of the same scores, and what changes in one window of the other view stays there.
    changed = right.clone()
    changed[..., 8:16] += 1
    again = parallax(left, changed)[2]
    for before, after in zip(maps, again):
        assert torch.equal(before[:, :, [0, 2, 3]], after[:, :, [0, 2, 3]]) and not torch.equal(before, after)


def test_the_slips_of_the_released_code_are_repeated_on_demand_only():
    torch.manual_seed(0)
    intended = ParallaxInteraction(16, attention_channels=8, windows=4)
    released = ParallaxInteraction(16, attention_channels=8, windows=4, as_released=True)
    released.load_state_dict(intended.state_dict())
    left, right = clip_of(1, 16, 2, 32), clip_of(1, 16, 2, 32, seed=1)
    (left_a, right_a, _), (left_b, right_b, _) = intended(left, right), released(left, right)
    assert torch.equal(left_a, left_b) and not torch.equal(right_a, right_b)
    right_b.sum().backward()
    # The right view's own convolution is never used there, nor are the left view's values.
    assert released.outputs[1].weight.grad is None and released.values[0].weight.grad is None
    right_a.sum().backward()
    assert intended.outputs[1].weight.grad is not None and intended.values[0].weight.grad is not None


def mirrored_state(network):
    """The weights of the network that sees the world in a mirror, where left is right."""
    state, mirrored = network.state_dict(), {}
    cells = network.downscale**2

    def flip_subpixels(tensor, dim, count):
        """Of channels that hold blocks of pixels the columns within each block."""
        head, rest = tensor.narrow(dim, 0, count * cells), tensor.narrow(dim, count * cells,
                                                                         tensor.shape[dim] - count * cells)
        head = head.unflatten(dim, (count, network.downscale, network.downscale)).flip(dim + 2)
        return torch.cat((head.flatten(dim, dim + 2), rest), dim=dim)

    for key, value in state.items():
        source = key
        for one, other in (('.values.0', '.values.1'), ('.outputs.0', '.outputs.1'), ('.merges.0', '.merges.1'),
                           ('.motion.0', '.motion.1'), ('.query', '.key')):
            source = source.replace(one, '#').replace(other, one).replace('#', other)
        value = state[source]
        if value.ndim == 4:
            value = value.flip(-1)
        if source == 'extract.head.0.weight':
            value = flip_subpixels(value, 1, 3)
        elif source.startswith('reconstruct.tail'):
            value = flip_subpixels(value, 0, 1)
        elif source.endswith('parallax.mix.weight'):
            value = torch.cat(value.chunk(2, dim=1)[::-1], dim=1)
        elif 'spatial_branch.0' in source or 'channel_branch.3' in source or 'channel_branch.4' in source:
            value = value.unflatten(0, (-1, 3, 3)).flip(2).flatten(0, 2)
        elif 'conv_offset' in source:
            offsets, masks = value[:18].unflatten(0, (3, 3, 2)).flip(1), value[18:].unflatten(0, (3, 3)).flip(1)
            offsets = torch.stack((offsets[:, :, 0], -offsets[:, :, 1]), dim=2)
            value = torch.cat((offsets.flatten(0, 2), masks.flatten(0, 1)))
        mirrored[key] = value
    return mirrored


def test_tied_views_are_treated_alike(small):
    """Swapping and mirroring the views swaps and mirrors the outputs when the weights of the views are tied."""
    network = PMCN(**SMALL, head='scattering', disparity=True, dark_channel=True).eval()
    tied = {key: (value + other) / 2
            for (key, value), other in zip(small.state_dict().items(), mirrored_state(small).values())}
    network.load_state_dict(tied)
    clip = clip_of(1, 3, 2, 3, 32, 64)
    output = run(network, clip)[0]
    torch.testing.assert_close(run(network, clip.flip(2, -1))[0], output.flip(2, -1), rtol=0, atol=1e-5)
    # The views differ, and so do the outputs of a network that is not tied.
    assert (output[:, :, 0] - output[:, :, 1]).abs().max() > 0.1
    untied = run(small, clip.flip(2, -1))[0] - run(small, clip)[0].flip(2, -1)
    assert untied.abs().max() > 1e-3


def shifted_pair(count, disparity, size=(8, 64), seed=0):
    """Stereo frames of a textured wall: what is at column x on the left is at ``x - disparity`` on the right."""
    wall = torch.rand(count, 3, size[0], size[1] + disparity, generator=torch.Generator().manual_seed(seed))
    return torch.stack((wall[..., :-disparity], wall[..., disparity:]), dim=1)


def test_attention_peaks_at_the_true_disparity_after_a_short_training():
    torch.manual_seed(0)
    network = PMCN(**{**SMALL, 'channels': 32, 'attention_channels': 32})
    parallax = network.blocks[0].parallax
    learning = [network.extract, parallax.query, parallax.key]
    optimizer = torch.optim.Adam([p for part in learning for p in part.parameters()], lr=1e-2)

    def maps(views):
        return parallax.attention(*network.extract(views.transpose(0, 1).flatten(0, 1)).chunk(2))

    def hits(disparity):
        """Share of the pixels, of both views, whose attention is greatest where their partner is."""
        with torch.no_grad():
            to_left, to_right = maps(shifted_pair(2, 2 * disparity, seed=999))
        columns = torch.arange(to_left.shape[-1])
        seen = columns >= disparity
        left = (to_left[:, :, 0].argmax(-1) == columns - disparity)[..., seen].float().mean()
        right = (to_right[:, :, 0].argmax(-1) == columns + disparity)[..., seen.flip(0)].float().mean()
        return min(left, right)

    before = hits(5)
    for step in range(180):
        views = shifted_pair(2, 2 * (1 + step % 8), seed=step)
        loss = parallax_loss([maps(views)], views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before < 0.2 and hits(5) > 0.85


def test_without_parallax_a_view_depends_on_itself_alone(small):
    alone = PMCN(**SMALL, head='scattering', disparity=True, dark_channel=True, parallax=False).eval()
    alone.load_state_dict(small.state_dict())
    clip = clip_of(1, 2, 2, 3, 16, 32)
    changed = clip.clone()
    changed[:, :, 1] = clip_of(1, 2, 3, 16, 32, seed=5)
    assert torch.equal(run(alone, clip)[0][:, :, 0], run(alone, changed)[0][:, :, 0])
    assert not torch.equal(run(small, clip)[0][:, :, 0], run(small, changed)[0][:, :, 0])


# -- recurrence ------------------------------------------------------------------------------------------------------

def test_the_past_matters_and_streaming_equals_the_clip(small):
    clip = clip_of(1, 3, 2, 3, 16, 32)
    expected = run(small, clip)[0]
    torch.testing.assert_close(restore_clip(small, clip, clamp=False), expected, rtol=0, atol=1e-6)
    streamed = torch.stack(list(restore_frames(small, iter(clip[0]), clamp=False)))
    torch.testing.assert_close(streamed, expected[0], rtol=0, atol=1e-6)
    assert not torch.allclose(expected[:, 1:], run(small, clip[:, 1:])[0], atol=1e-4)


def test_the_first_frame_of_two_in_a_batch_is_that_of_one(small):
    clip = clip_of(2, 2, 2, 3, 16, 32)
    both = run(small, clip)[0]
    for index in range(2):
        torch.testing.assert_close(both[index:index + 1], run(small, clip[index:index + 1])[0], rtol=0, atol=1e-5)


def test_without_motion_nothing_is_remembered(small):
    forgetful = PMCN(**SMALL, head='scattering', disparity=True, dark_channel=True, motion=False).eval()
    forgetful.load_state_dict(small.state_dict())
    clip = clip_of(1, 2, 2, 3, 16, 32)
    torch.testing.assert_close(run(forgetful, clip)[0][:, 1:], run(forgetful, clip[:, 1:])[0], rtol=0, atol=1e-6)
    assert not torch.allclose(run(small, clip)[0][:, 1:], run(forgetful, clip)[0][:, 1:], atol=1e-4)


@pytest.mark.parametrize('size', [(19, 37), (16, 16), (5, 70)])
def test_any_size_is_padded_and_cropped_back(small, size):
    clip = clip_of(1, 2, 2, 3, *size)
    assert restore_clip(small, clip).shape == clip.shape


def test_frames_that_do_not_suit_are_named(small):
    with pytest.raises(ValueError, match='give it both views'):
        small.step(clip_of(1, 1, 3, 16, 16), None)
    with pytest.raises(ValueError, match='multiples of 8'):
        small.step(clip_of(1, 1, 2, 3, 16, 20), None)
    assert PMCN(**{**SMALL, 'windows': 4}).size_divisor == 32


def test_the_fresh_tiny_network_changes_nothing():
    torch.manual_seed(0)
    clip = clip_of(1, 2, 2, 3, 32, 48)
    torch.testing.assert_close(restore_clip(build_network('pmcn_tiny'), clip), clip, rtol=0, atol=1e-6)


def test_the_scattering_head_inverts_the_model():
    # With the optical depth that there is, and the airlight looked up where it shows.
    head = PMCN(**SMALL, head='scattering').reconstruct
    clear, airlight = clip_of(1, 3, 32, 32), torch.tensor([0.8, 0.85, 0.9]).view(3, 1, 1)
    transmission = torch.full((1, 1, 32, 32), 0.5)
    transmission[..., :16, :16] = 0
    hazy = clear * transmission + airlight * (1 - transmission)
    features = torch.zeros(1, 16, 16, 16)
    features[:, 0, :8, :8] = 1
    head.body = torch.nn.Identity()
    with torch.no_grad():
        # half of the optical depth is in the map, and the number for the whole frame doubles it
        head.tail.bias[:] = -np.log(0.5) / 2
        head.overall.bias[0] = np.log(2)
        head.attend.weight[0, 0] = 30
        result = head(features, hazy)
    torch.testing.assert_close(result['airlight'], airlight[None], rtol=0, atol=1e-5)
    torch.testing.assert_close(result['transmission'], torch.full((1, 1, 32, 32), 0.5), rtol=0, atol=1e-5)
    seen = transmission.expand_as(clear) > 0
    torch.testing.assert_close(result['output'][seen], clear[seen], rtol=0, atol=1e-5)
    torch.testing.assert_close(result['output'][..., :16, :16], airlight.expand(1, 3, 16, 16), rtol=0, atol=1e-5)


def test_a_reduced_network_finds_in_small_frames_what_it_takes_from_large_ones(small):
    reduced = PMCN(**SMALL, head='scattering', disparity=True, dark_channel=True, reduce=2).eval()
    reduced.load_state_dict(small.state_dict())
    assert reduced.size_divisor == 16
    fine = clip_of(1, 1, 2, 3, 32, 64)
    coarse = torch.nn.functional.avg_pool2d(fine.flatten(0, 2), 2).unflatten(0, (1, 1, 2))
    with torch.no_grad():
        (large, state), (little, expected) = (network.step(clip, network.init_state(clip))
                                              for network, clip in ((reduced, fine), (small, coarse)))
    torch.testing.assert_close(large['airlight'], little['airlight'], rtol=0, atol=1e-6)
    torch.testing.assert_close(state.left, expected.left)
    depth = -torch.nn.functional.interpolate(little['transmission'][0].log(), scale_factor=2, mode='bilinear')
    restored = large['airlight'] + (fine[:, 0] - large['airlight']) * depth.exp()
    torch.testing.assert_close(large['output'], restored, rtol=0, atol=1e-5)


def test_disparity_is_how_many_columns_away_the_attention_looks():
    parallax = ParallaxInteraction(4, attention_channels=2, windows=2, disparity=True)
    attention = torch.zeros(1, 1, 2, 8, 8)
    columns = torch.arange(8)
    attention[..., columns, (columns - 3).clamp(min=0)] = 1
    for output in parallax.outputs:
        torch.nn.init.zeros_(output.weight)
        torch.nn.init.ones_(output.weight[:, -1])
        torch.nn.init.zeros_(output.bias)
    values = torch.rand(1, 1, 2, 8, 2)
    seen = parallax._seen(attention, values, parallax.outputs[0], 1)
    expected = columns.clamp(max=3).repeat(2).float()
    torch.testing.assert_close(seen, expected.expand(1, 4, 1, 16))
    # the right view's partners are to the right
    mirrored = parallax._seen(attention.flip(-1, -2), values, parallax.outputs[1], -1)
    torch.testing.assert_close(mirrored, expected.flip(0).expand(1, 4, 1, 16))


def test_views_are_matched_through_haze():
    torch.manual_seed(0)
    scene = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 36, 140), 5, 1, 2)
    left, right = scene[..., :128], 0.4 * scene[..., 7:135] + 0.5  # what is at x on the left is at x - 7 on the right
    sure, disparity, distance = match_views(left, right, stride=2).unbind(1)
    assert sure.shape == (2, 18, 64)
    for view, inner in ((0, slice(8, 60)), (1, slice(4, 56))):
        assert sure[view, :, inner].mean() > 0.8
        found = disparity[view, :, inner] / sure[view, :, inner] * DISPARITIES
        assert found.median().item() == pytest.approx(7, abs=0.1)
        torch.testing.assert_close((sure / distance - 1)[view], disparity[view] / sure[view] * DISPARITIES,
                                   rtol=1e-3, atol=1e-3)
    nothing = match_views(torch.full((1, 3, 16, 64), 0.5), torch.full((1, 3, 16, 64), 0.5))
    assert nothing.abs().max() < 0.1  # there is nothing to match


# -- losses ----------------------------------------------------------------------------------------------------------

def test_psnr_counts_every_frame_alike_down_to_what_nobody_sees():
    gt = torch.full((2, 2, 3, 8, 8), 0.5)
    output = gt.clone()
    output[0] += 0.1  # 20 dB
    losses = PMCNLoss(pixel_weight=0, psnr_weight=0.5, ssim_weight=0)(dict(output=output), dict(gt=gt))
    assert losses['loss_psnr'].item() == pytest.approx(-0.5 * (20 + 40) / 2, abs=0.05)


def test_ssim_is_that_of_the_metric():
    x, y = clip_of(2, 3, 20, 30), clip_of(2, 3, 20, 30, seed=1)
    y = 0.7 * x + 0.3 * y
    expected = np.mean([oracle(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy(), 1.0, 'zero')
                        for a, b in zip(x, y)])
    assert float(ssim(x, y)) == pytest.approx(expected, abs=1e-5)
    assert float(ssim(x, x)) == pytest.approx(1, abs=1e-6)


def test_loss_terms_are_weighted_and_named():
    output, gt = clip_of(1, 2, 3, 16, 32), clip_of(1, 2, 3, 16, 32, seed=1)
    even = torch.full((1, 8, 1, 16, 16), 1 / 16)
    prediction = dict(output=output, attention=[(even, even)])
    losses = PMCNLoss(pixel_weight=2, ssim_weight=0.5, parallax_weight=3, eps=0)(prediction, dict(gt=gt))
    assert losses['loss_pixel'] == pytest.approx(2 * float((output - gt).abs().mean()), rel=1e-5)
    assert losses['loss_ssim'] == pytest.approx(0.5 * float(1 - ssim(output[0], gt[0])), rel=1e-5)
    # An even map shows every pixel the mean of the other view's row.
    cells = torch.nn.functional.avg_pool2d(gt[0], 2)
    expected = (cells - cells.flip(0).mean(-1, keepdim=True)).abs().mean()
    assert losses['loss_parallax'] == pytest.approx(3 * float(expected), rel=1e-4)
    assert set(PMCNLoss(ssim_weight=0)(prediction, dict(gt=gt))) == {'loss_pixel'}


def test_what_the_haze_was_made_with_teaches_where_it_can_be_told():
    truth = torch.tensor([0.5, 0.25, 0.0, 0.02]).view(1, 1, 1, 1, 4).expand(1, 2, 1, 4, 4)
    gray = torch.full((1, 2, 3, 1, 1), 0.7)
    gt = clip_of(1, 2, 3, 4, 4)
    prediction = dict(output=gt, transmission=torch.full((1, 2, 1, 4, 4), 0.5), airlight=gray + 0.1)
    losses = PMCNLoss(ssim_weight=0, transmission_weight=2, airlight_weight=3)(
        prediction, dict(gt=gt, transmission=truth, airlight=gray))
    # of the four columns the last two say nothing
    assert float(losses['loss_transmission']) == pytest.approx(2 * 0.25 / 2, rel=1e-5)
    assert float(losses['loss_airlight']) == pytest.approx(3 * 0.1, rel=1e-5)


def test_parallax_loss_is_nothing_for_the_true_map_and_spares_what_the_other_view_does_not_see():
    views = shifted_pair(1, 3, size=(2, 16))
    to_left = torch.zeros(1, 2, 1, 16, 16)
    to_right = torch.zeros(1, 2, 1, 16, 16)
    for column in range(16):
        # Whoever has no partner looks at the border.
        to_left[..., column, max(column - 3, 0)] = 1
        to_right[..., column, min(column + 3, 15)] = 1
    # The first three columns on the left and the last three on the right are seen by nobody.
    assert float(parallax_loss([(to_left, to_right)], views)) == pytest.approx(0, abs=1e-6)
    assert float(parallax_loss([(to_right, to_left)], views)) > 0.1


def test_disparity_loss_is_least_where_the_maps_look_where_they_should():
    disparity = torch.full((1, 2, 1, 4, 32), 5.0)
    columns, maps = torch.arange(16), []
    for sign in (-1, 1):
        # in maps of half the width 5 pixels are two and a half columns: both neighbours get the same
        exact = torch.zeros(16, 16)
        for shift in (2, 3):
            exact[columns, (columns + sign * shift).clamp(0, 15)] += 0.5
        maps.append(exact.expand(1, 4, 1, 16, 16))
    assert float(disparity_loss([tuple(maps)], disparity)) == pytest.approx(np.log(2), abs=1e-5)
    assert float(disparity_loss([tuple(maps[::-1])], disparity)) > 5
    even = torch.full((1, 4, 2, 8, 8), 1 / 8)
    # partners in another window count for nothing
    assert float(disparity_loss([(even, even)], disparity)) == pytest.approx(np.log(8), abs=1e-5)
    assert float(disparity_loss([(even, even)], disparity * 4)) == 0


def test_perceptual_loss_needs_the_file_and_is_nothing_for_equal_images(tmp_path):
    widths, channels, state, layer = (64, 64, 'M', 128, 128, 'M', 256, 256, 256, 256, 'M', 512, 512, 512, 512, 'M',
                                      512), 3, {}, 0
    for width in widths:
        if width == 'M':
            layer += 1
            continue
        # Half a float saves memory; the values are of no meaning here.
        state[f'features.{layer}.weight'] = torch.full((width, channels, 3, 3), 0.01, dtype=torch.float16)
        state[f'features.{layer}.bias'] = torch.zeros(width, dtype=torch.float16)
        channels, layer = width, layer + 2
    torch.save(state, tmp_path / 'vgg19.pth')
    loss = PerceptualLoss(tmp_path / 'vgg19.pth')
    x = clip_of(1, 3, 32, 32)
    assert float(loss(x, x)) == 0 and float(loss(x, x.flip(1) * 0.5)) > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    torch.save({'features.0.weight': torch.zeros(3)}, tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'other.pth: not the weights of VGG-19'):
        PerceptualLoss(tmp_path / 'other.pth')


# -- training --------------------------------------------------------------------------------------------------------

class Pick(torch.nn.Module):
    """A loss of one frame alone, the one whose target is not zero."""

    def forward(self, prediction, target):
        return dict(loss=(prediction['output'] * target['gt']).sum())


@pytest.mark.parametrize(('arguments', 'reached'), [
    (dict(), [False, False, True]),
    (dict(detach_state=False), [True, True, True]),
    (dict(detach_state=False, truncate=0), [False, False, True]),
    (dict(detach_state=False, truncate=1), [False, False, True]),
    (dict(detach_state=False, truncate=2), [True, True, True]),
])
def test_gradients_reach_as_far_back_as_asked(small, arguments, reached):
    restorer = RecurrentRestorer(dict(type='PMCN', **SMALL), update='clip', **arguments)
    restorer.generator, restorer.loss = small, Pick()
    clip = clip_of(1, 3, 2, 3, 16, 16).requires_grad_()
    gt = torch.zeros(1, 3, 2, 3, 16, 16)
    gt[:, 2] = 1
    # Parts of two frames are (0, 1) and (2); parts of three are the whole clip.
    restorer(clip, dict(gt=gt), mode='loss')['loss'].backward()
    assert [bool(clip.grad[:, t].abs().sum() > 0) for t in range(3)] == reached
    small.zero_grad(set_to_none=True)


def test_truncation_needs_a_state_that_is_not_detached():
    with pytest.raises(ValueError, match='truncate'):
        RecurrentRestorer(dict(type='PMCN', **SMALL), truncate=2)


def test_training_and_testing_on_sfvc_end_to_end(root, tmp_path):
    rng = np.random.default_rng(0)
    for split, name in (('train', 'a'), ('train', 'b'), ('test', 'c')):
        write_sfvc(tmp_path / 'SFVC', name, (
            {f'{view}_{kind}': rng.integers(0, 256, (32, 40, 3), dtype=np.uint8) for view in ('left', 'right')
             for kind in ('hazy', 'clear')} for _ in range(3)), split)
    (tmp_path / 'micro.py').write_text(f"""
_base_ = [r'{root}/configs/pmcn_beta001.py']
model = dict(generator=dict(channels=16, num_dynamic_blocks=1, attention_channels=8, windows=1),
             loss=dict(parallax_weight=0.1), detach_state=False, truncate=1)
train_cfg = dict(max_iters=2)
default_hooks = dict(logger=dict(interval=1))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    data_root=r'{tmp_path}/SFVC', beta=None, num_frames=3, pipeline=[
        dict(type='RandomCropClip', size=16), dict(type='LoadFrames'), dict(type='StackViews'), dict(type='FlipClip'),
        dict(type='PackClip')]))
test_dataloader = dict(num_workers=0, dataset=dict(data_root=r'{tmp_path}/SFVC', beta=None))
""")
    config = Config.fromfile(tmp_path / 'micro.py')
    config.work_dir = str(tmp_path / 'out')
    runner = Runner.from_cfg(config)
    before = {name: value.clone() for name, value in runner.model.generator.named_parameters()}
    runner.train()
    still = [name for name, value in runner.model.generator.named_parameters() if torch.equal(value, before[name])]
    # Every part learns; in so narrow a network a squeezed channel of a dynamic filter may be dead from the beginning.
    assert all('channel_branch' in name for name in still)
    metrics = runner.test()
    assert set(metrics) == {f'sfvc/{kind}{view}_{name}' for kind in ('', 'input_') for view in ('left', 'right')
                            for name in ('PSNR', 'SSIM')}
    assert 5 < metrics['sfvc/left_PSNR'] < 30 and 5 < metrics['sfvc/input_right_PSNR'] < 30


def test_bundled_weights_hold_their_card(tmp_path):
    from mmweather.datasets import SyntheticHaze
    from mmweather.evaluation import psnr
    assert bundled_weights()['pmcn_tiny'].stat().st_size < 4e6
    network, prior = load_bundled('pmcn_tiny'), load_bundled('dcp')
    # three of the scenes of the card, one for each density
    dataset = SyntheticHaze(scenes=3, scene_frames=2, num_frames=2, baselines=(0.22, ), seed=9, test_mode=True,
                            cache_dir=str(tmp_path))

    def scores(frames, clear):
        return [np.mean([psnr(frame, truth) for frame, truth in zip(frames[:, view], clear[:, view])])
                for view in range(2)]

    def restored(method, clip):
        return (restore_clip(method, torch.from_numpy(clip).movedim(-1, -3)[None])[0] * 255).round().byte().movedim(
            -3, -1).numpy()

    gains, over_prior, clean = [], [], []
    for sample in map(dataset.__getitem__, range(3)):
        hazy, clear = sample['lq'], sample['gt']
        reached = np.array(scores(restored(network, hazy), clear))
        gains.append(reached - scores(hazy, clear))
        alone = np.stack([restored(prior, hazy[:, view]) for view in range(2)], axis=1)
        over_prior.append(reached - scores(alone, clear))
        clean.append(min(60, *scores(restored(network, clear), clear)))
    assert np.mean(gains, axis=0).min() > 5.5, gains
    assert np.mean(over_prior, axis=0).min() > 3, over_prior
    assert np.mean(clean) > 30, clean
