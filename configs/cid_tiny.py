# CID made narrow (1.8 M parameters) and quick: the encoder sees the frames shrunk to a quarter, mean and extremes of
# every square, and a head of ours predicts at an eighth how every pixel's colour changes. Trained in four steps:
# cid_tiny_pretrain_short.py, cid_tiny_pretrain.py, cid_tiny_supervised.py, cid_tiny_adapt.py; see tools/train_cid.sh.
# This config builds, restores and tests.
_base_ = ['_base_/default_runtime.py', '_base_/data_domains_test.py']

model = dict(
    type='WeightedRestorer',
    generator=dict(
        type='CIDNet',
        encoder=dict(
            stem=(16, 16, 32), planes=(16, 32, 64), blocks=(2, 2, 3), base_width=32, pool=False, in_channels=9),
        head=dict(type='affine', hidden=24, squares=(8, 4, 2)),
        shrink=4,
        extremes=True,
        context=True,
        min_size=64,
        tile=2048))
