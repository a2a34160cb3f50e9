"""Networks as ONNX files: equal to PyTorch, and nothing appears that is not."""
import numpy as np
import pytest
import torch

from mmweather.errors import UserError
from mmweather.inference import export
from mmweather.inference.export import export_onnx
from mmweather.models import ClipNetwork
from mmweather.synthesis import render_scene
from mmweather.zoo import load_bundled

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


@pytest.fixture(scope='module')
def video():
    """A held-out scene, (T, 3, H, W): in white noise rounding would decide which match between frames wins."""
    frames = render_scene('drive', 6, (64, 96), seed=900_001).frames
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


@pytest.mark.parametrize('size', [(64, 64), (64, 96)])
@pytest.mark.parametrize('name', ['vimpnet_tiny', 'svdnet_tiny', 'cid_tiny'])
def test_clip_networks(name, size, video, tmp_path):
    network = load_bundled(name)
    report = export_onnx(network, tmp_path / 'n.onnx', size, frames=min(2, network.window))
    assert report.difference < 1e-4 and [path.name for path in report.paths] == ['n.onnx']
    assert report.inputs['clip'][-2:] == size
    clip = video[None, :report.inputs['clip'][1], :, :, :size[1]]
    theirs = session(tmp_path / 'n.onnx').run(None, {'clip': clip.numpy()})[0]
    with torch.no_grad():
        ours = network(clip)['output']
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    # the network did something
    assert np.abs(theirs - clip.numpy()).max() > 1e-3


@pytest.mark.parametrize('name', ['pvdnet_tiny', 'pmcn_tiny'])
def test_recurrent_networks_step_by_step(name, video, tmp_path):
    network = load_bundled(name)
    report = export_onnx(network, tmp_path / 'n.onnx', (64, 64))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['n.onnx', 'n.start.onnx']
    start, step = session(tmp_path / 'n.start.onnx'), session(tmp_path / 'n.onnx')
    shown = report.inputs['frames'][1]
    video = video[..., :64] if name == 'pvdnet_tiny' else torch.stack([video[..., 4:68], video[..., :64]], dim=1)
    clips = [video[None, start:start + shown] for start in range(3)]
    assert tuple(clips[0].shape) == tuple(report.inputs['frames'])
    names = [name for name in report.inputs if name != 'frames']
    theirs = start.run(names, {'frames': clips[0].numpy()})
    with torch.no_grad():
        state = network.init_state(clips[0])
        for frames in clips:
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
