# VRDS's test split: whole videos, the paper's metric, the rainy input scored beside the result.
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='VRDS',
        data_root='data/VRDS',
        split='test',
        num_frames=None,
        test_mode=True,
        pipeline=[dict(type='LoadFrames'), dict(type='PackClip')]))
test_evaluator = dict(type='RestorationMetric', protocol='vrds', baseline=True)
test_cfg = dict(type='TestLoop')
