"""Test by a config: `python tools/test.py -h`."""
import sys

from mmweather.engine.run import test_main

if __name__ == '__main__':
    sys.exit(test_main())
