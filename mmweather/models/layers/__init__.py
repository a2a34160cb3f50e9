"""Blocks that two or more methods use."""
from .alignment import SecondOrderDeformableAlignment
from .conv3d import ClipConv3d
from .init import kaiming_init
from .lucas_kanade import LucasKanade
from .propagation import BidirectionalPropagation, neighbour_flows
from .reconstruction import ClipReconstruction
from .residual import ResidualBlock, ResidualBlock3d, ResidualBlocksWithInputConv
from .spynet import SPyNet
from .warp import flow_warp
from .window import window_mean

__all__ = [
    'BidirectionalPropagation', 'ClipConv3d', 'ClipReconstruction', 'LucasKanade', 'ResidualBlock', 'ResidualBlock3d',
    'ResidualBlocksWithInputConv', 'SPyNet', 'SecondOrderDeformableAlignment', 'flow_warp', 'kaiming_init',
    'neighbour_flows', 'window_mean',
]
