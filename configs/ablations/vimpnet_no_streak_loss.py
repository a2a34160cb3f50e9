# ViMP-Net whose map of the streaks, the guidance of its alignment, is not told what streaks are.
_base_ = '../vimpnet.py'

model = dict(loss=dict(streak_weight=0.0))
