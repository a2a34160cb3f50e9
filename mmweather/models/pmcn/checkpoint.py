"""The layout of the authors' checkpoints and how its names become ours."""
from ..checkpoint import OfficialLayout

_SIDES = dict(left=0, right=1)

PMCN_LAYOUT = OfficialLayout(
    name='PMCN (authors)',
    signature='basicblock_1.PIM.embedding_left.weight',
    renames=(
        (r'^feature_extraction\.head_conv\.', 'extract.head.'),
        (r'^feature_extraction\.', 'extract.'),
        (r'^feature_reconstrution\.end_conv\.0\.', 'reconstruct.tail.'),
        (r'^feature_reconstrution\.', 'reconstruct.'),
        (r'^basicblock_(\d)\.', lambda m: f'blocks.{int(m[1]) - 1}.'),
        (r'\.PIM\.embedding_left\.', '.parallax.query.'),
        (r'\.PIM\.embedding_right\.', '.parallax.key.'),
        (r'\.PIM\.embedding_(left|right)_V\.', lambda m: f'.parallax.values.{_SIDES[m[1]]}.'),
        (r'\.PIM\.outconv_(left|right)\.', lambda m: f'.parallax.outputs.{_SIDES[m[1]]}.'),
        (r'\.PIM\.head_conv\.0\.', '.parallax.mix.'),
        (r'\.PIM\.sknet_([12])\.', lambda m: f'.parallax.merges.{int(m[1]) - 1}.'),
        (r'\.PIM\.', '.parallax.'),
        (r'\.MAM_(left|right)\.', lambda m: f'.motion.{_SIDES[m[1]]}.'),
        (r'\.offset_generator\.0\.', '.guide.'),
        (r'\.dcn\.', '.align.'),
        (r'\.sknet\.', '.merge.'),
        (r'\.fc1\.0\.', '.squeeze.'),
        (r'\.fc2\.', '.excite.'),
        (r'\.ddf\.', '.dynamic.'),
    ))
