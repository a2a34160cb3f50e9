# SVDNet without snow-query temporal aggregation: frames meet in the propagation only.
_base_ = ['../svdnet.py']

model = dict(generator=dict(num_aggregations=0))
