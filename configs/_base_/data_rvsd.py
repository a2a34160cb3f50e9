# RVSD (80 videos of snow and haze): clips of 5 frames and crops of 256 to train, whole videos to test.
_base_ = 'data_rvsd_test.py'

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='RVSD',
        data_root='data/RVSD',
        num_frames=5,
        pipeline=[
            dict(type='RandomCropClip', size=256),
            dict(type='LoadFrames'),
            dict(type='FlipClip', direction='horizontal', prob=0.5),
            dict(type='FlipClip', direction='vertical', prob=0.5),
            dict(type='TransposeClip', prob=0.5),
            dict(type='PackClip'),
        ]))
