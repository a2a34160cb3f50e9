# SVDNet without the snow-aware contrastive loss.
_base_ = ['../svdnet.py']

model = dict(loss=dict(contrast_weight=0.0))
