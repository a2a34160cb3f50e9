# PVDNet_large as published: twice the blocks, 192 channels.
_base_ = 'pvdnet.py'

model = dict(generator=dict(body_channels=192, num_blocks=24))
