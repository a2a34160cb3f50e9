# SVDNet with the propagation forward in time only.
_base_ = ['../svdnet.py']

model = dict(generator=dict(directions=('forward', )))
