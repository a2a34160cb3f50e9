# BIMNet on GoPro by the blur-invariant loss: the first of PVDNet's two stages. The published schedule was not found;
# this is that of the second stage, with a clip's 14 pairs of frames in one step.
_base_ = ['_base_/default_runtime.py', '_base_/schedule_pvdnet_ca.py', '_base_/data_gopro.py']

model = dict(
    type='MotionRestorer',
    # weights of LiteFlowNet are a good start: --cfg-options load_from=FILE
    generator=dict(type='BIMNet'),
    loss=dict(type='BlurInvariantLoss', pyramid_weight=1.0, draw=1))
test_dataloader = None
test_evaluator = None
test_cfg = None
