"""Let every Python of this environment begin with mmweather's repairs, for programs of others that never import it.

    python tools/repair_at_startup.py            # once per environment; `make mmagic` does it
    python tools/repair_at_startup.py --remove

MMagic's own tools/train.py, for one, imports torchvision and NumPy's old names before it reads a config, and so before
a config can import mmweather. The repairs (`mmweather doctor` lists them) wait for the modules that they mend: a Python
that imports none of those starts about 20 ms later, and nothing else changes.
"""
import argparse
import site
import sys
from pathlib import Path

NAME = 'mmweather_repairs.pth'
# One line, since site.py executes the lines of such a file that begin with "import". Where mmweather has been removed,
# nothing happens.
LINE = ('import importlib.util as util, importlib; '
        'util.find_spec("mmweather") and importlib.import_module("mmweather")\n')


def main():
    """Writes or removes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--remove', action='store_true', help='undo it')
    args = parser.parse_args()
    if sys.prefix == sys.base_prefix:
        print('mmweather: this Python is not a virtual environment; activate the one that has MMagic', file=sys.stderr)
        return 2
    path = Path(site.getsitepackages()[0], NAME)
    if args.remove:
        path.unlink(missing_ok=True)
        print(f'removed {path}')
    else:
        path.write_text(LINE, encoding='utf-8')
        print(f'wrote {path}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
