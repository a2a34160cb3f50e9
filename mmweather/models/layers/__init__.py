"""Blocks that two or more methods use."""
from .alignment import SecondOrderDeformableAlignment
from .propagation import BidirectionalPropagation, neighbour_flows
from .reconstruction import ClipReconstruction
from .residual import ResidualBlock, ResidualBlocksWithInputConv, ResidualBlock3d
from .spynet import SPyNet
from .warp import flow_warp

__all__ = [
    'BidirectionalPropagation', 'ClipReconstruction', 'ResidualBlock', 'ResidualBlock3d',
    'ResidualBlocksWithInputConv', 'SPyNet', 'SecondOrderDeformableAlignment', 'flow_warp', 'neighbour_flows',
]
