# ViMP-Net whose second stage has to find out by itself where raindrops are.
_base_ = '../vimpnet.py'

model = dict(loss=dict(mask_weight=0.0, hole_weight=0.0))
