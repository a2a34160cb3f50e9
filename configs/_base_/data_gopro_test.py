# GoPro's test split: whole videos, scored plainly and by the aligned protocol of the paper, beside the blurred input.
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='GoPro',
        data_root='data/GoPro',
        split='test',
        num_frames=None,
        test_mode=True,
        pipeline=[dict(type='LoadFrames'), dict(type='PackClip')]))
test_evaluator = [
    dict(type='RestorationMetric', protocol='plain', baseline=True),
    dict(type='RestorationMetric', protocol='koehler', baseline=True),
]
test_cfg = dict(type='TestLoop')
