"""Train by a config: `python tools/train.py -h`."""
import sys

from mmweather.engine.run import train_main

if __name__ == '__main__':
    sys.exit(train_main())
