# The dark channel prior, which needs no weights: the baseline that a dehazing network has to beat. `mmweather test dcp`
# scores it on the scenes that pmcn_tiny is judged on.
_base_ = ['_base_/default_runtime.py', '_base_/data_synthetic_haze_test.py']

model = dict(type='BaseRestorer', generator=dict(type='DarkChannelPrior'))
