"""Hooks, loops, samplers and wrappers that MMEngine lacks, and the entry points of training and testing.

Nothing is imported here: ``tools/train.py -h`` must answer before PyTorch is loaded. The registries name the modules
that register something.
"""
