# The second part of cid_tiny's first phase, from cid_tiny_pretrain_short.py (load_from): the same at the frames' own
# scale.
_base_ = ['cid_tiny_pretrain_short.py']

max_iters = 8500
optim_wrapper = dict(optimizer=dict(lr=1.2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=3e-5, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(
    batch_size=6, dataset=dict(datasets=[{{_base_.labelled}}, {{_base_.unlabelled}}]))
