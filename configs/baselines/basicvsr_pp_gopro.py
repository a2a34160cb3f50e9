# BasicVSR++ on GoPro, to compare with ours. Needs MMagic: make mmagic.
_base_ = [
    '../_base_/default_runtime_mmagic.py',
    '../_base_/schedule_baseline.py',
    '../_base_/baseline_basicvsr_pp.py',
    '../_base_/data_gopro.py',
]

# a clip of 5 frames without context, of the batch that the base has
train_dataloader = dict(dataset=dict(num_frames=5, context=0))
