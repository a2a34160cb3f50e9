# SVDNet made narrow and shallow, on synthetic snow: the bundled weights, quick trials, machines without a GPU.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_snow.py', '_base_/data_rvsd_test.py']

model = dict(
    type='SVDRestorer',
    generator=dict(
        type='SVDNet',
        channels=32,
        num_extract_blocks=2,
        num_propagation_blocks=1,
        num_reconstruction_blocks=2,
        deform_groups=2,
        num_aggregations=1,
        aggregation=dict(num_queries=16, window=4, num_heads=2),
        # A short training does not teach a network motion, but motion can be computed.
        motion=dict(type='LucasKanade'),
        flow_scale=2,
        min_size=32,
        tile=None),
    # One frame of a clip is enough to compare features by. The layers are known and teach early. An absolute error
    # would reward leaving rare flakes alone.
    loss=dict(type='SVDLoss', contrast_weight=0.02, layer_weight=0.5, mask_weight=0.2, flow_weight=0.0, eps=1e-3,
              contrast=dict(frames=1)))

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=5e-4, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=1.0))
max_iters = 622
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters)
train_dataloader = dict(batch_size=2, dataset=dict(crop_size=112, default_share=0.75))
