"""Networks as ONNX files: equal to PyTorch, and nothing appears that is not."""
import numpy as np
import pytest
import torch

from mmweather.errors import UserError
from mmweather.inference import export
from mmweather.inference.export import export_onnx
from mmweather.models import ClipNetwork
from mmweather.zoo import build_network

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


def alive(name):
    """A network whose every part leaves its mark: fresh ones begin as the identity."""
    torch.manual_seed(0)
    network = build_network(name).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return network


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


@pytest.mark.parametrize('size', [(64, 64), (64, 96)])
@pytest.mark.parametrize('name', ['vimpnet_tiny', 'svdnet_tiny', 'cid_tiny'])
def test_clip_networks(name, size, tmp_path):
    network = alive(name)
    report = export_onnx(network, tmp_path / 'n.onnx', size, frames=min(2, network.window))
    assert report.difference < 1e-4 and [path.name for path in report.paths] == ['n.onnx']
    clip = torch.rand(report.inputs['clip'])
    assert clip.shape[-2:] == size
    theirs = session(tmp_path / 'n.onnx').run(None, {'clip': clip.numpy()})[0]
    with torch.no_grad():
        ours = network(clip)['output']
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    # the network did something
    assert np.abs(theirs - clip.numpy()).max() > 1e-3


@pytest.mark.parametrize('name', ['pvdnet_tiny', 'pmcn_tiny'])
def test_recurrent_networks_step_by_step(name, tmp_path):
    network = alive(name)
    report = export_onnx(network, tmp_path / 'n.onnx', (64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['n.onnx', 'n.start.onnx']
    start, step = session(tmp_path / 'n.start.onnx'), session(tmp_path / 'n.onnx')
    video = torch.rand(3, *report.inputs['frames'])
    names = [name for name in report.inputs if name != 'frames']
    theirs = start.run(names, {'frames': video[0].numpy()})
    with torch.no_grad():
        state = network.init_state(video[0])
        for frames in video:
            result, state = network.step(frames, state)
            output, *theirs = step.run(['output', *(f'next_{name}' for name in names)],
                                       dict(zip(names, theirs), frames=frames.numpy()))
            np.testing.assert_allclose(output, result['output'], atol=1e-4)


class Dims(ClipNetwork):
    """A network that is quickly exported."""

    window, size_divisor, min_size = 2, 8, 16

    def forward(self, clip):
        return dict(output=0.5 * clip)


def test_nothing_appears_that_differs_from_pytorch(tmp_path, monkeypatch):
    monkeypatch.setattr(export, '_difference', lambda *_: 0.01)
    with pytest.raises(UserError, match='differs from PyTorch by 0.01'):
        export_onnx(Dims(), tmp_path / 'n.onnx', (16, 16))
    monkeypatch.setattr(export, '_difference', lambda *_: float('nan'))
    with pytest.raises(UserError, match='differs'):
        export_onnx(Dims(), tmp_path / 'n.onnx', (16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(('name', 'size', 'words'), [
    ('n.pth', (16, 16), 'end its name in .onnx'),
    ('n.onnx', (20, 16), 'multiples of 8'),
    ('n.onnx', (8, 8), 'at least 16'),
    ('nowhere/n.onnx', (16, 16), 'does not exist'),
])
def test_what_cannot_be_exported_gets_one_sentence(name, size, words, tmp_path):
    with pytest.raises(UserError, match=words):
        export_onnx(Dims(), tmp_path / name, size)
    assert not list(tmp_path.iterdir())
