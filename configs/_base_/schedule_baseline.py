# One schedule for all baselines: a budget that one GPU can spend, cosine to zero after a warm-up.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, betas=(0.9, 0.99), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0))
max_iters = 200_000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-7, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
