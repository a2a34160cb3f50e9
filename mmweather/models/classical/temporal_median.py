"""The temporal median over aligned frames: snow and rain removed without having learned anything.

What falls covers a place for a frame or two, so the median over time of each pixel is free of it, if the frames are
aligned and still show the same (Hase et al., "Realtime detection of snowfall by a stationary camera", 1999, in its
simplest form; alignment by flow is customary since). It takes no haze away.
"""
import cv2
import numpy as np
import torch

from mmweather.models.temporal import RecurrentNetwork
from mmweather.registry import MODELS

from ..layers import flow_warp

__all__ = ['TemporalMedian']


@MODELS.register_module()
class TemporalMedian(RecurrentNetwork):
    """The median of each pixel over a frame and its aligned neighbours; a baseline without parameters.

    Neighbours are aligned by OpenCV's DIS flow (Kroeger et al., ECCV 2016), which runs on the CPU. Where an aligned
    neighbour leaves the frame or shows something else, the frame itself stands in for it.

    Args:
        radius (int): Neighbours on each side; 2 means a median of 5. Defaults to 2.
        tolerance (float): Mean difference in a neighbourhood of 9 pixels, for values in [0, 1], beyond which an aligned
            neighbour is taken to show something else. Defaults to 0.2.
    """

    needs_weights = False
    # neighbours across a cut show another scene
    scene_cuts = True

    def __init__(self, radius=2, tolerance=0.2):
        super().__init__()
        if radius < 1:
            raise ValueError(f'radius: expected at least 1, got {radius}')
        self.lookahead = self.radius = radius
        self.tolerance = tolerance

    def init_state(self, frames):
        """Nothing comes before the first frame: its median is over fewer frames."""
        return frames[:, :0]

    def step(self, frames, state):
        """Restore one frame; see :meth:`RecurrentNetwork.step`. The state is up to ``radius`` frames before it."""
        here = frames[:, 0]
        # behind the end of a video its last frame is repeated, which would outvote the others
        after = [later for earlier, later in zip(frames.unbind(1), frames.unbind(1)[1:])
                 if not torch.equal(earlier, later)]
        observed = [here, *(self._aligned(here, other) for other in (*state.unbind(1), *after))]
        # of an even number of frames this takes the lower middle: what falls is bright
        return torch.stack(observed).median(dim=0).values, torch.cat((state, frames[:, :1]), dim=1)[:, -self.radius:]

    def _aligned(self, here, other):
        """``other`` ``(N, 3, H, W)`` as seen from ``here``, which fills what it does not show."""
        flow = torch.stack([_dis_flow(*pair) for pair in zip(here, other)]).to(here)
        warped = flow_warp(other, flow, padding_mode='border')
        shown = flow_warp(torch.ones_like(other[:, :1]), flow) > 0.999
        difference = (warped - here).abs().mean(dim=1, keepdim=True)
        close = torch.nn.functional.avg_pool2d(difference, 9, stride=1, padding=4,
                                               count_include_pad=False) < self.tolerance
        return torch.where(shown & close, warped, here)


def _dis_flow(here, other):
    """DIS flow from ``here`` to ``other``, each ``(3, H, W)`` in [0, 1]; ``(2, H, W)`` in pixels."""
    gray = [cv2.cvtColor((frame * 255).round().byte().permute(1, 2, 0).cpu().numpy(), cv2.COLOR_RGB2GRAY)
            for frame in (here, other)]
    # flakes are smaller than what moves
    gray = [cv2.medianBlur(image, 5) for image in gray]
    if min(gray[0].shape) < 16:  # less than DIS can make a pyramid of
        return torch.zeros(2, *gray[0].shape)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*gray, None)
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))
