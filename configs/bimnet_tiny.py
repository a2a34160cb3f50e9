# The narrow BIMNet of pvdnet_tiny (0.6 M parameters), trained alone on synthetic blur: the first of the two stages.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_blur.py']

model = dict(
    type='MotionRestorer',
    generator=dict(
        type='BIMNet', feature_channels=(8, 16, 32, 48, 64), match_channels=32, refine_channels=(32, 32, 16),
        smooth_channels=(32, 32, 16, 16, 16, 16)),
    loss=dict(type='BlurInvariantLoss', pyramid_weight=1.0, draw=1))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='RAdam', lr=5e-4, betas=(0.9, 0.999), weight_decay=0.01, decoupled_weight_decay=True),
    clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type='CosineAnnealingLR', T_max=2000, eta_min=1e-6, by_epoch=False, begin=0, end=2000)
train_cfg = dict(type='ResumableTrainLoop', max_iters=2000)
train_dataloader = dict(batch_size=2, dataset=dict(num_frames=5))
