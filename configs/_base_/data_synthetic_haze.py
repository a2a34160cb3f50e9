# Haze synthesised while training reads it, over procedural stereo scenes with exact depth.
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='SyntheticHaze',
        scenes=48,
        num_frames=3,
        crop_size=(128, 256),
        pipeline=[dict(type='FlipClip', direction='horizontal', prob=0.5), dict(type='PackClip')]))
