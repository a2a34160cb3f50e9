# pmcn_tiny with each view by itself: the same network and parameters, without anything of the other view.
_base_ = ['../pmcn_tiny.py']

model = dict(generator=dict(parallax=False), loss=dict(disparity_weight=0.0))
