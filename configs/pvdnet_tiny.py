# PVDNet and BIMNet made narrow (1 M parameters together) and coarse: BIMNet looks at half the resolution, and the
# deblurring network at blocks of two by two pixels. The bundled weights, quick trials, machines without a GPU.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_blur.py', '_base_/data_gopro_test.py']

model = dict(
    type='PVDRestorer',
    generator=dict(
        type='PVDNet',
        volume_channels=12,
        image_channels=24,
        path_channels=32,
        channels=32,
        half_channels=48,
        bottleneck_channels=64,
        body_channels=64,
        num_blocks=4,
        kernel_size=3,
        shuffle=2,
        zero_init=True,
        negative_slope=0.1,
        precise_motion=False,
        motion=dict(
            feature_channels=(8, 16, 32, 48), match_channels=32, refine_channels=(32, 32, 16),
            smooth_channels=(32, 32, 16, 16, 16, 16), reduction=2)),
    loss=dict(type='PVDLoss', eps=1e-3),
    # BIMNet comes from bimnet_tiny_flow.py, bimnet_tiny.py and bimnet_tiny_films.py:
    # --cfg-options model.motion_checkpoint=work_dirs/bimnet_tiny_films/iter_700.pth
    motion_checkpoint=None,
    # The clips are whole videos to the network, so that it meets the ends of videos, too.
    context=0)
custom_hooks = [dict(type='FreezeHook', until=dict(motion=-1))]

# The last of three phases, in which the learning rate falls to nothing; pvdnet_tiny_short.py is the first, and
# tools/train_pvdnet_tiny.sh runs all of them.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=4e-4, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
max_iters = 255
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=5),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
# six targets, every one a step of the optimiser
train_dataloader = dict(
    batch_size=4,
    dataset=dict(num_frames=6, scenes=24, crop_size=96, max_pan=8, samples=7, scene_share=0.4, default_share=0.6))
# BIMNet gets no gradient.
model_wrapper_cfg = dict(type='mmweather.RecurrentDistributedDataParallel', find_unused_parameters=True)
