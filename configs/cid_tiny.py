# CID made narrow (0.9 M parameters) and quick: the encoder sees frames at half their size, and a head of ours predicts
# at a quarter how every pixel's colour changes. Trained in three phases: cid_tiny_pretrain.py, cid_tiny_supervised.py,
# cid_tiny_adapt.py; see tools/train_cid.sh. This config builds, restores and tests.
_base_ = ['_base_/default_runtime.py', '_base_/data_domains_test.py']

model = dict(
    type='WeightedRestorer',
    generator=dict(
        type='CIDNet',
        encoder=dict(stem=(12, 12, 24), planes=(12, 24, 48), blocks=(2, 2, 3), pool=False),
        head=dict(type='affine', hidden=20),
        shrink=2,
        min_size=64,
        tile=2048))
