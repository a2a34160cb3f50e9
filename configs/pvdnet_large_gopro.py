# PVDNet_large on GoPro ("nah").
_base_ = ['pvdnet_large.py', '_base_/data_gopro.py']
