# PVDNet as published: the network, its training with BIMNet fixed, and the test by both protocols. The configs for a
# data set, pvdnet_gopro.py and pvdnet_dvd.py, add the data.
_base_ = [
    '_base_/default_runtime.py',
    # the learning rate: schedule_pvdnet_ca.py (cosine with restarts) or schedule_pvdnet_ld.py (one drop)
    '_base_/schedule_pvdnet_ca.py',
]

model = dict(
    type='PVDRestorer',
    generator=dict(type='PVDNet'),
    loss=dict(type='PVDLoss'),
    # BIMNet comes from its own training first (bimnet_gopro.py), or from the authors' BIMNet.pytorch:
    # --cfg-options model.motion_checkpoint=FILE
    motion_checkpoint=None,
    # 'frame': a step of the optimiser per frame, as published; 'clip' accumulates over the clip and keeps a GPU busier.
    update='frame',
    # 'published' crops frames to multiples of 4 and estimates motion within multiples of 32; None pads instead.
    test_protocol='published')
custom_hooks = [dict(type='FreezeHook', until=dict(motion=-1))]
# BIMNet gets no gradient.
model_wrapper_cfg = dict(type='mmweather.RecurrentDistributedDataParallel', find_unused_parameters=True)
