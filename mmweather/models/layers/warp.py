"""Backward warping by optical flow."""
import torch
import torch.nn.functional as F


def flow_warp(x, flow, padding_mode='zeros'):
    """Warps features or images by a flow field: ``out(p) = x(p + flow(p))``, bilinear.

    Args:
        x (Tensor): Features or images ``(N, C, H, W)``.
        flow (Tensor): Displacements ``(N, 2, H, W)`` in pixels, channel 0 along x and channel 1 along y.
        padding_mode (str): What lies outside of the image, as in :func:`torch.nn.functional.grid_sample`.
            Defaults to 'zeros'.

    Returns:
        Tensor: The warped ``(N, C, H, W)``, in the dtype of ``x``.

    Raises:
        ValueError: If ``flow`` and ``x`` differ in batch or size.
    """
    height, width = x.shape[-2:]
    if flow.shape != (x.shape[0], 2, height, width):
        raise ValueError(f'flow: expected shape {(x.shape[0], 2, height, width)} to warp x of shape '
                         f'{tuple(x.shape)}, got {tuple(flow.shape)}')
    # Positions are kept in float32: bfloat16 has no half pixels beyond column 128.
    flow = flow.float() if flow.dtype in (torch.float16, torch.bfloat16) else flow
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)
    grid_x = (columns + flow[:, 0]) * (2.0 / max(width - 1, 1)) - 1.0
    grid_y = (rows[:, None] + flow[:, 1]) * (2.0 / max(height - 1, 1)) - 1.0
    grid = torch.stack((grid_x, grid_y), dim=-1)
    warped = F.grid_sample(x.to(grid.dtype), grid, mode='bilinear', padding_mode=padding_mode, align_corners=True)
    return warped.to(x.dtype)
