# Haze of many domains, synthesised while training reads it on procedural scenes and whatever clear images are named:
# --cfg-options "train_dataloader.dataset.videos=[a.mp4,b.mp4]" train_dataloader.dataset.images=DIR
labelled = dict(type='SyntheticDomains', crop_size=256, pipeline=[dict(type='PackClip')])
# photographs of which no clear version exists: ... train_dataloader.dataset.datasets.1.data_root=DIR
unlabelled = dict(type='UnlabelledImages', data_root='data/hazy', crop_size=256, pipeline=[dict(type='PackClip')])
train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=labelled)
