# The first phase of pmcn_tiny: single frames of scenes at half the resolution, so that the many early steps are cheap.
_base_ = ['pmcn_tiny.py']

max_iters = 4000
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=80),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        scenes=160,
        scene_frames=3,
        scene_size=(128, 256),
        crop_size=(128, 256),
        num_frames=1,
        # twice that of the full resolution: what is as far away is as many pixels apart
        baselines=(0.44, )))
default_hooks = dict(checkpoint=dict(interval=500))
