# The first phase of svdnet_tiny: clips of three frames and small crops, so that the many early steps are cheap.
_base_ = ['svdnet_tiny.py']

max_iters = 3600
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=4e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(dataset=dict(num_frames=3, crop_size=64))
