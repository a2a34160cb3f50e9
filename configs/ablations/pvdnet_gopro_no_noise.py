# PVDNet trained without the noise that the published training adds to half of the frames.
_base_ = '../pvdnet_gopro.py'

model = dict(noise_prob=0.0)
