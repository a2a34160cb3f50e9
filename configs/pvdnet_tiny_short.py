# The first phase of pvdnet_tiny, with most of the steps: the midst of videos, a frame of context at each end.
_base_ = ['pvdnet_tiny.py']

model = dict(context=1)

optim_wrapper = dict(optimizer=dict(lr=1e-3))
# the clock cut the cosine of 4000 iterations off
max_iters = 1480
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=4000, eta_min=3e-4, by_epoch=False, begin=0, end=4000),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(dataset=dict(num_frames=8))
