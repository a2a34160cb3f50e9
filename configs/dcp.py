# The dark channel prior, which needs no weights: the baseline that a dehazing network has to beat.
_base_ = ['_base_/default_runtime.py']

model = dict(type='BaseRestorer', generator=dict(type='DarkChannelPrior'))
