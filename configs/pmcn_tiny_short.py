# The first phase of pmcn_tiny: scenes at half the resolution, so that the many early steps are cheap.
_base_ = ['pmcn_tiny.py']

max_iters = 550
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=8e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(batch_size=4, dataset=dict(scenes=48, scene_size=(128, 256), crop_size=(96, 192)))
