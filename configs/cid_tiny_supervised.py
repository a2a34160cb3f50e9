# The second phase of cid_tiny, from the first (load_from): labelled samples alone, weighted so that features
# decorrelate; the encoder is frozen.
_base_ = ['cid_tiny.py', '_base_/train_cid_tiny.py']

model = dict(
    generator=dict(freeze_encoder=True),
    loss=dict(type='CIDLoss', error='psnr', ssim_weight=0.0, contrast_weight=0.0),
    weighting=dict(memory=6))

optim_wrapper = dict(constructor='TrainableOptimWrapperConstructor', optimizer=dict(lr=5e-4))
max_iters = 850
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-5, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
custom_hooks = [dict(type='FrozenHook', modules=['encoder'])]
train_dataloader = dict(dataset=dict(weights=[1, 0]))
