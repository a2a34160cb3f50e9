"""The layouts of the authors' published checkpoints and how their names become ours."""
from ..checkpoint import OfficialLayout

_LEVELS = dict(One=0, Two=1, Thr=2, Fou=3, Fiv=4, Six=5)

_MOTION = (
    (r'\bmoduleFeatures\.module(\w{3})\.', lambda m: f'features.{_LEVELS[m[1]]}.'),
    (r'\bmoduleMatching\.', 'matching.'),
    (r'\bmoduleSubpixel\.', 'subpixel.'),
    (r'\bmoduleRegularization\.', 'regularisation.'),
    (r'\.moduleFeat\.', '.widen.'),
    (r'\.moduleMain\.', '.main.'),
    (r'\.moduleDist\.', '.distance.'),
    (r'\.moduleScaleX\.', '.combine_x.'),
    (r'\.moduleScaleY\.', '.combine_y.'),
    (r'\.moduleUpflow\.', '.upsample_flow.'),
    (r'\.moduleUpcorr\.', '.upsample_cost.'),
)

#: PVDNet_DVD.pytorch, PVDNet_nah.pytorch, PVDNet_large_nah.pytorch: both networks in one file.
PVDNET_LAYOUT = OfficialLayout(
    name='PVDNet (authors)',
    signature='PVDNet.PV_dec.0.weight',
    renames=(
        (r'^BIMNet\.', 'motion.'),
        *_MOTION,
        (r'^PVDNet\.PV_dec\.', 'deblur.volume_branch.'),
        (r'^PVDNet\.img_dec\.', 'deblur.image_branch.'),
        (r'^PVDNet\.d0\.', 'deblur.merge.'),
        (r'^PVDNet\.d1\.', 'deblur.down1.'),
        (r'^PVDNet\.temp\.', 'deblur.down2.'),
        (r'^PVDNet\.RBs\.', 'deblur.body.'),
        (r'^PVDNet\.RB_end\.', 'deblur.body_end.'),
        (r'^PVDNet\.dconv(\d)\.', r'deblur.up\1.'),
        (r'^PVDNet\.dconv(\d)_end\.1\.', r'deblur.up\1_end.0.'),
        (r'^PVDNet\.end\.', 'deblur.to_residual.'),
    ))

#: BIMNet.pytorch: the motion estimation alone, with or without the name of the attribute that held it.
BIMNET_LAYOUTS = tuple(
    OfficialLayout(name='BIMNet (authors)', signature=f'{prefix}moduleFeatures.moduleOne.0.weight',
                   ignored=(r'^PVDNet\.', ), renames=((r'^BIMNet\.', ''), *_MOTION))
    for prefix in ('', 'BIMNet.'))
