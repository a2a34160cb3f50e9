# Blur synthesised while training reads it, over procedural scenes and whatever clean videos are named:
# --cfg-options "train_dataloader.dataset.videos=[a.mp4,b.mp4]"
train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='SyntheticBlur',
        videos=[],
        scenes=8,
        scene_frames=15,
        crop_size=96,
        pipeline=[dict(type='PackClip')]))
