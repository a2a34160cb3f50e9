"""Losses that two or more methods use."""
from .pixel import charbonnier

__all__ = ['charbonnier']
