# The median over five aligned frames, which needs no weights: the baseline that a desnowing network has to beat.
_base_ = ['_base_/default_runtime.py']

model = dict(type='BaseRestorer', generator=dict(type='TemporalMedian'))
