# The narrow BIMNet of pvdnet_tiny on scenes and films, with larger crops: the third of its three stages. The flow of
# films is estimated between their sharp frames. It starts from the second one,
# --cfg-options load_from=work_dirs/bimnet_tiny/iter_200.pth
_base_ = ['bimnet_tiny_flow.py']

optim_wrapper = dict(optimizer=dict(lr=8e-4))
# the clock cut the cosine of 900 iterations off
max_iters = 700
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=30),
    dict(type='CosineAnnealingLR', T_max=900, eta_min=1e-5, by_epoch=False, begin=0, end=900),
]
train_cfg = dict(max_iters=max_iters)
train_dataloader = dict(dataset=dict(crop_size=160, scene_share=0.4, default_share=0.6, seed=5))
