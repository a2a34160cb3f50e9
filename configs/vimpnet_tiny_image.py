# The first phase of vimpnet_tiny: single frames, so that the many early steps are cheap.
_base_ = ['vimpnet_tiny.py']

max_iters = 6000
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=150),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=3e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(batch_size=8, dataset=dict(num_frames=1))
