# RVSD's test split: whole videos, the authors' metric, the snowy input scored beside the result.
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='RVSD',
        data_root='data/RVSD',
        split='test',
        num_frames=None,
        test_mode=True,
        pipeline=[dict(type='LoadFrames'), dict(type='PackClip')]))
test_evaluator = [
    dict(type='RestorationMetric', protocol='rvsd', baseline=True),
    dict(type='WarpingErrorMetric'),
]
test_cfg = dict(type='TestLoop')
