# Restormer (CVPR 2022) as MMagic has it, frame by frame.
model = dict(
    type='BaseRestorer',
    generator=dict(
        type='FrameBaseline',
        network=dict(
            type='mmagic.Restormer',
            dim=48,
            num_blocks=[4, 6, 6, 8],
            num_refinement_blocks=4,
            heads=[1, 2, 4, 8],
            ffn_expansion_factor=2.66,
            bias=False,
            LayerNorm_type='WithBias'),
        size_divisor=8,
        tile=512),
    loss=dict(type='BaselineLoss', pixel_loss=dict(type='mmagic.L1Loss', loss_weight=1.0, reduction='mean')))
