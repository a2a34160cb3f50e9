# The third phase of cid_tiny, from the second (load_from): a folder of target photographs without labels beside the
# labelled source; the features' covariances are aligned, the encoder is frozen.
_base_ = ['cid_tiny.py', '_base_/train_cid_tiny.py']

model = dict(
    type='AdaptationRestorer',
    generator=dict(freeze_encoder=True),
    loss=dict(type='CIDLoss', error='psnr', sample_weight=0.0, ssim_weight=0.0, contrast_weight=0.0),
    alignment=dict(weight=0.003, standardise=True),
    tint_share=0.5,
    dark_channel_weight=0.002,
    variation_weight=0.0)

optim_wrapper = dict(constructor='TrainableOptimWrapperConstructor', optimizer=dict(lr=3e-4))
max_iters = 300
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=20),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-5, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
custom_hooks = [dict(type='FrozenHook', modules=['encoder'])]
train_dataloader = dict(batch_size=8, dataset=dict(weights=[5, 3]))
