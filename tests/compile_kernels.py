"""Compiles every Triton kernel for one GPU architecture, without a GPU, and prints which of them use tensor cores.

A script and not a test module: kernels are compiled or interpreted as the environment says when Triton is imported, and
the tests interpret them.
"""
import json
import sys

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from mmweather.ops.triton import correlation, deform_conv, dynamic_filter, pixel_volume

HALF, SINGLE = '*fp16', '*fp32'
DEFORM = dict(channels=128, groups=16, group_width=8, conv_channels=128, conv_outputs=64, KW=3, TAPS=9, HAS_MASK=True,
              PRECISION='tf32x3', GROUPS=4, DEPTH=8, BLOCK_O=64, BLOCK_P=64)
FILTER = dict(head_width=64, SIDE=3, DILATION=1, STRIDE=1, MULTIPLY=True, BLOCK_C=16, BLOCK_W=64)
COSTS = dict(RADIUS=3, SIDE=7, PRECISION='tf32x3', BLOCK_C=64, BLOCK_W=32, WINDOW=64)
VOLUME = dict(RADIUS=2, SIDE=5, BLOCK_W=256)
# Kernel, its constants, and its pointers that are not to half precision.
KERNELS = [
    (deform_conv._forward_kernel, dict(DEFORM, HAS_BIAS=True), ('offset_ptr', )),
    (deform_conv._backward_data_kernel, dict(DEFORM, NEEDS_X=True, NEEDS_OFFSET=True),
     ('offset_ptr', 'grad_x_ptr', 'grad_offset_ptr')),
    (deform_conv._backward_weight_kernel, DEFORM, ('offset_ptr', 'out_ptr')),
    (dynamic_filter._forward_kernel, FILTER, ()),
    (dynamic_filter._backward_input_kernel, FILTER, ()),
    (dynamic_filter._backward_pixel_kernel, dict(FILTER, TAPS=16), ()),
    (dynamic_filter._backward_channel_kernel, dict(FILTER, TAPS=16), ('out_ptr', )),
    (correlation._forward_kernel, COSTS, ()),
    (correlation._gather_kernel, dict(COSTS, REVERSED=True), ()),
    (pixel_volume._forward_kernel, VOLUME, ('flow_ptr', )),
    (pixel_volume._backward_kernel, dict(VOLUME, NEEDS_PREVIOUS=True), ('flow_ptr', 'grad_previous_ptr')),
]


def main(capability):
    """Compiles all for a compute capability such as 90."""
    found = {}
    for kernel, constants, singles in KERNELS:
        signature = {}
        for name in kernel.arg_names:
            if name in constants:
                signature[name] = 'constexpr'
            elif name.endswith('_ptr'):
                signature[name] = SINGLE if name in singles else HALF
            else:
                signature[name] = 'fp32' if name == 'scale' else 'i32'
        places = {(kernel.arg_names.index(name), ): value for name, value in constants.items()}
        source = ASTSource(fn=kernel, signature=signature, constexprs=places)
        code = compile(source, target=GPUTarget('cuda', capability, 32)).asm['ptx']
        module = kernel.fn.__module__.rpartition('.')[2]
        found[f'{module}{kernel.fn.__name__}'] = 'wgmma' in code or 'mma.sync' in code
    print(json.dumps(found))


if __name__ == '__main__':
    main(int(sys.argv[1]))
