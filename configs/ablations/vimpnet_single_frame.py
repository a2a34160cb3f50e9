# ViMP-Net without time: each frame is a clip of its own, in training and in the test.
_base_ = '../vimpnet.py'

model = dict(generator=dict(window=1, window_overlap=0), test_protocol=None)
train_dataloader = dict(dataset=dict(num_frames=1))
