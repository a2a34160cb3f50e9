# The second phase of cid_tiny with all samples weighing alike.
_base_ = ['../cid_tiny_supervised.py']

model = dict(weighting=None)
