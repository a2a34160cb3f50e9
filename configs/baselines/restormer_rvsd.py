# Restormer on RVSD, to compare with ours. Needs MMagic: make mmagic.
_base_ = [
    '../_base_/default_runtime_mmagic.py',
    '../_base_/schedule_baseline.py',
    '../_base_/baseline_restormer.py',
    '../_base_/data_rvsd.py',
]
