# What the phases of cid_tiny share: short schedules on one CPU core, crops that see nearly the whole height of a frame.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
train_cfg = dict(type='ResumableTrainLoop')
# --cfg-options "train_dataloader.dataset.datasets.0.videos=[a.mp4]" train_dataloader.dataset.datasets.1.data_root=DIR
labelled = dict(
    type='SyntheticDomains',
    crop_size=256,
    scenes=160,
    scene_share=0.7,
    hue_share=0.15,
    heights=(288, ),
    max_frames=120,
    pipeline=[dict(type='PackClip')])
unlabelled = dict(type='UnlabelledImages', data_root='data/hazy', crop_size=256, pipeline=[dict(type='PackClip')])
train_dataloader = dict(
    batch_size=6,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(type='WeightedMixture', weights=[7, 1], datasets=[labelled, unlabelled]))
