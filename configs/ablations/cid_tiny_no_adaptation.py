# The third phase of cid_tiny without adaptation: the labelled source alone goes on being trained on.
_base_ = ['../cid_tiny_adapt.py']

model = dict(alignment=None, tint_share=0.0, dark_channel_weight=0.0)
