# The first phase of svdnet_tiny: clips of three frames, the fewest that show what is a flake and what stays.
_base_ = ['svdnet_tiny.py']

max_iters = 1712
optim_wrapper = dict(optimizer=dict(lr=8e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=3e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(batch_size=4, dataset=dict(num_frames=3, crop_size=80))
