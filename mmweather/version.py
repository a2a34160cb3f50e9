"""The version, in one place for the package, for ``setup.py`` and for mim."""
__version__ = '0.1.0'
