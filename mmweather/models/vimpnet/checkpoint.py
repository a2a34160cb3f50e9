"""The layout of the authors' published checkpoint and how its names become ours."""
from ..checkpoint import OfficialLayout

_TRANSFORMER = 'Dual_Raindrop_gnostic_Transformer.'

OFFICIAL_LAYOUT = OfficialLayout(
    name='ViMP-Net (authors)',
    # A key that only the authors' files have.
    signature=_TRANSFORMER + 'ss.embedding.weight',
    # A counter that the authors' training loop left in the file.
    ignored=(r'^step_counter$', ),
    renames=(
        (r'^spynet\.basic_module\.(\d+)\.basic_module\.(\d+)\.conv\.',
         lambda m: f'spynet.levels.{m[1]}.{2 * int(m[2])}.'),
        (r'^feat_extract\.4\.main\.', 'extract.4.'),
        (r'^feat_extract\.', 'extract.'),
        (r'^deform_align\.(backward|forward)_1\.', r'propagation.align.\1_pass.'),
        (r'^backbone\.(backward|forward)_1\.main\.', r'propagation.refine.\1_pass.'),
        (r'^reconstruction\.input_conv\.', 'reconstruction.fuse.'),
        (r'^reconstruction\.res_blocks\.', 'reconstruction.blocks.'),
        (r'^reconstruction\.conv_before_upsample([12])\.', r'reconstruction.upsample.conv\1.'),
        (r'^conv_last\.', 'to_stage1.'),
        (r'^S_mask_streak\.', 'streak_head.'),
        (r'^S_mask_drop\.', 'drop_head.'),
        (r'^Dual_Raindrop_gnostic_Transformer\.', 'transformer.'),
        (r'^transformer\.downdropbg\.', 'transformer.encode_masked_pair.'),
        (r'^transformer\.downdrop1\.', 'transformer.encode_frames.'),
        (r'^transformer\.downdrop2\.', 'transformer.encode_background.'),
        (r'^(transformer\.encode_\w+)\.conv_first\.', r'\1.0.'),
        (r'^(transformer\.encode_\w+)\.conv1\.', r'\1.2.'),
        (r'^(transformer\.encode_\w+)\.conv2\.', r'\1.4.'),
        (r'^transformer\.ss\.embedding\.', 'transformer.patches.to_token.'),
        (r'^transformer\.sc\.embedding\.', 'transformer.patches.to_patch.'),
        (r'^transformer\.sc\.bias_conv\.', 'transformer.patches.smooth.'),
        (r'^transformer\.TokenLearner\.conv_layer\.', 'transformer.merge_tokens.'),
        (r'^transformer\.transformer\.', 'transformer.blocks.0.'),
        (r'^transformer\.transformer1\.', 'transformer.blocks.1.'),
        (r'^transformer\.Fusion_Transformer\.', 'transformer.fuse.'),
        (r'\.attention\.(query|key|value)_embedding\.', r'.attention.\1.'),
        (r'\.attention\.output_linear\.', '.attention.out.'),
        (r'\.(ffn\d?)\.conv\.0\.', r'.\1.0.'),
        (r'\.(ffn\d?)\.conv\.3\.', r'.\1.2.'),
        (r'^transformer\.conv_before_upsample([12])\.', r'transformer.upsample.conv\1.'),
        (r'^transformer\.conv_last\.', 'transformer.to_residual.'),
    ))
