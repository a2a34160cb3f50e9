# Held-out procedural stereo scenes of 7 frames in haze of SFVC's three densities in turn; the paper's metric, left and
# right view apart, the hazy input scored beside the result.
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SyntheticHaze',
        scenes=6,
        scene_frames=7,
        num_frames=7,
        baselines=(0.22, ),
        # Training has the scenes of seed 0.
        seed=9,
        test_mode=True,
        pipeline=[dict(type='PackClip')]))
test_evaluator = dict(type='RestorationMetric', protocol='sfvc', baseline=True)
test_cfg = dict(type='TestLoop')
