# The first phase of cid_tiny: labelled synthetic haze, and photographs without labels for consistency and priors. Most
# of it on frames at less than half of their size, where an iteration costs little and crops see the whole height.
_base_ = ['cid_tiny.py', '_base_/train_cid_tiny.py']

model = dict(
    type='SemiSupervisedRestorer',
    # MS-SSIM costs as much as the network
    loss=dict(type='CIDLoss', error='psnr', sample_weight=0.0, ssim_weight=0.0, contrast_weight=0.0),
    consistency_weight=0.2,
    dark_channel_weight=0.002,
    variation_weight=0.002)

max_iters = 2000
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=6e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
pipeline = [dict(type='PackClip')]
train_dataloader = dict(
    batch_size=16,
    dataset=dict(datasets=[
        dict(
            type='SyntheticDomains',
            crop_size=128,
            min_scale=0.4,
            max_scale=0.55,
            scenes=160,
            scene_share=0.7,
            hue_share=0.15,
            heights=(288, ),
            max_frames=120,
            pipeline=pipeline),
        dict(type='UnlabelledImages', data_root='data/hazy', crop_size=128, pipeline=pipeline)
    ]))
