# PVDNet and BIMNet made narrow (1.5 M parameters together) and trained side by side on synthetic blur, for quick trials
# and machines without a GPU. No weights ship for it yet.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_blur.py', '_base_/data_gopro_test.py']

model = dict(
    type='PVDRestorer',
    generator=dict(
        type='PVDNet',
        volume_channels=16,
        image_channels=16,
        channels=16,
        half_channels=32,
        bottleneck_channels=64,
        body_channels=64,
        num_blocks=8,
        motion=dict(
            feature_channels=(8, 16, 32, 48, 64), match_channels=32, refine_channels=(32, 32, 16),
            smooth_channels=(32, 32, 16, 16, 16, 16))),
    loss=dict(type='PVDLoss'),
    # BIMNet is trained beside, on every fourth frame or so; what bimnet_tiny.py has trained is a better start:
    # --cfg-options model.motion_checkpoint=work_dirs/bimnet_tiny/iter_2000.pth
    motion_checkpoint=None,
    motion_loss=dict(type='BlurInvariantLoss', pyramid_weight=1.0, draw=1),
    motion_share=0.25)

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='RAdam', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01, decoupled_weight_decay=True),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys={'motion': dict(lr_mult=0.2)}))
param_scheduler = dict(type='CosineAnnealingLR', T_max=400, eta_min=1e-6, by_epoch=False, begin=0, end=400)
train_cfg = dict(type='ResumableTrainLoop', max_iters=400)
# 13 targets and a frame of context at each end
train_dataloader = dict(batch_size=4, dataset=dict(num_frames=15))
model_wrapper_cfg = dict(type='mmweather.RecurrentDistributedDataParallel', find_unused_parameters=True)
