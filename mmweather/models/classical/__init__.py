"""Classical methods: baselines that are computed and not learned, and need no weights."""
from .dark_channel import DarkChannelPrior
from .temporal_median import TemporalMedian

__all__ = ['DarkChannelPrior', 'TemporalMedian']
