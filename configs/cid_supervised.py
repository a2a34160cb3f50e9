# CID's second phase, from the first (load_from): samples weighted so that the bottleneck's features decorrelate; the
# encoder is frozen.
_base_ = ['cid.py', '_base_/data_domains.py', '_base_/schedule_cid.py']

model = dict(
    generator=dict(freeze_encoder=True),
    loss=dict(type='CIDLoss'),
    # as many as a batch has, over all GPUs
    weighting=dict(memory=32))

optim_wrapper = dict(constructor='TrainableOptimWrapperConstructor')
custom_hooks = [dict(type='FrozenHook', modules=['encoder'])]
