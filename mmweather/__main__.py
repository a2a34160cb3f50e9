"""``python -m mmweather`` is the command ``mmweather``."""
from .cli.main import main

if __name__ == '__main__':
    main()
