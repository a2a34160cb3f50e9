# Schedule LD of PVDNet: like schedule_pvdnet_ca.py, but the learning rate drops to a quarter after 400,000 steps.
_base_ = 'schedule_pvdnet_ca.py'

param_scheduler = dict(
    _delete_=True, type='MultiStepLR', milestones=[400_000 // 13], gamma=0.25, by_epoch=False)
