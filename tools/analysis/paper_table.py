"""Published numbers beside your own, with the protocol named.

    python tools/analysis/paper_table.py vrds
    python tools/analysis/paper_table.py vrds --ours mine=work_dirs/vimpnet/vrds.json

Your numbers are what a test has written to its work dir, <protocol>.json; one that was taken by another protocol is
refused, since the two could not be compared. Who reported a published number is in the last column.
"""
import argparse
import json
import sys
from pathlib import Path

RAINMAMBA = 'RainMamba, by the first author of ViMP-Net'
TURTLE = 'TURTLE'
SEMIVDN = 'SemiVDN'
LOGS = "the authors' test logs"
USER = 'a user of the released checkpoint, PVDNet issue 2'

#: By data set: the protocol, and (method, PSNR, SSIM, LPIPS or None, source) for each.
PUBLISHED = {
    'vrds': ('vrds', [
        ('CCN', 23.75, .8410, .2091, RAINMAMBA),
        ('SLDNet', 23.65, .8736, .1790, RAINMAMBA),
        ('S2VD', 18.95, .6630, .2833, RAINMAMBA),
        ('EDVR', 19.19, .6363, None, TURTLE),
        ('PReNet', 27.13, .9014, .1266, RAINMAMBA),
        ('ESTINet', 27.17, .8436, .2253, RAINMAMBA),
        ('RVRT', 28.24, .8857, .1438, RAINMAMBA),
        ('RDD', 28.39, .9096, .1168, RAINMAMBA),
        ('DRSformer', 28.54, .9075, .1143, RAINMAMBA),
        ('MPRNet', 29.53, .9175, .0987, RAINMAMBA),
        ('Restormer', 29.59, .9206, .0925, RAINMAMBA),
        ('BasicVSR++', 29.75, .9171, .1023, RAINMAMBA),
        ('ViMP-Net', 31.02, .9283, .0862, RAINMAMBA),
        ('TURTLE', 32.01, .9590, None, TURTLE),
        ('RainMamba', 32.04, .9366, .0684, RAINMAMBA),
    ]),
    'rvsd': ('rvsd', [
        ('EDVR', 17.93, .5790, None, TURTLE),
        ('RVRT', 20.90, .7974, None, TURTLE),
        ('BasicVSR', 22.46, .8473, None, TURTLE),
        ('BasicVSR++', 22.64, .8618, None, TURTLE),
        ('S2VD', 22.95, .8590, None, TURTLE),
        ('RDDNet', 22.97, .8742, None, TURTLE),
        ('TransWeather', 23.11, .8543, None, TURTLE),
        ('SnowFormer', 24.01, .8939, .1219, SEMIVDN),
        ('Restormer', 24.34, .8929, .1164, SEMIVDN),
        ('SVDNet', 25.06, .9210, .0842, SEMIVDN),
        ('SemiVDN', 25.68, .9254, .0785, SEMIVDN),
        ('TURTLE', 26.02, .9230, None, TURTLE),
    ]),
    'gopro': ('plain', [('PVDNet', 31.09, .9140, None, USER)]),
    'dvd': ('plain', [('PVDNet', 31.89, .9236, None, USER)]),
    'sfvc_0.005': ('sfvc', [('hazy, left', 18.58, .9119, None, LOGS), ('PMCN, left', 32.2349, .9756, None, LOGS),
                            ('hazy, right', 18.56, .9111, None, LOGS), ('PMCN, right', 31.9357, .9740, None, LOGS)]),
    'sfvc_0.01': ('sfvc', [('hazy, left', 14.50, .8441, None, LOGS), ('PMCN, left', 31.1114, .9678, None, LOGS),
                           ('hazy, right', 14.50, .8435, None, LOGS), ('PMCN, right', 30.6845, .9662, None, LOGS)]),
    'sfvc_0.02': ('sfvc', [('hazy, left', 10.98, .7542, None, LOGS), ('PMCN, left', 28.6944, .9525, None, LOGS),
                           ('hazy, right', 10.99, .7536, None, LOGS), ('PMCN, right', 28.5408, .9518, None, LOGS)]),
}


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('data', choices=sorted(PUBLISHED), help='the data set')
    parser.add_argument('--ours', nargs='+', default=[], metavar='NAME=FILE', help='results of your own tests')
    args = parser.parse_args()
    from mmweather.errors import UserError
    try:
        print(table(args.data, [read_own(entry, PUBLISHED[args.data][0]) for entry in args.ours]))
    except UserError as error:
        print(f'mmweather: {error}', file=sys.stderr)
        return error.exit_code
    return 0


def read_own(entry, protocol):
    """Rows of one test, one per view for stereo.

    Args:
        entry (str): 'NAME=FILE'.
        protocol (str): The protocol that the file must be of.

    Returns:
        list[tuple]: Rows as in :data:`PUBLISHED`.

    Raises:
        UserError: If the file is missing, no result of a test, or of another protocol.
    """
    from mmweather.errors import UserError
    name, equals, path = entry.partition('=')
    if not equals:
        raise UserError(f'--ours {entry}: expected NAME=FILE, for example mine=work_dirs/vimpnet/{protocol}.json')
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
        mean, found = content['mean'], content['protocol']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path}: not the result of a test ({error!r}); give the <protocol>.json from the work dir of '
                        'tools/test.py') from error
    if found != protocol:
        raise UserError(f'{path} was taken by the protocol {found}, the published numbers by {protocol}; add '
                        f"dict(type='RestorationMetric', protocol='{protocol}') to the test_evaluator")
    views = [view for view in ('', 'left_', 'right_') if f'{view}PSNR' in mean]
    return [(f'{name}, {view[:-1]}' if view else name, float(mean[f'{view}PSNR']), float(mean[f'{view}SSIM']),
             mean.get(f'{view}LPIPS'), 'this machine') for view in views]


def table(data, own=()):
    """The table in Markdown, worst first.

    Args:
        data (str): A key of :data:`PUBLISHED`.
        own (Sequence[list[tuple]]): From :func:`read_own`. Defaults to ().

    Returns:
        str: The table.
    """
    protocol, rows = PUBLISHED[data]
    rows = sorted([*rows, *(row for rows in own for row in rows)], key=lambda row: row[1])
    lines = [f'{data}, protocol `{protocol}`', '', '| method | PSNR | SSIM | LPIPS | reported by |',
             '| --- | ---: | ---: | ---: | --- |']
    for name, psnr, ssim, lpips, source in rows:
        lines.append(f'| {name} | {psnr:.2f} | {ssim:.4f} | {"" if lpips is None else f"{lpips:.4f}"} | {source} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
