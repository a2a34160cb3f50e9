"""ViMP-Net against the outputs and losses of the published implementation, and what its parts promise."""
import pickle

import numpy as np
import pytest
import torch
from deterministic import DATA, input_for, official_state

from mmweather.errors import UserError
from mmweather.models import load_weights, restore_clip
from mmweather.models.vimpnet import ViMPLoss, ViMPNet
from mmweather.models.vimpnet.transformer import _Windows
from mmweather.zoo import build_network

# Made by the published implementation with the same deterministic weights, inputs and targets.
GOLDEN_LOSSES = dict(loss_pix=0.3272499740123749, loss_mask=0.5630860924720764, loss_reconstruct=1.2545342445373535,
                     loss_hole=0.5211077332496643, loss_streak=0.17033621668815613)


@pytest.fixture(scope='module')
def published():
    """The network with weights in the published layout, and what it makes of the golden input."""
    network = ViMPNet().eval()
    state = {f'generator.{key}': value for key, value in official_state('vimpnet').items()}
    report = load_weights(network, dict(state, step_counter=torch.zeros(1)))
    with torch.no_grad():
        outputs = network(input_for('vimpnet/public', (1, 5, 3, 256, 256)))
    return network, report, outputs


@pytest.fixture(scope='module')
def tiny():
    torch.manual_seed(0)
    return build_network('vimpnet_tiny').eval()


def test_parameter_counts():
    network = ViMPNet()
    assert sum(p.numel() for p in network.parameters()) == 36_932_204
    assert sum(p.numel() for p in network.spynet.parameters()) == 1_440_300
    assert sum(p.numel() for p in build_network('vimpnet_tiny').parameters()) <= 2_000_000


def test_published_layout_loads_key_by_key(published):
    _, report, _ = published
    assert report.complete and report.layout == 'ViMP-Net (authors)' and len(report.matched) == 312


@pytest.mark.parametrize('name', ['stage1', 'drop_mask', 'streak', 'output'])
def test_outputs_equal_the_published_network(published, name):
    golden = np.load(DATA / 'vimpnet_golden.npz')[name]
    error = np.abs(published[2][name][..., ::8, ::8].numpy() - golden)
    assert np.quantile(error, 0.999) < 1e-3 * golden.std()
    # What this implementation reaches; a looser result means that something changed.
    assert np.quantile(error, 0.999) < 5e-5 * golden.std()


def test_losses_equal_the_published_ones(published):
    target = {name: input_for(f'vimpnet/loss/{name}', (1, 5, channels, 256, 256))
              for name, channels in (('gt', 3), ('drop', 3), ('streak', 1))}
    target['mask'] = (input_for('vimpnet/loss/mask', (1, 5, 1, 256, 256)) > 0.6).float()
    losses = {name: float(value) for name, value in ViMPLoss()(published[2], target).items()}
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-4)


def test_losses_are_finite_under_autocast(tiny):
    clip = torch.rand(1, 3, 3, 64, 64)
    target = dict(gt=clip, drop=clip, mask=torch.ones(1, 3, 1, 64, 64), streak=torch.zeros(1, 3, 1, 64, 64))
    with torch.autocast('cpu', torch.bfloat16):
        losses = ViMPLoss()(tiny(clip), target)
    sum(losses.values()).backward()
    gradients = [p.grad for p in tiny.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    # Every part learns: nothing is cut off from the losses.
    assert len(gradients) == len(list(tiny.parameters()))
    tiny.zero_grad(set_to_none=True)


@pytest.mark.parametrize('frames', [1, 2, 3, 6])
def test_any_number_of_frames(tiny, frames):
    with torch.no_grad():
        outputs = tiny(torch.rand(2, frames, 3, 64, 68))
    assert outputs['output'].shape == outputs['stage1'].shape == (2, frames, 3, 64, 68)
    assert outputs['drop_mask'].shape == outputs['streak'].shape == (2, frames, 1, 64, 68)
    assert 0 <= outputs['drop_mask'].min() and outputs['drop_mask'].max() <= 1


@pytest.mark.parametrize('size', [(37, 91), (64, 64), (5, 130)])
def test_any_size_is_padded_and_cropped_back(tiny, size):
    clip = torch.rand(1, 2, 3, *size)
    assert restore_clip(tiny, clip).shape == clip.shape


def test_published_protocol_differs_from_the_everyday_one_and_covers_all(tiny):
    clip = torch.rand(1, 6, 3, 64, 300)
    published, everyday = restore_clip(tiny, clip, protocol='published'), restore_clip(tiny, clip)
    assert published.shape == clip.shape and torch.isfinite(published).all()
    assert not torch.equal(published, everyday)


def test_one_clip_equals_the_clip_in_a_batch(tiny):
    # A single clip takes another path through the 3-D convolutions on the CPU.
    clips = torch.rand(2, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(tiny(clips[:1])['output'], tiny(clips)['output'][:1], rtol=1e-4, atol=1e-5)


def test_alignment_starts_from_flow_alone():
    alignment = ViMPNet(channels=16, deform_groups=4).propagation.align['backward_pass']
    assert float(alignment.conv_offset[-1].weight.detach().abs().max()) == 0.0


def test_attention_stays_in_its_window():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 2 * 5 * 7, 4)
    whole = _Windows(2, 5, 7).attend(query, key, value)
    torch.testing.assert_close(whole, torch.nn.functional.scaled_dot_product_attention(query, key, value))
    windows = _Windows(2, 5, 7, side=3)
    before = windows.attend(query, key, value).unflatten(2, (2, 5, 7))
    # 5 rows are halves of 2 and 3, 7 columns of 3 and 4: the patch at row 0, column 6 is in the upper right one
    changed = value.clone().unflatten(2, (2, 5, 7))
    changed[0, :, 1, 0, 6] += 1
    after = windows.attend(query, key, changed.flatten(2, 4)).unflatten(2, (2, 5, 7))
    differs = (after != before).any(dim=-1)[0].all(dim=0)
    assert differs[:, :2, 3:].all() and not differs[:, 2:].any() and not differs[:, :, :3].any()
    inside = (tokens.unflatten(2, (2, 5, 7))[:, :, :, :2, :3].flatten(2, 4) for tokens in (query, key, value))
    torch.testing.assert_close(before[:, :, :, :2, :3].flatten(2, 4),
                               torch.nn.functional.scaled_dot_product_attention(*inside))


def test_wrong_shapes_are_named():
    network = build_network('vimpnet_tiny')
    with pytest.raises(ValueError, match=r'clip: expected shape \(N, T, 3, H, W\), got \(1, 3, 64, 64\)'):
        network(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match='multiples of 4'):
        network(torch.rand(1, 1, 3, 62, 64))


def test_partial_match_is_refused_unless_asked(tiny, tmp_path):
    state = tiny.state_dict()
    state.pop('to_stage1.weight')
    state['foreign'] = torch.zeros(1)
    torch.save(state, tmp_path / 'partial.pth')
    with pytest.raises(UserError, match='missing 1, unexpected 1'):
        load_weights(build_network('vimpnet_tiny'), tmp_path / 'partial.pth')
    report = load_weights(build_network('vimpnet_tiny'), tmp_path / 'partial.pth', strict=False)
    assert report.missing == ['to_stage1.weight'] and report.unexpected == ['foreign']
    assert 'missing: to_stage1.weight' in str(report)


class _Evil:
    fired = False

    def __reduce__(self):
        return _fire, ()


def _fire():
    _Evil.fired = True
    return {}


def test_a_foreign_checkpoint_is_never_unpickled(tiny, tmp_path):
    for name, write in (('zip.pth', lambda path: torch.save(dict(state_dict=_Evil()), path)),
                        ('plain.pth', lambda path: path.write_bytes(pickle.dumps(_Evil())))):
        write(tmp_path / name)
        with pytest.raises(UserError, match=name):
            load_weights(tiny, tmp_path / name)
    assert not _Evil.fired


@pytest.mark.parametrize('content', [b'', b'no checkpoint at all', b'PK\x03\x04truncated'])
def test_damaged_checkpoints_get_one_sentence(tiny, tmp_path, content):
    path = tmp_path / 'broken.pth'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'broken\.pth') as error:
        load_weights(tiny, path)
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='no such checkpoint'):
        load_weights(tiny, tmp_path / 'nowhere.pth')
    (tmp_path / 'broken.safetensors').write_bytes(content)
    with pytest.raises(UserError, match=r'broken\.safetensors'):
        load_weights(tiny, tmp_path / 'broken.safetensors')


def test_a_checkpoint_of_another_network_is_refused(tiny, tmp_path):
    torch.save(dict(state_dict=torch.nn.Conv2d(3, 3, 3).state_dict()), tmp_path / 'other.pth')
    with pytest.raises(UserError, match='does not fit ViMPNet'):
        load_weights(tiny, tmp_path / 'other.pth')


def test_unknown_model_names_close_ones():
    with pytest.raises(UserError, match='vimpnet_tiny'):
        build_network('vimpnet_tinny')
