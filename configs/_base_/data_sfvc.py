# SFVC (Stereo Foggy Video Cityscapes): clips of 7 stereo frames, crops of 256 to train; whole clips to test, left and
# right view scored apart beside the hazy input.
beta = 0.01
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='SFVC',
        data_root='data/SFVC',
        beta=beta,
        num_frames=7,
        pipeline=[
            dict(type='RandomCropClip', size=256),
            dict(type='LoadFrames'),
            dict(type='StackViews'),
            # swaps the views, too; the published loader did not
            dict(type='FlipClip', direction='horizontal', prob=0.5),
            dict(type='FlipClip', direction='vertical', prob=0.5),
            dict(type='PackClip'),
        ]))
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SFVC',
        data_root='data/SFVC',
        split='test',
        beta=beta,
        num_frames=None,
        test_mode=True,
        pipeline=[dict(type='LoadFrames'), dict(type='StackViews'), dict(type='PackClip')]))
test_evaluator = dict(type='RestorationMetric', protocol='sfvc', baseline=True)
test_cfg = dict(type='TestLoop')
