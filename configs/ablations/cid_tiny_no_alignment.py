# The third phase of cid_tiny without alignment: the tint of the target alone.
_base_ = ['../cid_tiny_adapt.py']

model = dict(alignment=None)
