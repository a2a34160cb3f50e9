"""Modulated deformable convolution as MMCV's compiled extension computes it, where one is installed."""
import torch
from mmcv import _ext

_GEOMETRY = ('kernel_h', 'kernel_w', 'stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w', 'group',
             'deformable_group')


def _geometry(weight, stride, padding, dilation, groups, deform_groups):
    return dict(zip(_GEOMETRY, (*weight.shape[2:], *stride, *padding, *dilation, groups, deform_groups)))


def _prepared(x, offset, mask, weight):
    """MMCV wants contiguous tensors of one dtype, and always a mask."""
    if mask is None:
        mask = offset.new_ones(offset.shape[0], offset.shape[1] // 2, *offset.shape[2:])
    return [value.to(x.dtype).contiguous() for value in (x, offset, mask, weight)]


def forward(x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups):
    """Compute the output; the arguments are those of the public function."""
    x, offset, mask, weight = _prepared(x, offset, mask, weight)
    out = x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])
    _ext.modulated_deform_conv_forward(
        x, weight, x.new_empty(0) if bias is None else bias, x.new_empty(0), offset, mask, out, x.new_empty(0),
        with_bias=bias is not None, **_geometry(weight, stride, padding, dilation, groups, deform_groups))
    return out


def backward(grad, x, offset, mask, weight, stride, padding, dilation, groups, deform_groups, wanted):
    """Compute the gradients of x, offset, mask and weight; MMCV's kernel always computes them all."""
    offset_dtype = offset.dtype
    x, offset, mask, weight = _prepared(x, offset, mask, weight)
    grads = [torch.zeros_like(value) for value in (x, offset, mask, weight)]
    _ext.modulated_deform_conv_backward(
        x, weight, x.new_empty(0), x.new_empty(0), offset, mask, x.new_empty(0), grads[0], grads[3], x.new_empty(0),
        grads[1], grads[2], grad.contiguous(), with_bias=False,
        **_geometry(weight, stride, padding, dilation, groups, deform_groups))
    grads[1] = grads[1].to(offset_dtype)
    return [value if want else x.new_empty(0) for value, want in zip(grads, wanted)]
