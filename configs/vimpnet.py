# ViMP-Net on VRDS, the published network and schedule: 4 GPUs with one clip each.
_base_ = ['_base_/default_runtime.py', '_base_/data_vrds.py', '_base_/data_vrds_test.py']

model = dict(
    type='BaseRestorer',
    generator=dict(type='ViMPNet'),
    loss=dict(type='ViMPLoss'),
    # 'published' tests as the paper did: windows of 5 at stride 1, tiles of 256. None is faster and as good to see.
    test_protocol='published')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99)),
    paramwise_cfg=dict(custom_keys={'spynet': dict(lr_mult=0.25)}))
param_scheduler = dict(
    type='CosineRestartLR', periods=[500_000], restart_weights=[1], eta_min=1e-9, by_epoch=False)
train_cfg = dict(type='ResumableTrainLoop', max_iters=500_000)
custom_hooks = [dict(type='FreezeHook', until=dict(spynet=5000))]
# SPyNet gets no gradient while it is frozen.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
