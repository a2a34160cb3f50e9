# BasicVSR++ on VRDS, to compare with ours. Needs MMagic: make mmagic.
_base_ = [
    '../_base_/default_runtime_mmagic.py',
    '../_base_/schedule_baseline.py',
    '../_base_/baseline_basicvsr_pp.py',
    '../_base_/data_vrds.py',
    '../_base_/data_vrds_test.py',
]
