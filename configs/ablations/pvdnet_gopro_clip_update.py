# PVDNet with one step of the optimiser per clip instead of one per frame.
_base_ = '../pvdnet_gopro.py'

model = dict(update='clip')
