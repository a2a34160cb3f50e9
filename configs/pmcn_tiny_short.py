# The first phase of pmcn_tiny: single frames, of scenes rendered at the size to which pmcn_tiny reduces frames.
_base_ = ['pmcn_tiny.py']

model = dict(generator=dict(reduce=1), loss=dict(disparity_weight=0.0, parallax_weight=0.2))
max_iters = 7400
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=80),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-4, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        scenes=120,
        scene_frames=3,
        scene_size=(128, 256),
        crop_size=(128, 256),
        num_frames=1,
        # twice the camera's: as many pixels of disparity as at full resolution
        baselines=(0.44, )))
