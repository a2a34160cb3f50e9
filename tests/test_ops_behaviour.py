"""What holds for single operators and their modules: MMCV's numbers, limiting cases, backends, registries."""
import importlib
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmweather import ops
from mmweather.errors import UserError
from mmweather.ops import backend

# Before anything imports Triton: its functions are compiled or interpreted from then on.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

# The modules, whose names the package gives to its functions.
deform_conv, dynamic_filter = (importlib.import_module(f'mmweather.ops.{name}')
                               for name in ('deform_conv', 'dynamic_filter'))
needs_triton = pytest.mark.skipif(importlib.util.find_spec('triton') is None, reason='Triton is not installed')
GOLDEN = Path(__file__).parent / 'data' / 'mmcv_modulated_deform_conv.npz'

# The peak that one large call adds, in MB.
MEMORY = """
import resource, torch
from mmweather.ops import modulated_deform_conv2d
x, offset, mask = torch.randn(1, 64, 384, 384), torch.randn(1, 18, 384, 384), torch.rand(1, 9, 384, 384)
weight = torch.randn(8, 64, 3, 3)
modulated_deform_conv2d(x[..., :8, :8], offset[..., :8, :8], mask[..., :8, :8], weight, None, 1, 1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
# What our operators import beyond torch: not even torch's own compiler, which takes seconds.
IMPORTS = """
import sys, torch
before = set(sys.modules)
from mmweather.ops import modulated_deform_conv2d
modulated_deform_conv2d(torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2, 2), None, torch.ones(1, 1, 1, 1).requires_grad_())
print([name for name in ('triton', 'mmcv', 'cv2', 'onnx', 'torch._dynamo') if name in set(sys.modules) - before])
"""


def relative(found, expected):
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


class TestMmcvGolden:
    """Numbers of MMCV 2.1.0's compiled operator: stride, padding and dilation 1, four deformable groups."""

    @pytest.fixture
    def golden(self):
        return {name: torch.from_numpy(value) for name, value in np.load(GOLDEN).items()}

    @pytest.mark.parametrize('name', ['torch', pytest.param('triton', marks=needs_triton)])
    def test_all_five_gradients(self, golden, name, monkeypatch):
        """One deformable group of the four: its gradients depend on nothing of the others."""
        monkeypatch.setenv('MMWEATHER_OPS', name)
        device = 'cuda' if name == 'triton' and torch.cuda.is_available() else 'cpu'
        if name == 'triton' and device == 'cpu':
            # The interpreter's time goes by the number of programs.
            kernels = importlib.import_module('mmweather.ops.triton.deform_conv')
            for tuner in (kernels._FORWARD, kernels._BACKWARD_DATA, kernels._BACKWARD_WEIGHT):
                monkeypatch.setattr(tuner, 'configurations', [dict(BLOCK_P=1024)])
        names = ('x', 'offset', 'mask', 'weight', 'bias')
        leaves = [golden[key].to(device).requires_grad_() for key in names]
        out = ops.modulated_deform_conv2d(*leaves, padding=1)
        out.backward(golden['grad_output'].to(device))
        for key, leaf in zip(names, leaves):
            assert relative(leaf.grad.cpu(), golden[f'grad_{key}']) < 1e-4, key

    def test_output(self, golden):
        """At every sixteenth position; elsewhere the mask is zero here, and MMCV's was not."""
        x, weight = golden['forward_x'], golden['forward_weight']
        offset, mask = torch.zeros(2, 72, 20, 28), torch.zeros(2, 36, 20, 28)
        offset[:, :, ::4, 1::4], mask[:, :, ::4, 1::4] = golden['forward_offset'], golden['forward_mask']
        out = ops.modulated_deform_conv2d(x, offset, mask, weight, golden['bias'], padding=1, deform_groups=4)
        assert relative(out[:, :, ::4, 1::4], golden['forward_output']) < 1e-4
        assert torch.equal(out[:, :, 1], golden['bias'][:, None].expand(2, -1, 28))


class TestDeformableConvolution:

    @pytest.mark.parametrize(('groups', 'deform_groups', 'stride', 'dilation'),
                             [(1, 1, 1, 1), (2, 4, 2, 1), (4, 2, 1, 2)])
    def test_zero_offsets_and_unit_mask_are_a_convolution(self, groups, deform_groups, stride, dilation):
        x, weight, bias = torch.randn(2, 32, 13, 11), torch.randn(8, 32 // groups, 3, 3), torch.randn(8)
        expected = F.conv2d(x, weight, bias, stride, 1, dilation, groups)
        size = expected.shape[2:]
        out = ops.modulated_deform_conv2d(x, torch.zeros(2, 18 * deform_groups, *size),
                                          torch.ones(2, 9 * deform_groups, *size), weight, bias, stride, 1, dilation,
                                          groups, deform_groups)
        assert relative(out, expected) < 1e-6
        plain = ops.deform_conv2d(x, torch.zeros(2, 18 * deform_groups, *size), weight, bias, stride, 1, dilation,
                                  groups, deform_groups)
        assert torch.equal(plain, out)

    @pytest.mark.parametrize('channels', [4, 32], ids=['by_grid', 'by_bags'])
    @pytest.mark.parametrize(('dy', 'dx'), [(2, -3), (0, 1), (-40, 0), (0, 50)])
    def test_whole_offsets_are_a_shift(self, channels, dy, dx):
        x, weight = torch.randn(1, channels, 21, 37), torch.randn(5, channels, 3, 3)
        offset = torch.tensor([dy, dx] * 9, dtype=torch.float32).view(1, 18, 1, 1).expand(1, 18, 21, 37)
        out = ops.deform_conv2d(x, offset, weight, padding=1)
        # A frame of zeros wide enough for the shift, of which conv2d then sees the shifted part.
        framed = F.pad(x, (60, ) * 4)
        shifted = framed[:, :, 59 + dy:59 + dy + 23, 59 + dx:59 + dx + 39]
        expected = F.conv2d(shifted, weight)
        assert torch.allclose(out, expected, atol=1e-4)
        if abs(dy) == 40 or dx == 50:
            assert not out.any()

    def test_gradient_at_fresh_offsets_is_one_sided_as_in_mmcv(self):
        """A network starts at zero offsets, where the derivative jumps: MMCV takes it towards larger coordinates, and
        has none where a sample is a whole pixel outside."""
        x = torch.arange(12.).view(1, 1, 3, 4)**2
        offset = torch.zeros(1, 18, 3, 4, requires_grad=True)
        weight = torch.zeros(1, 1, 3, 3)
        weight[0, 0, 1, 1] = 1
        ops.deform_conv2d(x, offset, weight, padding=1).sum().backward()
        right = F.pad(x[0, 0], (0, 1, 0, 1))
        assert torch.equal(offset.grad[0, 9], (right[:, 1:] - right[:, :-1])[:3])
        assert torch.equal(offset.grad[0, 8], (right[1:] - right[:-1])[:, :4])
        weight = torch.ones(1, 1, 3, 3)
        offset.grad = None
        ops.deform_conv2d(x, offset, weight, padding=1).sum().backward()
        # The first tap of the first row of outputs samples row -1, a whole pixel outside.
        assert not offset.grad[0, 0, 0].any()

    @pytest.mark.parametrize('channels', [4, 32], ids=['by_grid', 'by_bags'])
    @pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf'), 1e30])
    def test_offsets_that_point_nowhere_sample_zeros(self, channels, value):
        x = torch.randn(1, channels, 5, 5, requires_grad=True)
        weight = torch.randn(2, channels, 1, 1)
        offset = torch.zeros(1, 2, 5, 5)
        offset[0, :, 2, 2] = value
        out = ops.deform_conv2d(x, offset, weight)
        out.sum().backward()
        expected = F.conv2d(x, weight)
        assert not out[:, :, 2, 2].any()
        expected[:, :, 2, 2] = 0
        assert torch.allclose(out, expected, atol=1e-5)
        assert torch.isfinite(x.grad).all() and not x.grad[:, :, 2, 2].any()

    @pytest.mark.parametrize('elements', [1, 300, 2000])
    def test_blocks_do_not_show(self, elements, monkeypatch):
        """Any cut of the channels and positions, on both sides of group borders, gives the same."""
        arguments = [torch.randn(2, channels, 6, 5) for channels in (48, 54, 27)] + [torch.randn(4, 24, 3, 3)]

        def run():
            leaves = [value.clone().requires_grad_() for value in arguments]
            out = ops.modulated_deform_conv2d(*leaves, None, 1, 1, 1, 2, 3)
            single = ops.modulated_deform_conv2d(*leaves[:3], leaves[3].repeat(1, 2, 1, 1), None, 1, 1, 1, 1, 3)
            return [out, single, *torch.autograd.grad((out.square().sum() + single.square().sum()), leaves)]

        expected = run()
        monkeypatch.setattr(deform_conv, '_BLOCK_ELEMENTS', elements)
        monkeypatch.setattr(deform_conv, '_BAG_ELEMENTS', elements)
        for found, wanted in zip(run(), expected):
            assert relative(found, wanted) < 1e-5

    def test_memory_does_not_hold_all_columns(self, run_python):
        """Columns of this call would be 340 MB."""
        done = run_python('-c', MEMORY)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 170

    def test_offsets_may_be_float32_beside_half_precision(self):
        x, weight = torch.randn(1, 4, 6, 6).bfloat16(), torch.randn(2, 4, 3, 3).bfloat16()
        offset = (torch.randn(1, 18, 6, 6) + 0.5).requires_grad_()
        out = ops.deform_conv2d(x, offset, weight, padding=1)
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
        assert offset.grad.dtype == torch.float32

    def test_layer_that_predicts_its_offsets_starts_as_a_convolution(self):
        layer = ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1, deform_groups=2)
        x = torch.randn(2, 4, 7, 8)
        expected = F.conv2d(x, layer.weight / 2, layer.bias, padding=1)
        assert torch.allclose(layer(x), expected, atol=1e-6)
        # The names in MMCV's checkpoints.
        assert set(layer.state_dict()) == {'weight', 'bias', 'conv_offset.weight', 'conv_offset.bias'}
        plain = ops.DeformConv2dPack(4, 6, 3, padding=1)
        assert torch.allclose(plain(x), F.conv2d(x, plain.weight, padding=1), atol=1e-6)

    def test_layer_takes_its_offsets_from_a_guide(self):
        layer = ops.ModulatedDeformConv2dPack(4, 6, 3, padding=1)
        torch.nn.init.normal_(layer.conv_offset.weight)
        x, guide = torch.randn(2, 2, 4, 7, 8)
        offset, mask = layer.conv_offset(guide).split([18, 9], 1)
        expected = ops.modulated_deform_conv2d(x, offset, mask.sigmoid(), layer.weight, layer.bias, 1, 1)
        assert torch.equal(layer(x, guide), expected)
        assert not torch.allclose(layer(x), expected)


class TestDynamicFilter:

    def test_constant_pixel_filters_are_a_depthwise_convolution(self):
        x, channel, taps = torch.randn(2, 6, 9, 8), torch.randn(2, 6, 9), torch.randn(9)
        pixel = taps.view(1, 9, 1, 1).expand(2, 9, 9, 8)
        for combine, filters in (('mul', channel * taps), ('add', channel + taps)):
            expected = F.conv2d(x.view(1, 12, 9, 8), filters.view(12, 1, 3, 3), padding=1, groups=12).view(2, 6, 9, 8)
            out = ops.decoupled_dynamic_filter(x, channel, pixel, combine=combine)
            assert torch.allclose(out, expected, atol=1e-5)

    def test_tiles_do_not_show(self, monkeypatch):
        x, channel, pixel = torch.randn(1, 10, 17, 6), torch.randn(1, 10, 9), torch.randn(1, 18, 17, 6)
        expected = ops.decoupled_dynamic_filter(x, channel, pixel)
        monkeypatch.setattr(dynamic_filter, '_TILE_ELEMENTS', 40)
        monkeypatch.setattr(dynamic_filter, '_TILE_CHANNELS', 3)
        assert torch.allclose(ops.decoupled_dynamic_filter(x, channel, pixel), expected, atol=1e-5)

    def test_filter_norm_is_the_published_formula(self):
        """(f - mean) / (std + 1e-10) * sqrt(2) / 3 over the nine taps of each pixel, with the unbiased deviation."""
        x = torch.randn(2, 18, 4, 5, dtype=torch.float64)
        found = ops.FilterNorm(2, 3, 'spatial')(x).view(2, 2, 9, 4, 5)
        taps = x.view(2, 2, 9, 4, 5)
        expected = (taps - taps.mean(2, keepdim=True)) / (taps.std(2, keepdim=True) + 1e-10) * 2**0.5 / 3
        assert torch.allclose(found, expected)
        norm = ops.FilterNorm(5, 3, 'channel', running_std=True, running_mean=True).double()
        torch.nn.init.normal_(norm.mean)
        x = torch.randn(2, 45, 1, 1, dtype=torch.float64)
        taps = x.view(2, 5, 9)
        expected = (taps - taps.mean(2, keepdim=True)) / (taps.std(2, keepdim=True) + 1e-10)
        expected = expected * norm.std.view(5, 9) + norm.mean.view(5, 9)
        assert torch.allclose(norm(x), expected)

    def test_filter_norm_of_equal_taps_has_a_finite_gradient(self):
        x = torch.ones(1, 9, 2, 2, requires_grad=True)
        out = ops.FilterNorm(1, 3, 'spatial')(x)
        out.square().sum().backward()
        assert not out.any()
        assert torch.isfinite(x.grad).all()

    def test_layer_is_its_parts_and_has_the_published_names(self):
        layer = ops.DDF(10, heads=2, combine='add')
        x = torch.randn(2, 10, 6, 7)
        channel = layer.channel_branch(x)
        assert channel.shape == (2, 10, 9)
        assert torch.equal(layer(x), ops.decoupled_dynamic_filter(x, channel, layer.spatial_branch(x), combine='add'))
        shapes = {name: tuple(value.shape) for name, value in ops.DDF(64).state_dict().items()}
        assert shapes == {
            'spatial_branch.0.weight': (9, 64, 1, 1), 'spatial_branch.0.bias': (9, ),
            'channel_branch.1.weight': (12, 64, 1, 1), 'channel_branch.1.bias': (12, ),
            'channel_branch.3.weight': (576, 12, 1, 1), 'channel_branch.3.bias': (576, ),
            'channel_branch.4.std': (576, )
        }

    @pytest.mark.parametrize('guided', [False, True])
    def test_upsampling_filters_each_place_of_a_block_by_itself(self, guided):
        layer = ops.DDFUp(4, 3, guide_channels=2 if guided else None, heads=2)
        x, guide = torch.randn(2, 4, 5, 6), torch.randn(2, 2, 15, 18)
        out = layer(x, guide) if guided else layer(x)
        assert out.shape == (2, 4, 15, 18)
        # Place (1, 2) of every block, from its own filters.
        channel = layer.channel_branch(x).view(2, 4, 9, 9)[:, :, 5]
        if guided:
            pixel = layer.spatial_branch[0](guide)[:, :, 1::3, 2::3]
        else:
            pixel = layer.spatial_branch(x).view(2, 18, 9, 5, 6)[:, :, 5]
        expected = ops.decoupled_dynamic_filter(x, channel, layer.spatial_norm(pixel))
        assert torch.allclose(out[:, :, 1::3, 2::3], expected, atol=1e-6)
        with pytest.raises(ValueError, match='guide must be'):
            layer(x, None if guided else guide)

    def test_guide_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r'guide must have shape \(1, 2, 8, 10\)'):
            ops.DDFUp(4, guide_channels=2)(torch.randn(1, 4, 4, 5), torch.randn(1, 2, 8, 9))


class TestVolumes:

    def test_correlation_peaks_at_the_displacement(self):
        first = F.normalize(torch.randn(1, 16, 12, 14), dim=1)
        second = torch.roll(first, (2, -3), (2, 3))
        costs = ops.Correlation(radius=3)(first, second)
        assert (costs[0, :, 3:-3, 3:-3].argmax(0) == (2 + 3) * 7 + (-3 + 3)).all()

    def test_pixel_volume_of_a_constant_flow_agrees(self):
        """Where the flow is locally constant all candidates are the match itself: the majority cue."""
        previous, current = torch.randn(2, 1, 3, 16, 18)
        flow = torch.tensor([2., -1.]).view(1, 2, 1, 1).expand(1, 2, 16, 18)
        volume = ops.PixelVolume()(previous, current, flow)
        gray = 0.2989 * previous[0, 0] + 0.5870 * previous[0, 1] + 0.1140 * previous[0, 2]
        inner = volume[0, :, 6:10, 5:11]
        assert torch.allclose(inner, gray[5:9, 7:13].expand_as(inner))

    def test_pixel_volume_truncates_towards_zero(self):
        previous = torch.arange(49.).view(1, 1, 7, 7)
        flow = torch.full((1, 2, 7, 7), 0.9)
        volume = ops.pixel_volume(previous, torch.zeros_like(previous), flow, 1)
        assert torch.equal(volume[0, 0, 1:6, 1:6], previous[0, 0, 1:6, 1:6])

    @pytest.mark.parametrize('value', [float('nan'), float('inf'), -1e30])
    def test_pixel_volume_of_lost_flow_is_the_current_frame(self, value):
        previous, current = torch.randn(2, 1, 1, 9, 9)
        volume = ops.pixel_volume(previous, current, torch.full((1, 2, 9, 9), value))
        assert torch.equal(volume[:, :, 2:-2, 2:-2], current[:, :, 2:-2, 2:-2].expand(1, 25, 5, 5))


class TestBackends:

    @pytest.fixture
    def bare(self, monkeypatch):
        """No override, no interpreter, nothing remembered."""
        for name in ('MMWEATHER_OPS', 'TRITON_INTERPRET'):
            monkeypatch.delenv(name, raising=False)
        backend._missing_for_triton.cache_clear()
        backend._missing_for_mmcv.cache_clear()
        yield monkeypatch
        backend._missing_for_triton.cache_clear()
        backend._missing_for_mmcv.cache_clear()

    @pytest.mark.parametrize(('triton', 'mmcv', 'device', 'dtype', 'expected'), [
        ('', '', 'cpu', torch.float32, 'torch'),
        ('', '', 'cuda', torch.float32, 'triton'),
        ('', '', 'cuda', torch.float64, 'mmcv'),
        ('no Triton', '', 'cuda', torch.float16, 'mmcv'),
        ('no Triton', '', 'cuda', torch.bfloat16, 'torch'),
        ('no Triton', 'no MMCV', 'cuda', torch.float32, 'torch'),
        ('', '', 'mps', torch.float32, 'torch'),
    ])
    def test_the_first_that_can_serves(self, bare, triton, mmcv, device, dtype, expected):
        bare.setattr(backend, '_missing_for_triton', _answer(triton))
        bare.setattr(backend, '_missing_for_mmcv', _answer(mmcv))
        assert backend.choose('modulated_deform_conv2d', device, dtype).backend == expected

    def test_override_applies_where_it_can(self, bare):
        bare.setattr(backend, '_missing_for_triton', _answer(''))
        bare.setattr(backend, '_missing_for_mmcv', _answer(''))
        bare.setenv('MMWEATHER_OPS', 'mmcv')
        assert backend.choose('modulated_deform_conv2d', 'cpu') == ('mmcv', 'MMWEATHER_OPS=mmcv')
        choice = backend.choose('correlation', 'cuda')
        assert choice.backend == 'triton'
        assert 'MMWEATHER_OPS=mmcv does not apply: mmcv has no correlation' in choice.why
        bare.setenv('MMWEATHER_OPS', 'triton')
        choice = backend.choose('correlation', 'cpu')
        assert choice.backend == 'torch' and 'Triton serves CUDA tensors only' in choice.why
        bare.setenv('TRITON_INTERPRET', '1')
        bare.setattr(backend.importlib.util, 'find_spec', lambda name: object())
        assert backend.choose('correlation', 'cpu').backend == 'triton'
        bare.setenv('MMWEATHER_OPS', 'torch')
        assert backend.choose('modulated_deform_conv2d', 'cuda').backend == 'torch'

    @pytest.mark.parametrize(('name', 'message'), [
        ('cuda', "MMWEATHER_OPS is 'cuda', which is no backend; set it to one of torch, triton, mmcv"),
        ('mmcv', 'MMWEATHER_OPS asks for mmcv, but no compiled MMCV is installed'),
    ])
    def test_an_override_that_cannot_be_is_one_sentence(self, bare, name, message):
        bare.setattr(backend, '_missing_for_mmcv', _answer('no compiled MMCV is installed'))
        bare.setenv('MMWEATHER_OPS', name)
        with pytest.raises(UserError, match=message):
            ops.modulated_deform_conv2d(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, 2), None, torch.zeros(1, 1, 1, 1))
        # A repr is printed while people look for what is wrong, and must not fail.
        assert name in repr(ops.ModulatedDeformConv2d(1, 1, 1))

    def test_rows_for_the_doctor(self, bare):
        bare.setattr(backend, '_missing_for_triton', _answer('Triton finds no C compiler (gcc or clang)'))
        bare.setattr(backend, '_missing_for_mmcv', _answer('no compiled MMCV is installed'))
        rows = ops.describe_backends()
        assert [row.op for row in rows] == [
            'correlation', 'decoupled_dynamic_filter', 'modulated_deform_conv2d', 'pixel_volume'
        ]
        for row in rows:
            assert (row.cpu, row.cuda, row.available) == ('torch', 'torch', ('torch', ))
            assert 'no C compiler' in row.why

    def test_modules_name_their_backend(self, bare):
        for module in (ops.ModulatedDeformConv2d(2, 2, 3), ops.DeformConv2dPack(2, 2, 3), ops.DDF(5), ops.DDFUp(5),
                       ops.Correlation(), ops.PixelVolume()):
            assert 'backend=torch' in repr(module)

    @needs_triton
    def test_the_kernel_is_what_runs(self, monkeypatch):
        """The override reaches the kernel: the operator has no other way to that module."""
        kernels = importlib.import_module('mmweather.ops.triton.correlation')
        called = []
        monkeypatch.setattr(kernels, 'forward', lambda *args: called.append(args) or torch.zeros(1, 9, 2, 2))
        monkeypatch.setenv('MMWEATHER_OPS', 'triton')
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        ops.correlation(*torch.zeros(2, 1, 3, 2, 2, device=device), radius=1)
        assert len(called) == 1

    @needs_triton
    def test_atomics_are_refused_where_determinism_is_asked_for(self, monkeypatch):
        monkeypatch.setenv('MMWEATHER_OPS', 'triton')
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        x = torch.zeros(1, 1, 2, 2, device=device, requires_grad=True)
        arguments = torch.zeros(1, 2, 2, 2, device=device), None, torch.zeros(1, 1, 1, 1, device=device)
        out = ops.modulated_deform_conv2d(x, *arguments)
        torch.use_deterministic_algorithms(True)
        try:
            with pytest.raises(RuntimeError, match='modulated_deform_conv2d adds with atomics'):
                out.sum().backward()
        finally:
            torch.use_deterministic_algorithms(False)

    def test_nothing_is_imported_before_it_is_needed(self, run_python):
        done = run_python('-c', IMPORTS)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == '[]'


@needs_triton
class TestTuner:
    """The choice of tile sizes, on a pretended GPU."""

    @pytest.fixture
    def tuner(self, monkeypatch, tmp_path):
        tuning = importlib.import_module('mmweather.ops.triton.tuning')
        self.clock = 0.0

        class Event:

            def __init__(event, enable_timing):
                event.time = None

            def record(event):
                event.time = self.clock

            def synchronize(event):
                pass

            def elapsed_time(event, other):
                return other.time - event.time

        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
        monkeypatch.setattr(tuning, 'interpreted', lambda: False)
        monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'GPU')
        monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
        monkeypatch.setattr(torch.cuda, 'Event', Event)
        self.launched = []

        def launch(size):
            self.launched.append(size)
            if size == 4:
                raise tuning.triton.runtime.OutOfResources(2, 1, 'shared memory')
            self.clock += size

        self.launch, self.tuning = launch, tuning
        return lambda: tuning.Tuner('kernel', [dict(size=3), dict(size=4), dict(size=1), dict(size=2)])

    def test_the_fastest_is_chosen_and_remembered(self, tuner, tmp_path):
        first = tuner()
        first.run(self.launch, ('problem', torch.float32))
        assert self.launched[-1] == 1 and 4 in self.launched
        self.launched.clear()
        first.run(self.launch, ('problem', torch.float32))
        # Another process reads the file.
        tuner().run(self.launch, ('problem', torch.float32))
        assert self.launched == [1, 1]
        tuner().run(self.launch, ('another problem', torch.float32))
        assert len(self.launched) > 3

    def test_timing_is_bounded(self, tuner, monkeypatch):
        monkeypatch.setattr(self.tuning, '_BUDGET', 0.0)
        tuner().run(self.launch, ('problem', ))
        assert set(self.launched) == {3}

    def test_a_captured_graph_is_not_timed(self, tuner, monkeypatch):
        monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
        tuner().run(self.launch, ('problem', ))
        assert self.launched == [3]


class TestLayers:
    """The names that configs use."""

    @pytest.fixture(autouse=True)
    def register(self):
        importlib.import_module('mmweather.ops.layers')

    @pytest.mark.parametrize(('name', 'options'), [('DCNv2', dict(deform_groups=2)), ('DCN', dict(deform_groups=4)),
                                                   ('DDF', dict(heads=2))])
    def test_conv_module_builds_them(self, name, options):
        bricks = pytest.importorskip('mmcv.cnn')
        module = bricks.ConvModule(8, 8, 3, stride=2, padding=1, norm_cfg=dict(type='BN'),
                                   conv_cfg=dict(type=f'mmweather.{name}', **options))
        x = torch.randn(2, 8, 9, 11, requires_grad=True)
        out = module(x)
        assert out.shape == (2, 8, 5, 6)
        out.sum().backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        if name.startswith('DCN'):
            # ConvModule would draw the weights anew for a layer that does not initialise itself.
            assert not module.conv.conv_offset.weight.any()

    @pytest.mark.parametrize(('arguments', 'message'), [
        ((8, 4, 3), 'out_channels must be 8, but is 4'),
        ((8, 8, 3, 1, 0), 'padding must be 1 for a kernel of 3'),
        ((8, 8, (3, 5)), 'kernel_size must be the same in both directions'),
        ((8, 8, 3, 1, 1, 1, 2), 'groups must be 1 or in_channels'),
    ])
    def test_what_a_dynamic_filter_cannot_replace(self, arguments, message):
        from mmweather.registry import MODELS
        with pytest.raises(ValueError, match=message):
            MODELS.get('DDF')(*arguments)


def _answer(text):
    """A probe that found what `text` says, with the interface of a cached function."""

    def probe():
        return text

    probe.cache_clear = lambda: None
    return probe


@needs_triton
@pytest.mark.parametrize('capability', [90])
def test_kernels_compile_where_there_is_no_gpu(capability, run_python, tmp_path):
    """The interpreter accepts what the compiler does not."""
    script = Path(__file__).parent / 'compile_kernels.py'
    done = run_python(script, capability, env=dict(TRITON_INTERPRET='0', TRITON_CACHE_DIR=str(tmp_path)), timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    on_tensor_cores = json.loads(done.stdout.splitlines()[-1])
    assert len(on_tensor_cores) == 11
    for name, uses_them in on_tensor_cores.items():
        assert uses_them == name.startswith(('deform_conv', 'correlation')), name
