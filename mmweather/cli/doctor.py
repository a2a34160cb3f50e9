"""``mmweather doctor``: what is installed, what serves which op, what was repaired, what is missing for what.

It must run where nothing else does, so every part is examined by itself, and what goes wrong in one is its finding.
"""
import json
import os
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import click

#: Distributions that install the same folder: more than one of a family overwrite each other's files.
_FAMILIES = {
    'OpenCV': ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python', 'opencv-contrib-python-headless'),
    'MMCV': ('mmcv', 'mmcv-lite', 'mmcv-full'),
}
_PACKAGES = ('torch', 'numpy', 'mmengine', 'av', 'safetensors', 'triton', 'mmagic', 'openmim', 'setuptools')
_LIBRARIES = ('libavcodec', 'libavformat')
_ENCODERS = ('libx264', 'ffv1', 'aac')
_MIM_REMEDY = ('pip install --no-deps openmim && pip install click colorama model-index pandas requests rich tabulate '
               '"setuptools>=77,<82"')


@click.command()
@click.option('--json', 'as_json', is_flag=True, help='Print everything as JSON.')
def command(as_json):
    """Say what is installed, what serves which op, and what is missing for which feature."""
    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)


def examine():
    """Examines this installation.

    Returns:
        dict: Lists of rows (dicts of text and flags), by section: ``versions``, ``devices``, ``ops``, ``repairs``,
        ``weights``, ``features`` and ``faults``.
    """
    faults = []
    # MMEngine first: versions and devices are asked of modules that the repairs wait for.
    for module in ('cv2', 'mmengine.hub', 'mmengine.runner', 'av'):
        _attempt(faults, f'import {module}', __import__, module)
    sections = {
        'versions': _versions, 'devices': _devices, 'ops': _ops, 'repairs': _repairs, 'weights': _weights,
        'features': _features
    }
    report = {name: _attempt(faults, name, section) or [] for name, section in sections.items()}
    report['faults'] = _clashes() + faults + _failed_repairs(report['repairs'])
    return report


def _attempt(faults, what, function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever is broken here is what this command is asked for
        faults.append({'fault': f'{what}: {error!r}', 'remedy': _remedy(error)})


def _remedy(error):
    if 'libGL' in str(error) or 'libgthread' in str(error):
        return 'pip uninstall -y opencv-python && pip install opencv-python-headless (this machine has no display)'
    if isinstance(error, ModuleNotFoundError):
        return f'pip install {error.name}'
    return 'reinstall the package that is named'


def _version(distribution):
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _installed(family):
    return [f'{name} {version}' for name in _FAMILIES[family] if (version := _version(name))]


def _versions():
    from mmweather import __file__ as package
    from mmweather import __version__
    rows = [('mmweather', f'{__version__} in {Path(package).parent}'),
            ('Python', f'{platform.python_version()} in {sys.prefix}'), ('system', platform.platform())]
    rows += [(name, _version(name) or 'not installed') for name in _PACKAGES]
    rows += [(family, ', '.join(_installed(family)) or 'not installed') for family in _FAMILIES]
    if 'av' in sys.modules:
        import av
        libraries = [f'{name} {".".join(map(str, av.library_versions[name]))}' for name in _LIBRARIES]
        rows.append(('FFmpeg (in av)', ', '.join(libraries)))
        missing = _missing_encoders()
        rows.append(('encoders', ', '.join(f'{name}{" missing" if name in missing else ""}' for name in _ENCODERS)))
    return [{'name': name, 'version': version} for name, version in rows]


def _missing_encoders():
    from av.codec import Codec
    missing = []
    for name in _ENCODERS:
        try:
            Codec(name, 'w')
        except ValueError:  # av's UnknownCodecError is one
            missing.append(name)
    return missing


def _devices():
    import torch
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') if hasattr(os, 'sysconf') else 0
    rows = [{
        'device': 'cpu',
        'name': _cpu_name(),
        'memory_gib': round(memory / 2**30, 1),
        'bfloat16': _cpu_is_fast_in_bfloat16(torch),
        'details': f'{os.cpu_count()} cores, {torch.get_num_threads()} threads, '
        f'{torch.backends.cpu.get_cpu_capability()}',
    }]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        rows.append({
            'device': f'cuda:{index}',
            'name': properties.name,
            'memory_gib': round(properties.total_memory / 2**30, 1),
            'bfloat16': properties.major >= 8,
            'details': f'compute capability {properties.major}.{properties.minor}, CUDA {torch.version.cuda}',
        })
    return rows


def _cpu_name():
    information = Path('/proc/cpuinfo')
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def _cpu_is_fast_in_bfloat16(torch):
    """Whether matrix products and convolutions in bfloat16 use instructions of their own (AVX-512 BF16, AMX)."""
    supported = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', None)
    return bool(supported and supported())


def _ops():
    import mmweather.ops  # noqa: F401 - registers the operators
    from mmweather.ops.backend import describe_backends
    return [{**row._asdict(), 'available': list(row.available)} for row in describe_backends()]


def _repairs():
    from mmweather import compat
    return compat.status()


def _weights():
    from mmweather.zoo import bundled_weights
    return [{'model': name, 'mib': round(path.stat().st_size / 2**20, 2), 'file': str(path)}
            for name, path in bundled_weights().items()]


def _features():
    """What the package can do here: rows of feature, whether it is ready, and what to do where it is not."""
    import torch

    def needs(*modules):
        return [module for module in modules if find_spec(module) is None]

    rows = [('restore without a checkpoint', not _weights(), 'install mmweather again: its weights are missing'),
            ('write H.264 video and copy its audio', 'av' not in sys.modules or _missing_encoders(),
             'pip install --force-reinstall av'),
            ('LPIPS', not _attempt([], 'LPIPS', _lpips),
             'set MMWEATHER_LPIPS to a saved state dict of lpips.LPIPS(net="alex")'),
            ('TensorBoard', needs('tensorboard'), 'pip install tensorboard'),
            ('page in the browser', needs('gradio'), "pip install 'mmweather[ui]'"),
            ('ONNX export', needs('onnx', 'onnxscript'), 'pip install onnx onnxscript'),
            ('GPU', not torch.cuda.is_available(), 'works without; needs an NVIDIA driver and a CUDA build of torch'),
            ('Triton kernels', needs('triton') or not torch.cuda.is_available(),
             'works without; comes with the CUDA builds of torch'),
            ('mim train|test|search', needs('mim', 'pkg_resources') or not _mim_content(),
             _MIM_REMEDY if needs('mim', 'pkg_resources') else 'install mmweather: it is run from its sources'),
            ('models of MMagic', needs('mmagic'), 'works without; pip install mmagic')]
    return [{'feature': feature, 'ready': not missing, 'remedy': remedy if missing else ''}
            for feature, missing, remedy in rows]


def _lpips():
    from mmweather.evaluation.lpips import find_lpips
    return find_lpips()


def _mim_content():
    if not _version('mmweather'):
        return False
    return Path(metadata.distribution('mmweather').locate_file('mmweather/.mim/model-index.yml')).exists()


def _clashes():
    return [{
        'fault': f'{" and ".join(_installed(family))} overwrite each other\'s files',
        'remedy': f'pip uninstall -y {" ".join(_FAMILIES[family])} && pip install {_installed(family)[0].split()[0]}',
    } for family in _FAMILIES if len(_installed(family)) > 1]


def _failed_repairs(repairs):
    return [{'fault': f'{repair["name"]}: the repair {repair["state"]}; {repair["symptom"]}',
             'remedy': 'use the releases that requirements.txt names'}
            for repair in repairs if repair['state'].startswith('failed')]


def _show(report):
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    console = Console(highlight=False)

    def show(title, columns, rows, nothing=''):
        if not rows:
            if nothing:
                console.print(f'[bold]{title}[/bold]: {nothing}\n')
            return
        table = Table(title=title, title_justify='left', title_style='bold', box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, overflow='fold')
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)

    def yes(flag):
        return '[green]yes[/green]' if flag else '[yellow]no[/yellow]'

    show('Versions', ('what', 'version'), [row.values() for row in report['versions']])
    show('Devices', ('device', 'name', 'GiB', 'fast bfloat16', 'details'),
         [(row['device'], row['name'], row['memory_gib'], yes(row['bfloat16']), row['details'])
          for row in report['devices']])
    show('Operators', ('op', 'on CPU', 'on CUDA', 'available', 'why'),
         [(row['op'], row['cpu'], row['cuda'], ', '.join(row['available']), row['why']) for row in report['ops']])
    show('Repairs of dependencies', ('repair', 'state', 'without it'),
         [(row['name'], row['state'], row['symptom']) for row in report['repairs']])
    show('Bundled weights', ('model', 'MiB', 'file'), [row.values() for row in report['weights']], 'none')
    show('Features', ('feature', 'ready', 'what to do'),
         [(row['feature'], yes(row['ready']), row['remedy']) for row in report['features']])
    show('Faults', ('fault', 'remedy'), [row.values() for row in report['faults']], '[green]none[/green]')
