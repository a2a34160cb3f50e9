# GoPro: clips of 13 targets with a frame of context at each end, crops of 256 to train; whole videos to test.
_base_ = 'data_gopro_test.py'

train_dataloader = dict(
    # with 4 GPUs, or 8 on one
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='GoPro',
        data_root='data/GoPro',
        num_frames=13,
        context=1,
        pipeline=[
            dict(type='RandomCropClip', size=256),
            dict(type='LoadFrames'),
            dict(type='PackClip'),
        ]))
