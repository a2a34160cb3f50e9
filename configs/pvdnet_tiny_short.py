# The first phase of pvdnet_tiny: clips of five targets and small crops, so that the many early steps are cheap.
_base_ = ['pvdnet_tiny.py']

max_iters = 1400
optim_wrapper = dict(optimizer=dict(lr=7e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=2e-5, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(dataset=dict(num_frames=8, crop_size=96))
