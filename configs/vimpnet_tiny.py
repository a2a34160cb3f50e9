# ViMP-Net made narrow and shallow: the bundled weights, quick trials, machines without a GPU.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_rain.py', '_base_/data_vrds_test.py']

model = dict(
    type='BaseRestorer',
    generator=dict(
        type='ViMPNet',
        channels=32,
        num_extract_blocks=2,
        num_propagation_blocks=1,
        num_reconstruction_blocks=1,
        deform_groups=4,
        streak_channels=4,
        drop_channels=4,
        spynet=dict(num_levels=3, widths=(8, 16, 16, 8)),
        transformer=dict(
            encoder_channels=(4, 16, 32), embed_dims=96, num_heads=4, ffn_channels=192, repeats=(1, ),
            upsample_channels=(32, 16), attention_window=8, init_std=None),
        min_size=64,
        # as attention stays within windows, larger tiles only have fewer overlaps, as long as there is memory
        tile=960,
        tile_overlap=16,
        bfloat16_on_cpu=True),
    # In a short training of a narrow network the mask at its published weight outweighs the frames, and an absolute
    # error rewards leaving rare streaks alone.
    loss=dict(type='ViMPLoss', pixel_weight=0.2, mask_weight=0.1, hole_weight=0.0, eps=1e-3))

# The flow network has been trained by itself (vimpnet_tiny_flow.py).
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=5e-4, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys={'spynet': dict(lr_mult=0.1)}))
max_iters = 3600
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
train_dataloader = dict(
    batch_size=2, dataset=dict(crop_size=96, max_pan=12, default_share=0.75, clean_share=0.05, scenes=24))
