# PVDNet's published training: RAdam, a step per frame, 600,000 steps. One iteration is a clip of 13 frames, and so 13
# steps. This is schedule CA, a cosine with restarts; schedule_pvdnet_ld.py is the other published one.
frames_per_clip = 13
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='RAdam', lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01,
                   decoupled_weight_decay=True),
    clip_grad=dict(max_norm=1.0))
param_scheduler = dict(
    type='CosineRestartLR',
    periods=[steps // frames_per_clip for steps in (50_000, 100_000, 150_000, 150_000, 150_000)],
    restart_weights=[1, 1, 1, 1, 1],
    eta_min=1e-7,
    by_epoch=False)
train_cfg = dict(type='ResumableTrainLoop', max_iters=600_000 // frames_per_clip)
