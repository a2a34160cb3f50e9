"""One table for all networks of the package: how long a frame takes and how much memory, by size and data type.

    python tools/benchmark.py --models pvdnet pvdnet_tiny vimpnet_tiny --sizes 320x180 1280x720 --dtypes fp32 bf16

Every case runs in a process of its own, through what `mmweather restore` runs (padding, windows, tiles), with the
bundled weights, or fresh ones where none ship, and frames of smooth noise; a first run is not counted. The latency is
the time until the first frame is out. Peak memory is the process's on a CPU and the allocator's on a GPU. --agreement
also gives the PSNR of the result against the same network's in float32.
"""
import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

DTYPES = ('fp32', 'bf16', 'fp16')
METHODS = ('vimpnet', 'svdnet', 'cid', 'pvdnet', 'pmcn')


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=[f'{method}_tiny' for method in METHODS],
                        help='names of configs (all five tiny ones)')
    parser.add_argument('--sizes', nargs='+', default=['320x180'], metavar='WxH', help='frame sizes (320x180)')
    parser.add_argument('--dtypes', nargs='+', default=['fp32', 'bf16'], choices=DTYPES)
    parser.add_argument('--frames', type=int, default=4, help='frames that are timed (4)')
    parser.add_argument('--device', help="such as 'cuda'; a GPU if there is one")
    parser.add_argument('--threads', type=int, help='on a CPU; what PyTorch takes by default')
    parser.add_argument('--protocol', help="such as 'published'; the everyday one by default")
    parser.add_argument('--channels-last', action='store_true', help='weights in the channels-last format')
    parser.add_argument('--compile', action='store_true', help='torch.compile the network')
    parser.add_argument('--agreement', action='store_true', help='PSNR against float32')
    parser.add_argument('-o', '--output', type=Path, help='Markdown file for the table')
    parser.add_argument('--machine', help='what the table was measured on, in words')
    parser.add_argument('--case', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args, **json.loads(args.case))))
        return
    lines = ['| model | size | type | s per frame | frames per s | latency (s) | peak memory | PSNR to fp32 |',
             '| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |']
    print(*lines, sep='\n')
    for model in args.models:
        for size in args.sizes:
            for dtype in args.dtypes:
                lines.append(row(model, size, dtype, run(dict(model=model, size=size, dtype=dtype))))
                print(lines[-1], flush=True)
    if args.output:
        args.output.write_text('\n'.join([*lines, '', args.machine or machine(), '']), encoding='utf-8')


def run(case):
    """Measures one case in a fresh process; None if it failed, with the reason on stderr."""
    done = subprocess.run([sys.executable, __file__, *sys.argv[1:], '--case', json.dumps(case)], text=True, check=False,
                          stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def row(model, size, dtype, result):
    """A line of the table."""
    if result is None:
        return f'| {model} | {size} | {dtype} | failed | | | | |'
    psnr = '' if result['psnr'] is None else f'{result["psnr"]:.1f} dB'
    return (f'| {model} | {size} | {dtype} | {result["seconds"]:.3f} | {1 / result["seconds"]:.2f} | '
            f'{result["latency"]:.2f} | {result["memory"] / 2**30:.2f} GiB | {psnr} |')


def measure(args, model, size, dtype):
    """Seconds per frame and to the first, peak memory in bytes and, if wanted, PSNR against float32, of one case."""
    import torch

    from mmweather.inference import load_network
    from mmweather.inference.memory import keep_freed_memory
    from mmweather.models import restore_frames
    from mmweather.zoo import build_network, bundled_weights
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(args.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    if device.type == 'cpu':
        keep_freed_memory()
    torch.manual_seed(0)
    network = (load_network(model) if model in bundled_weights() else build_network(model)).to(device).eval()
    if args.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if args.compile:
        # a recurrent network is called through step, a clip network through forward
        name = 'step' if hasattr(network, 'step') else 'forward'
        setattr(network, name, torch.compile(getattr(network, name)))
    width, height = (int(side) for side in size.lower().split('x'))
    warm = max(getattr(network, 'window', 1), 2)
    frames = smooth_noise(warm + args.frames, height, width)
    if getattr(network, 'stereo', False):
        # the right view lies a little to the left
        frames = torch.stack([frames, frames.roll(-3, dims=-1)], dim=1)
    kind = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)[dtype]

    def restore(count, dtype):
        restored, started = [], time.perf_counter()
        for frame in restore_frames(network, frames[:count], args.protocol, device, dtype):
            restored.append(frame)
            if len(restored) == 1:
                first = time.perf_counter() - started
        return restored, first

    restore(warm, kind)
    started = time.perf_counter()
    restored, latency = restore(len(frames), kind)
    seconds = (time.perf_counter() - started) / len(frames)
    memory = (torch.cuda.max_memory_allocated(device) if device.type == 'cuda' else
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    psnr = None
    if args.agreement and dtype != 'fp32':
        reference, _ = restore(len(frames), torch.float32)
        error = torch.stack([(a - b).square().mean() for a, b in zip(restored, reference)]).mean()
        psnr = float(-10 * torch.log10(error.clamp(min=1e-12)))
    return dict(seconds=seconds, latency=latency, memory=memory, psnr=psnr)


def smooth_noise(count, height, width):
    """Frames ``(count, 3, H, W)`` in [0, 1] that pan over smooth noise."""
    import torch
    picture = torch.nn.functional.interpolate(torch.rand(1, 3, height // 8 + 2, (width + 4 * count) // 8 + 2),
                                              (height, width + 4 * count), mode='bicubic', align_corners=False)
    return torch.stack([picture[0, ..., 4 * t:4 * t + width] for t in range(count)]).clamp(0, 1)


def machine():
    """What the table was measured on."""
    import platform

    import torch
    if torch.cuda.is_available():
        return f'{torch.cuda.get_device_name()}, torch {torch.__version__}.'
    names = [line.split(':', 1)[1].strip() for line in Path('/proc/cpuinfo').read_text().splitlines()
             if line.startswith('model name')] if Path('/proc/cpuinfo').is_file() else [platform.processor()]
    return f'{names[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}.'


if __name__ == '__main__':
    main()
