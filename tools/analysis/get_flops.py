"""Parameters and multiply-accumulates of networks at a frame size.

    python tools/analysis/get_flops.py vimpnet vimpnet_tiny --size 256x256
    python tools/analysis/get_flops.py pvdnet --size 1280x720 --parts

Nothing is computed: the networks run on tensors that have a shape and nothing else, so any size takes seconds.
Convolutions, matrix products, attention and the operators of mmweather.ops are counted, one multiply-accumulate each,
as papers do; everything else (warping, activations, normalisation) is not. Numbers are per restored frame, by the
network's everyday window without overlap and without tiles, and at the size to which it pads.
"""
import argparse
import json
import math
import sys
import warnings
from pathlib import Path


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', help='names or paths of configs')
    parser.add_argument('--size', default='256x256', metavar='WxH', help='frame size (256x256)')
    parser.add_argument('--frames', type=int, help="frames per forward pass; the network's window by default")
    parser.add_argument('--parts', action='store_true', help='list the parts of each network too')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers to a file too')
    args = parser.parse_args()
    from mmweather.errors import UserError
    try:
        width, height = (int(side) for side in args.size.lower().split('x'))
    except ValueError:
        print(f'mmweather: --size {args.size}: expected WxH, for example 1280x720', file=sys.stderr)
        return 2
    print('| model | part | parameters | MACs per frame |', '| --- | --- | ---: | ---: |', sep='\n')
    results = {}
    try:
        for model in args.models:
            results[model] = count(model, height, width, args.frames)
            for name, (parameters, macs) in results[model].items():
                if args.parts or not name:
                    print(f'| {model} | {name or "all"} | {parameters:,} | {macs / 1e9:.2f} G |')
    except UserError as error:
        print(f'mmweather: {error}', file=sys.stderr)
        return error.exit_code
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    return 0


def count(model, height, width, frames=None):
    """Counts a network and its parts.

    Args:
        model (str): Name or path of a config.
        height (int): Height of the frames; padded to what the network takes.
        width (int): Width of the frames.
        frames (int, optional): Frames per forward pass of a clip network. Defaults to None: its window.

    Returns:
        dict[str, tuple[int, float]]: Parameters and multiply-accumulates per frame, by the part's name; '' is all.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    import mmweather.ops  # noqa: F401  defines the operators
    from mmweather.zoo import build_network
    network = build_network(model).eval()
    height, width = (max(network.min_size, math.ceil(side / network.size_divisor) * network.size_divisor)
                     for side in (height, width))
    operators = torch.ops.mmweather
    counter = FlopCounterMode(display=False, custom_mapping={
        operators.modulated_deform_conv2d: _deform_conv,
        operators.decoupled_dynamic_filter: _dynamic_filter,
        operators.correlation: _correlation,
    })
    views = (2, ) if getattr(network, 'stereo', False) else ()
    recurrent = hasattr(network, 'step')
    root = torch.nn.Module()
    root.network = network
    with (warnings.catch_warnings(), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True),
          # oneDNN's own convolutions know no tensors without values; that it is switched off need not be told
          torch.backends.mkldnn.flags(enabled=False)):
        warnings.simplefilter('ignore')
        if recurrent:
            frames = 1
            clip = torch.rand(1, 1 + network.lookahead, *views, 3, height, width)
            # the second step is counted, since a first one may have work of its own
            _, state = network.step(clip, network.init_state(clip))
            root.forward = lambda: network.step(clip, state)
        else:
            frames = frames or network.window
            clip = torch.rand(1, frames, 3, height, width)
            root.forward = lambda: network(clip)
        with counter:
            root()
    counts = {name: sum(operations.values()) / 2 / frames for name, operations in counter.get_flop_counts().items()}
    parts = {'': (_parameters(network), counts['Global'])}
    for name, part in network.named_children():
        parts[name] = (_parameters(part), _below(f'Module.network.{name}', counts))
    return parts


def _below(prefix, counts):
    """The sum over the outermost modules at or below a name; a part may be run by its own parts alone."""
    names = [name for name in counts if name == prefix or name.startswith(f'{prefix}.')]
    return sum(counts[name] for name in names
               if not any(name != other and name.startswith(f'{other}.') for other in names))


def _parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Twice the multiply-accumulates, as PyTorch counts its own operators.


def _deform_conv(x, offset, mask, weight, *_, out_shape=None, **__):  # noqa: ARG001
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _dynamic_filter(x, channel_filter, spatial_filter, kernel_size, *_, out_shape=None, **__):  # noqa: ARG001
    return 2 * math.prod(out_shape) * kernel_size**2


def _correlation(first, second, radius, *_, out_shape=None, **__):  # noqa: ARG001
    return 2 * math.prod(out_shape) * first[1]


if __name__ == '__main__':
    sys.exit(main())
