# PMCN: the published network; loss and schedule are ours, since neither was published. The configs for a density of
# SFVC's fog, pmcn_beta0005.py, pmcn_beta001.py and pmcn_beta002.py, and for all three, pmcn_mixed.py, add the data.
_base_ = ['_base_/default_runtime.py']

model = dict(
    type='RecurrentRestorer',
    generator=dict(type='PMCN'),
    loss=dict(type='PMCNLoss'),
    # One step of the optimiser per clip. As published, no gradient flows from a frame to the one before it;
    # detach_state=False with truncate=2 lets it flow two frames back.
    update='clip',
    detach_state=True)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=1.0))
max_iters = 250_000
param_scheduler = dict(
    type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters)
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
model_wrapper_cfg = dict(type='mmweather.RecurrentDistributedDataParallel', find_unused_parameters=False)
