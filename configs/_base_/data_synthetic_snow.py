# Snow synthesised while training reads it, over procedural scenes and whatever clean videos are named:
# --cfg-options "train_dataloader.dataset.videos=[a.mp4,b.mp4]"
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='SyntheticSnow',
        videos=[],
        scenes=24,
        num_frames=5,
        crop_size=96,
        max_pan=12,
        pipeline=[dict(type='PackClip')]))
