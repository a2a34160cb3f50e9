# The flow network of vimpnet_tiny by itself, before anything else is trained: it learns from rainy frames how the clean
# ones move.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_rain.py']

model = dict(type='FlowTrainer', generator=dict(type='SPyNet', num_levels=3, widths=(8, 16, 16, 8)))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
max_iters = 1500
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
train_dataloader = dict(
    batch_size=8, dataset=dict(num_frames=2, crop_size=192, max_pan=24, default_share=0.75, clean_share=0.1, scenes=24))
