"""The layout of the authors' published checkpoint (``{'model': state_dict}``) and how its names become ours."""
from ..checkpoint import OfficialLayout

_BLOCKS = dict(mid_conv=0, attention1=1, attention2=2)

OFFICIAL_LAYOUT = OfficialLayout(
    name='CID (authors)',
    signature='enhancer.conv1010.weight',
    renames=(
        (r'^(mid_conv|attention1|attention2)\.', lambda m: f'blocks.{_BLOCKS[m[1]]}.'),
        (r'\.calayer\.ca\.', '.channel_attention.'),
        (r'\.palayer\.pa\.', '.pixel_attention.'),
        (r'^enhancer\.refine1\.', 'head.enhancer.refine.0.'),
        (r'^enhancer\.refine2\.', 'head.enhancer.refine.2.'),
        (r'^enhancer\.refine3\.', 'head.enhancer.merge.'),
        (r'^enhancer\.conv10(\d)0\.', lambda m: f'head.enhancer.summaries.{int(m[1]) - 1}.1.'),
        (r'^enhancer\.batch1\.', 'head.unused_norm.'),
        (r'^tail1\.1\.', 'head.to_image.'),
    ))
