# default_runtime.py where MMagic is installed too: its classes are named mmagic.X.
_base_ = 'default_runtime.py'

custom_imports = dict(imports=['mmweather', 'mmweather.mmagic'], allow_failed_imports=False)
