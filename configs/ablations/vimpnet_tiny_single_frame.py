# vimpnet_tiny without time: each frame is a clip of its own, in training and in the test.
_base_ = '../vimpnet_tiny.py'

model = dict(generator=dict(window=1, window_overlap=0))
train_dataloader = dict(dataset=dict(num_frames=1))
