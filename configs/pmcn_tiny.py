# PMCN made narrow (at most 1 M parameters) at an eighth of the resolution, with a head and inputs that know of haze and
# parallax: the bundled weights, quick trials, machines without a GPU. Trained after pmcn_tiny_short.py; both phases by
# tools/train_pmcn_tiny.sh.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_haze.py', '_base_/data_synthetic_haze_test.py']

model = dict(
    type='RecurrentRestorer',
    generator=dict(
        type='PMCN',
        channels=32,
        downscale=4,
        reduce=2,
        num_extract_blocks=1,
        num_dynamic_blocks=1,
        num_reconstruct_blocks=1,
        attention_channels=32,
        windows=1,
        head='scattering',
        disparity=True,
        dark_channel=True,
        matching=True),
    # What scene and haze were made with teaches more per step than the image: left to the image alone, the attention
    # would not find the disparity, nor the head the airlight, in a training this short.
    loss=dict(
        type='PMCNLoss',
        pixel_weight=0.3,
        # a frame in light haze, where little is wrong, counts as much as one in dense haze
        psnr_weight=0.005,
        ssim_weight=0.0,
        disparity_weight=0.1,
        transmission_weight=0.5,
        airlight_weight=0.2,
        eps=1e-3),
    update='clip')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
max_iters = 3400
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
# Whole frames: how dense the haze is and what colour it has cannot be told from a small crop.
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        scenes=100,
        scene_frames=4,
        crop_size=(256, 512),
        num_frames=2,
        # of the camera of SFVC: a pair does not say how far apart its cameras are
        baselines=(0.22, ),
        default_share=0.75,
        augment=False))
default_hooks = dict(checkpoint=dict(interval=200, max_keep_ckpts=2))
