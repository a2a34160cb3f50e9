# CID's third phase, from the second (load_from): a folder of target photographs without labels beside the labelled
# source; the covariances of their features are aligned; the encoder is frozen.
_base_ = ['cid.py', '_base_/data_domains.py', '_base_/schedule_cid.py']

model = dict(
    type='AdaptationRestorer',
    generator=dict(freeze_encoder=True),
    loss=dict(type='CIDLoss', sample_weight=0.0),
    alignment=dict(weight=0.1, standardise=False),
    # ours; see the class
    tint_share=0.5,
    dark_channel_weight=0.01)

optim_wrapper = dict(constructor='TrainableOptimWrapperConstructor', optimizer=dict(lr=5e-5))
max_iters = 5650
param_scheduler = dict(T_max=max_iters, end=max_iters)
train_cfg = dict(max_iters=max_iters)
custom_hooks = [dict(type='FrozenHook', modules=['encoder'])]
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='WeightedMixture', datasets=[{{_base_.labelled}}, {{_base_.unlabelled}}]))
