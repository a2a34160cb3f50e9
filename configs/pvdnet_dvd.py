# PVDNet on DVD.
_base_ = 'pvdnet_gopro.py'

train_dataloader = dict(dataset=dict(type='DVD', data_root='data/DVD'))
test_dataloader = dict(dataset=dict(type='DVD', data_root='data/DVD'))
