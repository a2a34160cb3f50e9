# pvdnet_tiny trained without the noise that the published training adds to half of the frames.
_base_ = '../pvdnet_tiny.py'

model = dict(noise_prob=0.0)
