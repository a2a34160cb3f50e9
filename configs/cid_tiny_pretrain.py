# The first phase of cid_tiny: labelled synthetic haze, and photographs without labels for consistency and priors.
_base_ = ['cid_tiny.py', '_base_/train_cid_tiny.py']

model = dict(
    type='SemiSupervisedRestorer',
    # the plain L1 alone: MS-SSIM on crops costs as much as the network
    loss=dict(type='CIDLoss', sample_weight=0.0, ssim_weight=0.0, contrast_weight=0.0),
    consistency_weight=0.2,
    dark_channel_weight=0.002,
    variation_weight=0.002)

max_iters = 5000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=3e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
