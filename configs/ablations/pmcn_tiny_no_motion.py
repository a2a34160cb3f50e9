# pmcn_tiny without memory: the same network and parameters, with every frame aligned with itself instead of the one
# before.
_base_ = ['../pmcn_tiny.py']

model = dict(generator=dict(motion=False))
