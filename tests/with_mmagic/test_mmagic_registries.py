"""Our classes in MMagic's registries, MMagic's networks behind our contract, and every baseline config."""
import warnings

import pytest
import torch
from mmengine import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner

import mmweather.mmagic
import mmweather.registry as ours
from mmweather.models import restore_clip

NARROW = dict(
    restormer=dict(dim=8, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1, heads=[1, 1, 1, 1]),
    nafnet=dict(mid_channels=8, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    basicvsr_pp=dict(mid_channels=16, num_blocks=1),
    edvr=dict(in_channels=8, mid_channels=8, deform_groups=2, num_blocks_extraction=1, num_blocks_reconstruction=1))


@pytest.fixture(autouse=True)
def quiet():
    warnings.simplefilter('ignore')


def baseline(root, model, data):
    config = Config.fromfile(root / f'configs/baselines/{model}_{data}.py')
    config.model.generator.network.update(NARROW[model])
    if model == 'edvr':
        config.model.generator.stem_channels = 8
    return config


def test_no_name_of_ours_is_one_of_mmagics():
    import mmagic.registry as theirs
    assert mmweather.mmagic.register_in_mmagic() == {}
    for kind in ours.__all__:
        registry = getattr(theirs, kind)
        # raises KeyError where a name is taken
        registry.import_from_location()
        for name, thing in getattr(ours, kind).module_dict.items():
            assert registry.module_dict[name] is thing, name


def test_a_config_in_mmagics_scope_names_our_classes_without_prefix(tmp_path, root, small):
    config = Config.fromfile(root / 'configs/vimpnet_tiny.py')
    config.merge_from_dict({option.partition('=')[0]: eval(option.partition('=')[2]) for option in small})
    config.train_dataloader.dataset.update(scenes=1, crop_size=64)
    config.update(default_scope='mmagic', work_dir=str(tmp_path), experiment_name='in_mmagics_scope',
                  custom_imports=dict(imports=['mmweather.mmagic'], allow_failed_imports=False))
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.visualizer = dict(type='ClipVisualizer', vis_backends=[dict(type='LocalVisBackend')])
    config.custom_hooks = [dict(type='ClipVisualizationHook', interval=1)]
    Runner.from_cfg(config).train()
    assert (tmp_path / 'iter_2.pth').is_file() and list(tmp_path.rglob('train_clip_*.png'))


@pytest.mark.parametrize('model', NARROW)
def test_two_iterations_change_every_baseline(model, root, data_root, tmp_path, small):
    config = baseline(root, model, 'vrds')
    config.merge_from_dict({option.partition('=')[0]: eval(option.partition('=')[2]) for option in small})
    config.train_dataloader.dataset.update(data_root=str(data_root / 'vrds'), num_frames=2)
    config.train_dataloader.dataset.pipeline[0].size = 256 if model == 'basicvsr_pp' else 64
    config.test_dataloader = config.test_evaluator = config.test_cfg = None
    config.update(work_dir=str(tmp_path), experiment_name=model)
    with DefaultScope.overwrite_default_scope('mmweather'):
        runner = Runner.from_cfg(config)
        before = {name: value.clone() for name, value in runner.model.state_dict().items()}
        runner.train()
        assert any(not torch.equal(value, before[name]) for name, value in runner.model.state_dict().items())


@pytest.fixture(scope='module')
def data_root(data):
    return data


def test_centre_baseline_repeats_the_ends_and_begins_near_the_input(root):
    init_default_scope('mmweather')
    network = ours.MODELS.build(baseline(root, 'edvr', 'vrds').model.generator).eval()
    clip = torch.rand(1, 1, 3, 32, 48)
    # a clip of one frame is that frame five times
    with torch.no_grad():
        assert torch.allclose(network(clip), network(clip.expand(-1, 5, -1, -1, -1))[:, 2:3], atol=1e-5)
    assert restore_clip(network, torch.rand(1, 3, 3, 33, 47)).shape == (1, 3, 3, 33, 47)
    with pytest.raises(ValueError, match='odd'):
        ours.MODELS.build({**baseline(root, 'edvr', 'vrds').model.generator, 'neighbours': 4})


def test_basicvsr_pp_is_aligned_by_our_deformable_convolution(root, monkeypatch):
    import mmweather.ops
    init_default_scope('mmweather')
    network = ours.MODELS.build(baseline(root, 'basicvsr_pp', 'vrds').model.generator).eval()
    calls = []
    original = mmweather.ops.modulated_deform_conv2d
    monkeypatch.setattr(mmweather.ops, 'modulated_deform_conv2d',
                        lambda *arguments: calls.append(1) or original(*arguments))
    with torch.no_grad():
        network(torch.rand(1, 2, 3, 256, 256))
    assert len(calls) == 4, 'two propagation passes in each direction, one aligned frame each'
