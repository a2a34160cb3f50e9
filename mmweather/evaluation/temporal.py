"""How steady a video is: the warping error, for any video method.

Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018: each frame is compared with the next one warped onto
it, where the flow is reliable,

    ``E = sum_p M(p) |V_t(p) - V_{t+1}(p + flow(p))|^2 / sum_p M(p)``.

A video that flickers has a large error, but so has one that the flow does not fit, and none has zero: the number says
something only beside that of the ground truth. Flow and mask are estimated once, on the ground truth, and used for
input, output and ground truth alike.
"""
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmweather.errors import UserError
from mmweather.registry import METRICS

__all__ = ['WarpingErrorMetric', 'dis_flow', 'network_flow', 'reliable', 'warping_error']

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def dis_flow(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Optical flow by OpenCV's DIS (Kroeger et al., ECCV 2016).

    Args:
        here (np.ndarray): uint8 RGB ``(H, W, 3)``.
        there (np.ndarray): Likewise.

    Returns:
        np.ndarray: float32 ``(H, W, 2)`` in pixels, x before y: the point at ``p`` is at ``p + flow(p)`` in ``there``.
    """
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (here, there)]
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*gray, None)


def network_flow(model: str = 'svdnet_tiny') -> Flow:
    """Optical flow by the flow network of a bundled network, estimated at the resolution that it is used at.

    Args:
        model (str): A model with bundled weights and a flow network, ``motion`` or ``spynet``. Defaults to
            'svdnet_tiny'.

    Returns:
        Callable: A function like :func:`dis_flow`.
    """
    from mmweather.zoo import load_bundled
    network = load_bundled(model)
    estimator = network.motion if hasattr(network, 'motion') else network.spynet
    scale = getattr(network, 'flow_scale', 4)

    @torch.no_grad()
    def flow(here, there):
        small = [torch.from_numpy(cv2.resize(frame, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA))
                 .permute(2, 0, 1)[None].float() / 255 for frame in (here, there)]
        estimate = estimator(*small)[0].permute(1, 2, 0).numpy()
        height, width = here.shape[:2]
        factor = np.float32([width / estimate.shape[1], height / estimate.shape[0]])
        return cv2.resize(estimate, (width, height), interpolation=cv2.INTER_LINEAR) * factor

    return flow


def reliable(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Where a flow stays in the frame, is no occlusion and is no motion boundary.

    The thresholds are those of Ruder et al., "Artistic Style Transfer for Videos", GCPR 2016, which Lai et al. use.

    Args:
        forward (np.ndarray): Flow from this frame to the next, ``(H, W, 2)``.
        backward (np.ndarray): Flow from the next frame to this one, likewise.

    Returns:
        np.ndarray: bool ``(H, W)``.
    """
    returned = _warp(backward, forward)
    height, width = forward.shape[:2]
    x = np.arange(width) + forward[..., 0]
    y = np.arange(height)[:, None] + forward[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    lengths = np.square(forward).sum(-1) + np.square(returned).sum(-1)
    meets = np.square(forward + returned).sum(-1) <= 0.01 * lengths + 0.5
    slopes = sum(np.square(slope) for axis in (0, 1) for slope in np.gradient(forward[..., axis]))
    smooth = slopes <= 0.01 * np.square(forward).sum(-1) + 0.002
    return inside & meets & smooth


def warping_error(frames: Sequence[np.ndarray], flows: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """Mean squared difference of each frame to the next one warped onto it.

    Args:
        frames (Sequence[np.ndarray]): T frames ``(H, W, 3)``, uint8, or floating point in [0, 1].
        flows (Sequence[np.ndarray]): T - 1 flows from each frame to the next, ``(H, W, 2)`` in pixels.
        masks (Sequence[np.ndarray]): T - 1 masks, where the flows are to be trusted, bool ``(H, W)``.

    Returns:
        float: Mean over the pairs of frames, for values in [0, 1]; NaN if there is no pair with a trusted pixel.

    Raises:
        ValueError: If there is not one flow and one mask per pair of frames.
    """
    if not len(flows) == len(masks) == max(len(frames) - 1, 0):
        raise ValueError(f'{len(frames)} frames have {max(len(frames) - 1, 0)} pairs, but there are {len(flows)} flows '
                         f'and {len(masks)} masks')
    errors = []
    for here, there, flow, mask in zip(frames, frames[1:], flows, masks):
        if mask.any():
            difference = _unit(here) - _warp(_unit(there), flow)
            errors.append(float(np.square(difference[mask]).mean(dtype=np.float64)))
    return float(np.mean(errors)) if errors else float('nan')


def _warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """``image(p + flow(p))``, bilinear, its rim repeated."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR,
                     borderMode=cv2.BORDER_REPLICATE)


def _unit(frame: np.ndarray) -> np.ndarray:
    return frame.astype(np.float32) / 255 if frame.dtype == np.uint8 else frame.astype(np.float32)


@METRICS.register_module()
class WarpingErrorMetric(BaseMetric):
    """The warping error of output, input and ground truth, times 1000, mean over videos.

    Samples may be whole videos or windows of them; pairs of frames across windows are not compared. Of stereo clips the
    left view is taken.

    Args:
        flow (str): ``'dis'`` for OpenCV's DIS, or the name of a model with bundled weights and a SPyNet, such as
            ``'svdnet_tiny'``. Defaults to 'dis'.
        prefix (str): Prefix of the keys. Defaults to 'warping'.
        collect_device (str): As in MMEngine. Defaults to 'cpu'.
        collect_dir (str, optional): As in MMEngine. Defaults to None.
    """

    NAMES = ('output', 'input', 'gt')

    def __init__(self, flow: str = 'dis', prefix: str = 'warping', collect_device: str = 'cpu',
                 collect_dir: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.flow = dis_flow if flow == 'dis' else network_flow(flow)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Compare neighbouring frames of one batch.

        Args:
            data_batch (dict): The batch from the data loader, with ``inputs``.
            data_samples (Sequence[dict]): Samples with ``output``, ``gt`` and ``video``.

        Raises:
            UserError: If a sample has no ground truth.
        """
        for index, sample in enumerate(data_samples):
            if sample.get('gt') is None:
                raise UserError(f'{sample["video"]} has no ground truth to estimate motion on: take WarpingErrorMetric '
                                f'out of the config')
            height, width = sample['gt'].shape[-2:]
            clips = dict(output=sample['output'], input=data_batch['inputs'][index][..., :height, :width],
                         gt=sample['gt'])
            clips = {name: _frames(clip) for name, clip in clips.items()}
            gt = clips['gt']
            flows = [self.flow(here, there) for here, there in zip(gt, gt[1:])]
            masks = [reliable(flow, self.flow(there, here)) for flow, here, there in zip(flows, gt, gt[1:])]
            self.results.append(dict(video=sample['video'], pairs=len(flows), **{
                name: 1000 * warping_error(frames, flows, masks) for name, frames in clips.items()}))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average; called on the main process only.

        Args:
            results (list[dict]): What :meth:`process` collected on all ranks.

        Returns:
            dict[str, float]: ``output``, ``input`` and ``gt``; NaN where no video has two frames.
        """
        videos: dict[str, list[dict]] = {}
        for result in results:
            if result['pairs'] and np.isfinite(result['gt']):
                videos.setdefault(result['video'], []).append(result)
        means = {}
        for name in self.NAMES:
            per_video = [np.average([result[name] for result in windows], weights=[result['pairs']
                                                                                   for result in windows])
                         for windows in videos.values()]
            means[name] = float(np.mean(per_video)) if per_video else float('nan')
        print_log(f'warping error x 1000 over {len(videos)} videos: ' + ', '.join(
            f'{name} {value:.3f}' for name, value in means.items()), logger='current')
        return means


def _frames(clip: torch.Tensor) -> list[np.ndarray]:
    """The frames of a clip ``(T, [2,] 3, H, W)`` as uint8 RGB ``(H, W, 3)``, the left view of stereo."""
    clip = clip.detach().cpu()
    clip = clip[:, 0] if clip.ndim == 5 else clip
    if clip.dtype != torch.uint8:
        clip = (clip.float().clamp(0, 1) * 255).round().byte()
    return list(clip.permute(0, 2, 3, 1).contiguous().numpy())
