# The third phase of cid_tiny with alignment alone: labelled images keep their tint.
_base_ = ['../cid_tiny_adapt.py']

model = dict(tint_share=0.0)
