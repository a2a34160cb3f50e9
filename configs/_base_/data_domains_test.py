# Held-out procedural scenes in every domain of haze, scored domain by domain beside the hazy input.
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SyntheticDomains',
        scenes=4,
        seed=900_001,
        test_mode=True,
        pipeline=[dict(type='PackClip')]))
test_evaluator = dict(type='DomainMetric', protocol='vrds', baseline=True)
test_cfg = dict(type='TestLoop')
