# What the three phases of cid_tiny share: short schedules on one CPU core, small crops, few scenes.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
train_cfg = dict(type='ResumableTrainLoop')
# --cfg-options "train_dataloader.dataset.datasets.0.videos=[a.mp4]" train_dataloader.dataset.datasets.1.data_root=DIR
labelled = dict(
    type='SyntheticDomains', crop_size=128, scenes=48, scene_share=0.5, pipeline=[dict(type='PackClip')])
unlabelled = dict(type='UnlabelledImages', data_root='data/hazy', crop_size=128, pipeline=[dict(type='PackClip')])
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(type='WeightedMixture', weights=[7, 1], datasets=[labelled, unlabelled]))
