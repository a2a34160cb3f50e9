# EDVR-M (CVPRW 2019) as MMagic has it, behind strided convolutions as its authors put them for input of full size;
# deformable convolution is ours.
model = dict(
    type='BaseRestorer',
    generator=dict(
        type='CentreBaseline',
        network=dict(
            type='mmagic.EDVRNet',
            in_channels=64,
            out_channels=3,
            mid_channels=64,
            num_frames=5,
            deform_groups=8,
            num_blocks_extraction=5,
            num_blocks_reconstruction=10,
            center_frame_idx=2,
            with_tsa=True),
        neighbours=5,
        stem_channels=64,
        tile=512),
    loss=dict(type='BaselineLoss', pixel_loss=dict(type='mmagic.CharbonnierLoss', reduction='mean')))
