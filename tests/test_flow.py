"""Optical flow by itself: the network, its losses and its training."""
import pytest
import torch

from mmweather.errors import UserError
from mmweather.models import FlowTrainer
from mmweather.models.layers import LucasKanade, SPyNet
from mmweather.models.losses import PhotometricLoss

SMALL = dict(num_levels=2, widths=(8, 8, 8, 8))


def waves(shift=0.0, size=32):
    """Smooth frames ``(1, 3, size, size)`` whose content has moved by ``shift`` pixels to the right."""
    x = torch.arange(size, dtype=torch.float32) - shift
    y = torch.arange(size, dtype=torch.float32)[:, None]
    frame = 0.5 + 0.25 * torch.sin(x / 3) + 0.2 * torch.cos(y / 4 + x / 7)
    return frame.expand(1, 3, size, size).contiguous()


def test_flow_begins_at_rest():
    network = SPyNet(**SMALL)
    assert not network(waves(), waves(2)).any()
    # and is free to move from there
    network(waves(), waves(2)).sum().backward()
    assert all(level[-1].bias.grad.any() for level in network.levels)


def test_flow_weights_of_openmmlab_load(tmp_path):
    trained = SPyNet(**SMALL)
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    theirs = {}
    for key, value in trained.state_dict().items():
        if key.startswith('levels'):
            _, level, layer, kind = key.split('.')
            key = f'basic_module.{level}.basic_module.{int(layer) // 2}.conv.{kind}'
        theirs[key] = value
    torch.save(theirs, tmp_path / 'spynet.pth')
    loaded = SPyNet(**SMALL, checkpoint=str(tmp_path / 'spynet.pth'))
    torch.testing.assert_close(loaded(waves(), waves(2)), trained(waves(), waves(2)))
    with pytest.raises(UserError, match='spynet.pth: does not fit SPyNet'):
        SPyNet(checkpoint=str(tmp_path / 'spynet.pth'))


def test_photometric_loss_is_least_at_the_true_motion():
    loss = PhotometricLoss(smoothness=1.0, edge=0.0)
    values = {}
    for guess in (0.0, 1.0, 2.0, 3.0):
        flow = torch.zeros(1, 2, 32, 32)
        flow[:, 0] = guess
        values[guess] = loss(flow, waves(), waves(2))
    assert min(values, key=lambda guess: values[guess]['loss_photometric']) == 2.0
    # the content is sampled exactly, so nothing but eps is left where the flow is right
    assert values[2.0]['loss_photometric'] == pytest.approx(0.01, abs=1e-4)
    assert all(value['loss_smoothness'] == 0 for value in values.values())


def test_smoothness_counts_gradients_and_spares_edges():
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 0.5 * torch.arange(32)
    flat = torch.full((1, 3, 32, 32), 0.5)
    # half a pixel per column in one of two components
    assert PhotometricLoss(smoothness=1.0)(flow, flat, flat)['loss_smoothness'] == pytest.approx(0.25)
    edges = (torch.arange(32) % 2).float().expand(1, 3, 32, 32)
    assert PhotometricLoss(smoothness=1.0)(flow, edges, edges)['loss_smoothness'] == pytest.approx(0.0, abs=1e-4)


def test_flow_is_learned_from_clean_frames():
    torch.manual_seed(0)
    trainer = FlowTrainer(dict(type='SPyNet', **SMALL), scale=1.0)
    clean = torch.stack((waves(), waves(1.5)), dim=1)
    optimizer = torch.optim.Adam(trainer.parameters(), lr=3e-3)
    terms = []
    for _ in range(60):
        losses = trainer(clean + 0.02 * torch.randn_like(clean), dict(gt=clean), mode='loss')
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        terms.append(losses['loss_photometric'].item())
    assert terms[-1] < 0.6 * terms[0]
    with torch.no_grad():
        to_next, to_previous = trainer(clean)
    assert to_next.shape == (1, 1, 2, 32, 32)
    assert to_next[:, :, 0].mean() == pytest.approx(1.5, abs=0.6)
    assert to_previous[:, :, 0].mean() == pytest.approx(-1.5, abs=0.6)
    with pytest.raises(ValueError, match='mode'):
        trainer(clean, mode='predict')


@pytest.mark.parametrize(('shift', 'size'), [(2.0, (64, 64)), (-7.0, (64, 96)), (0.5, (33, 50))])
def test_lucas_kanade_finds_motion_without_training(shift, size):
    rows = torch.arange(size[0], dtype=torch.float32)[:, None]
    columns = torch.arange(size[1], dtype=torch.float32)

    def scene(moved):
        x = columns - moved
        gray = 0.5 + 0.2 * torch.sin(x / 9 + rows / 17) + 0.2 * torch.cos(rows / 7 - x / 15)
        return gray.expand(1, 3, *size).contiguous()

    flow = LucasKanade(num_levels=4)(scene(0.0), scene(shift))
    inside = flow[..., 10:-10, 10:-10]
    assert flow.shape == (1, 2, *size) and not flow.requires_grad
    assert (inside[:, 0] - shift).abs().mean() < 0.1 * abs(shift) and inside[:, 1].abs().mean() < 0.1 * abs(shift)
    # what falls in front of the scene hardly matters
    snowy = scene(shift)
    snowy[..., 20:23, 20:23] = 1.0
    assert (LucasKanade(num_levels=4)(scene(0.0), snowy) - flow).abs().max() < 1.5
    still = LucasKanade()(torch.full((1, 3, 5, 9), 0.4), torch.full((1, 3, 5, 9), 0.4))
    assert not still.any()
