# SVDNet on RVSD: 4 GPUs with two clips each. Network and schedule are ours, since neither was published.
_base_ = ['_base_/default_runtime.py', '_base_/data_rvsd.py']

model = dict(
    type='SVDRestorer',
    generator=dict(type='SVDNet'),
    # vgg19=FILE takes the contrastive and the perceptual term in VGG-19's features; without, the former follows the
    # network's own encoder and the latter is left out.
    loss=dict(type='SVDLoss', vgg19=None))

max_iters = 300_000
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys={'motion': dict(lr_mult=0.25)}))
param_scheduler = dict(
    type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-7, by_epoch=False, begin=0, end=max_iters)
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
# Where a loss needs truths that the data does not have, parts of the network get no gradient.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
