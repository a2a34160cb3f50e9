# The narrow BIMNet of pvdnet_tiny by the blur-invariant loss, on films and scenes alike: the second of three stages
# of motion. It starts from the first one, --cfg-options load_from=work_dirs/bimnet_tiny_flow/iter_1000.pth
_base_ = ['bimnet_tiny_flow.py']

model = dict(flow_loss=None, loss=dict(type='BlurInvariantLoss', pyramid_weight=1.0, draw=1))

optim_wrapper = dict(optimizer=dict(lr=3e-4), clip_grad=dict(max_norm=1.0))
max_iters = 200
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', T_max=max_iters, eta_min=1e-6, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(dataset=dict(with_flow=False))
