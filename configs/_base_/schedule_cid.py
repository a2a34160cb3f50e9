# The schedule of the same group's published training of a sibling network (CGID): 50 passes of 565 batches of 32. CID's
# own is not public.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999)))
param_scheduler = dict(type='CosineAnnealingLR', T_max=28_250, eta_min=0, by_epoch=False, begin=0, end=28_250)
train_cfg = dict(type='ResumableTrainLoop', max_iters=28_250)
# A norm that the published network holds and never applies gets no gradient.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
