# The first phase of cid_tiny: labelled synthetic haze, and photographs without labels for consistency and priors:
# --cfg-options "train_dataloader.dataset.datasets.0.videos=[a.mp4]" train_dataloader.dataset.datasets.1.data_root=DIR
_base_ = ['cid_tiny.py']

model = dict(
    type='SemiSupervisedRestorer',
    loss=dict(type='CIDLoss', sample_weight=0.0, ssim_weight=0.1, contrast_weight=0.0),
    consistency_weight=0.2,
    dark_channel_weight=0.002,
    variation_weight=0.002)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
max_iters = 4000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=2e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='WeightedMixture',
        weights=[7, 1],
        datasets=[
            dict(type='SyntheticDomains', crop_size=128, scenes=48, scene_share=0.6, pipeline=[dict(type='PackClip')]),
            dict(type='UnlabelledImages', data_root='data/hazy', crop_size=128, pipeline=[dict(type='PackClip')]),
        ]))
