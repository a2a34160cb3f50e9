# BasicVSR++ (CVPR 2022) as MMagic has it, in the form for input of full size; deformable convolution is ours. Its flow
# network sees a quarter of the resolution and wants 64 pixels there. Weights of SPyNet are a good start:
# --cfg-options model.generator.network.spynet_pretrained=FILE
model = dict(
    type='BaseRestorer',
    generator=dict(
        type='ClipBaseline',
        network=dict(
            type='mmagic.BasicVSRPlusPlusNet', mid_channels=64, num_blocks=7, is_low_res_input=False,
            spynet_pretrained=None),
        size_divisor=4,
        min_size=256,
        tile=512),
    loss=dict(type='BaselineLoss', pixel_loss=dict(type='mmagic.CharbonnierLoss', reduction='mean')))
