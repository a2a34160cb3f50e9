# CID's first phase: the encoder is trained on labelled synthetic haze, and on photographs without labels.
# model.generator.encoder.checkpoint=res2net101_v1b_26w_4s-0812c246.pth starts from ImageNet, where the file is at hand.
_base_ = ['cid.py', '_base_/data_domains.py', '_base_/schedule_cid.py']

model = dict(
    type='SemiSupervisedRestorer',
    # loss.vgg_checkpoint=vgg19-dcbb9e9d.pth adds the contrastive term, where the file is at hand.
    loss=dict(type='CIDLoss', sample_weight=0.0),
    consistency_weight=0.5,
    dark_channel_weight=0.01,
    variation_weight=0.01)

train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='WeightedMixture', weights=[3, 1],
        datasets=[{{_base_.labelled}}, {{_base_.unlabelled}}]))
