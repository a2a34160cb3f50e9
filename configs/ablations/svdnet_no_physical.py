# SVDNet without the physical heads: neither snow layer nor transmission nor airlight, nor their inverse.
_base_ = ['../svdnet.py']

model = dict(generator=dict(physical=False))
