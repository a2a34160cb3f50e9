"""What several kernels share."""
import torch
import triton
import triton.language as tl

from mmweather.ops.backend import interpreted

__all__ = ['dot_precision', 'inside_image', 'matrix_product']


def dot_precision(tensor: torch.Tensor) -> str:
    """How exact matrix products of float32 tiles are; half-precision ones accumulate in float32 whatever this says.

    Args:
        tensor (Tensor): A tensor on the device in question.

    Returns:
        str: What :func:`matrix_product` takes: 'tf32' where the user allows it to PyTorch as well, else 'tf32x3', three
        products that together are as good as float32, else 'ieee' on GPUs without TF32, and 'interpreted'.
    """
    if interpreted():
        return 'interpreted'
    if torch.version.hip or torch.cuda.get_device_capability(tensor.device) < (8, 0):
        return 'ieee'
    return 'tf32' if torch.backends.cuda.matmul.allow_tf32 else 'tf32x3'


@triton.jit
def matrix_product(left, right, total, PRECISION: tl.constexpr):
    """``total + left @ right``, accumulated in float32."""
    if PRECISION == 'interpreted':
        # The interpreter keeps bfloat16 as bits and would multiply those.
        return tl.dot(left.to(tl.float32), right.to(tl.float32), total)
    else:
        return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def inside_image(y, x, height, width):
    """Which columns of one row are inside an image; none where the row is not.

    Written without combining a scalar with a tile of booleans, which the interpreter would turn into integers.
    """
    return (x >= 0) & (x < tl.where((y >= 0) & (y < height), width, 0))
