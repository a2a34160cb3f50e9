# CID's published network. It is trained in three phases: cid_pretrain.py, cid_supervised.py, cid_adapt.py; see
# tools/train_cid.sh. This config builds, restores and tests.
_base_ = ['_base_/default_runtime.py', '_base_/data_domains_test.py']

model = dict(
    type='WeightedRestorer',
    generator=dict(type='CIDNet'),
    # whole frames cropped to a multiple of 16, as the authors' script does; None pads instead
    test_protocol='published')
