"""Modulated deformable convolution (DCNv2) with MMCV's semantics, in plain PyTorch."""
import torch
from torch import Tensor
from torch.nn.modules.utils import _pair


def _sampling_grid(offset, size, kernel_size, stride, padding, dilation, deform_groups):
    """Turn offsets into ``grid_sample`` coordinates of shape (N * G, K * Ho, Wo, 2)."""
    n, _, ho, wo = offset.shape
    kh, kw = kernel_size
    h, w = size
    offset = offset.view(n * deform_groups, kh, kw, 2, ho, wo)

    def line(count, step, start, taps, dil, extent):
        base = torch.arange(count, dtype=offset.dtype, device=offset.device) * step - start
        tap = torch.arange(taps, dtype=offset.dtype, device=offset.device) * dil
        return (2 * (tap[:, None] + base) + 1) / extent - 1

    ys = line(ho, stride[0], padding[0], kh, dilation[0], h)
    xs = line(wo, stride[1], padding[1], kw, dilation[1], w)
    grid = offset.new_empty(n * deform_groups, kh, kw, ho, wo, 2)
    torch.add(xs[:, None, :], offset[:, :, :, 1], alpha=2 / w, out=grid[..., 0])
    torch.add(ys[:, None, :, None], offset[:, :, :, 0], alpha=2 / h, out=grid[..., 1])
    return grid.view(n * deform_groups, kh * kw * ho, wo, 2)


class _ModulatedDeformConv(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups):
        n, c, h, w = x.shape
        kh, kw = weight.shape[2:]
        ho, wo = offset.shape[2:]
        grid = _sampling_grid(offset, (h, w), (kh, kw), stride, padding, dilation, deform_groups)
        columns = torch.grid_sampler_2d(x.reshape(n * deform_groups, -1, h, w), grid, 0, 0, False)
        columns = columns.view(n, deform_groups, -1, kh * kw, ho, wo)
        if mask is not None:
            columns.mul_(mask.view(n, deform_groups, 1, kh * kw, ho, wo))
        out = torch.matmul(weight.reshape(groups, weight.shape[0] // groups, -1),
                           columns.view(n, groups, -1, ho * wo))
        ctx.save_for_backward(x, offset, mask, weight)
        ctx.args = stride, padding, dilation, groups, deform_groups
        return out.view(n, -1, ho, wo)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, offset, mask, weight = ctx.saved_tensors
        stride, padding, dilation, groups, deform_groups = ctx.args
        n, c, h, w = x.shape
        kh, kw = weight.shape[2:]
        ho, wo = offset.shape[2:]
        grad = grad.reshape(n, groups, -1, ho * wo)
        grid = _sampling_grid(offset, (h, w), (kh, kw), stride, padding, dilation, deform_groups)
        samples = x.reshape(n * deform_groups, -1, h, w)
        columns = torch.grid_sampler_2d(samples, grid, 0, 0, False).view(n, deform_groups, -1, kh * kw, ho, wo)
        flat = weight.reshape(groups, weight.shape[0] // groups, -1)
        grad_columns = torch.matmul(flat.transpose(1, 2), grad).view(columns.shape)
        grad_mask = None
        if mask is not None:
            mask = mask.view(n, deform_groups, 1, kh * kw, ho, wo)
            grad_mask = (grad_columns * columns).sum(2).view(n, -1, ho, wo)
            columns = columns.mul_(mask)
            grad_columns = grad_columns.mul_(mask)
        grad_weight = torch.matmul(grad, columns.view(n, groups, -1, ho * wo).transpose(2, 3)).sum(0)
        grad_x, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
            grad_columns.view(n * deform_groups, -1, kh * kw * ho, wo), samples, grid, 0, 0, False, [True, True])
        grad_grid = grad_grid.view(n, deform_groups * kh * kw, ho, wo, 2)
        grad_offset = offset.new_empty(n, deform_groups * kh * kw, 2, ho, wo)
        torch.mul(grad_grid[..., 1], 2 / h, out=grad_offset[:, :, 0])
        torch.mul(grad_grid[..., 0], 2 / w, out=grad_offset[:, :, 1])
        return (grad_x.view_as(x), grad_offset.view_as(offset), grad_mask, grad_weight.view_as(weight), None, None,
                None, None, None)


def modulated_deform_conv2d(x: Tensor,
                            offset: Tensor,
                            mask: Tensor | None,
                            weight: Tensor,
                            bias: Tensor | None = None,
                            stride=1,
                            padding=0,
                            dilation=1,
                            groups: int = 1,
                            deform_groups: int = 1) -> Tensor:
    """Modulated deformable convolution; see MMCV's operator of the same name for the semantics.

    Args:
        x (Tensor): Input, (N, C, H, W).
        offset (Tensor): (N, 2 * deform_groups * kh * kw, Ho, Wo), (dy, dx) interleaved per deform group and tap.
        mask (Tensor | None): (N, deform_groups * kh * kw, Ho, Wo), or None for the unmodulated operator.
        weight (Tensor): (Cout, C // groups, kh, kw).
        bias (Tensor | None): (Cout, ). Defaults to None.
        stride (int | tuple[int]): Defaults to 1.
        padding (int | tuple[int]): Defaults to 0.
        dilation (int | tuple[int]): Defaults to 1.
        groups (int): Convolution groups. Defaults to 1.
        deform_groups (int): Groups of input channels that share offsets. Defaults to 1.

    Returns:
        Tensor: (N, Cout, Ho, Wo).
    """
    out = _ModulatedDeformConv.apply(x, offset.contiguous(), None if mask is None else mask.contiguous(), weight,
                                     _pair(stride), _pair(padding), _pair(dilation), groups, deform_groups)
    return out if bias is None else out + bias.view(1, -1, 1, 1)
