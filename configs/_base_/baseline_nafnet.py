# NAFNet (ECCV 2022) of width 64 as MMagic has it for GoPro, frame by frame.
model = dict(
    type='BaseRestorer',
    generator=dict(
        type='FrameBaseline',
        network=dict(
            type='mmagic.NAFNet',
            img_channels=3,
            mid_channels=64,
            enc_blk_nums=[1, 1, 1, 28],
            middle_blk_num=1,
            dec_blk_nums=[1, 1, 1, 1]),
        size_divisor=16),
    loss=dict(type='BaselineLoss', pixel_loss=dict(type='mmagic.PSNRLoss')))
