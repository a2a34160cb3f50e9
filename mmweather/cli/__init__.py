"""The command ``mmweather``. Every command is a file here with a ``click`` command named ``command``."""
