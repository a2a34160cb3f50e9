# The narrow BIMNet of pvdnet_tiny (0.4 M parameters, at half the resolution) taught with the exact flow of rendered
# scenes: the first of three stages of motion. From scratch the blur-invariant loss teaches little, since a flow that
# does not point near the match has no gradient towards it.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_blur.py']

model = dict(
    type='MotionRestorer',
    generator=dict(
        type='BIMNet', feature_channels=(8, 16, 32, 48), match_channels=32, refine_channels=(32, 32, 16),
        smooth_channels=(32, 32, 16, 16, 16, 16), reduction=2),
    flow_loss=dict(type='EndPointLoss'))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=10.0))
max_iters = 1000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
train_dataloader = dict(batch_size=6, dataset=dict(num_frames=3, scenes=24, crop_size=128, max_pan=8, with_flow=True))
