"""Time the operators of mmweather.ops at the shapes of the networks that use them, beside what else can be imported.

For each operator, implementation and dtype: forward, forward and backward, and the peak of memory that one call adds.
The bytes are those of every input read and every output written once, the operations those of the matrix products; the
share is the time that the machine's measured bandwidth or matrix rate would need for them, whichever is longer, over
the time taken. With ``--output`` the table replaces what stands between the two marker lines of a Markdown file.
"""
import argparse
import contextlib
import ctypes
import os
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer

from mmweather import ops
from mmweather.errors import UserError
from mmweather.ops import backend

BEGIN, END = '<!-- benchmark: begin {} -->', '<!-- benchmark: end {} -->'
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def normal(device, dtype, *shape, requires_grad=True):
    """A random tensor, drawn in float32 so that every dtype gets the same numbers."""
    return torch.randn(shape, device=device).to(dtype).requires_grad_(requires_grad)


def deform_conv(height, width):
    """128 to 64 channels in 16 groups: ViMP-Net's alignment. Offsets of a few pixels."""

    def make(device, dtype):
        x = normal(device, dtype, 1, 128, height, width)
        offset = (3 * torch.randn(1, 288, height, width, device=device)).to(dtype).requires_grad_()
        mask = torch.rand(1, 144, height, width, device=device).to(dtype).requires_grad_()
        return x, offset, mask, normal(device, dtype, 64, 128, 3, 3)

    def ours(x, offset, mask, weight):
        return ops.modulated_deform_conv2d(x, offset, mask, weight, None, 1, 1, 1, 1, 16)

    return dict(name='modulated_deform_conv2d', shape=f'128→64, 16 groups, {height}x{width}', make=make, ours=ours,
                others=dict(torchvision=torchvision_deform_conv), flops=2 * 128 * 9 * 64 * height * width)


def torchvision_deform_conv():
    """torchvision's operator, where its library can be loaded beside this torch."""
    from torchvision.ops import deform_conv2d
    return lambda x, offset, mask, weight: deform_conv2d(x, offset, weight, None, 1, 1, 1, mask)


def dynamic_filter():
    """64 channels at the largest size of PMCN."""

    def make(device, dtype):
        return (normal(device, dtype, 1, 64, 512, 1024), normal(device, dtype, 1, 64, 9),
                normal(device, dtype, 1, 9, 512, 1024))

    def depthwise(x, channel, pixel):
        return F.conv2d(x, channel.view(64, 1, 3, 3), padding=1, groups=64)

    others = {'depth-wise `conv2d` of the size': lambda: depthwise}
    return dict(name='decoupled_dynamic_filter', shape='64 channels, 3x3, 512x1024', make=make,
                ours=ops.decoupled_dynamic_filter, others=others, flops=0)


def correlation():
    """BIMNet's 49 displacements."""

    def make(device, dtype):
        return normal(device, dtype, 1, 64, 180, 320), normal(device, dtype, 1, 64, 180, 320)

    def by_displacement(first, second):
        padded = F.pad(second, (3, ) * 4)
        windows = (padded[:, :, y:y + 180, x:x + 320] for y in range(7) for x in range(7))
        return torch.stack([(first * window).mean(1) for window in windows], 1)

    return dict(name='correlation', shape='64 channels, radius 3, 180x320', make=make, ours=ops.correlation,
                others={'displacement by displacement': lambda: by_displacement}, flops=2 * 49 * 64 * 180 * 320)


def pixel_volume():
    """PVDNet's 25 candidates at 720p."""

    def make(device, dtype):
        previous, current = (normal(device, dtype, 1, 1, 720, 1280, requires_grad=wanted) for wanted in (True, False))
        # A smooth flow of a few pixels, as motion is.
        flow = F.interpolate(5 * torch.randn(1, 2, 9, 16, device=device), (720, 1280), mode='bilinear')
        return previous, current, flow

    return dict(name='pixel_volume', shape='5x5, 720x1280', make=make, ours=ops.pixel_volume, others={}, flops=0)


PROBLEMS = (lambda: deform_conv(180, 320), lambda: deform_conv(64, 64), dynamic_filter, correlation, pixel_volume)


def clock(device):
    """Processor time on a CPU, which a busy machine does not inflate; wall time elsewhere."""
    if device == 'cpu':
        return time.process_time

    def synchronized():
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronized


def seconds(function, device, duration):
    """The median time of one call."""
    threads = torch.get_num_threads()
    timer = Timer('function()', globals=dict(function=function), timer=clock(device), num_threads=threads)
    function()
    return timer.blocked_autorange(min_run_time=duration).median


def peak_memory(function, device):
    """Bytes that a call adds at its peak; None where the system does not tell."""
    if device == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    try:
        # What the allocator kept of earlier calls would hide what this one needs.
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
        before = resident('VmRSS')
        function()
        return max(resident('VmHWM') - before, 0)
    except (OSError, AttributeError):
        return None


def resident(field):
    """One of Linux' counts of resident memory, in bytes."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f'/proc/self/status has no {field}')


def machine_rates(device, dtypes, duration):
    """Measured bandwidth of a copy in bytes per second, and matrix rate in operations per second by dtype."""
    big = torch.empty((1 << 28 if device == 'cpu' else 1 << 31) // 4, device=device)
    target = torch.empty_like(big)
    bandwidth = 2 * big.numel() * 4 / seconds(lambda: target.copy_(big), device, duration)
    size, rates = 1024 if device == 'cpu' else 8192, {}
    for name in dtypes:
        matrix = torch.randn(size, size, device=device).to(DTYPES[name])
        rates[name] = 2 * size**3 / seconds(lambda matrix=matrix: matrix @ matrix, device, duration)
    return bandwidth, rates


def implementations(problem, device, dtype):
    """What can be timed here: (name, function, value of MMWEATHER_OPS or None), and what cannot, with the reason."""
    found, missing = [], []
    for name in backend.BACKENDS:
        obstacle = backend.obstacle_to(name, problem['name'], device, dtype)
        if obstacle:
            missing.append(f'{name}: {obstacle}')
        else:
            found.append((f'mmweather, {name}', problem['ours'], name))
    for name, load in problem['others'].items():
        try:
            found.append((name, load(), None))
        except (ImportError, OSError, RuntimeError) as error:
            missing.append(f'{name}: {error}')
    return found, missing


@contextlib.contextmanager
def serving(name):
    """Lets one backend serve."""
    before = os.environ.pop('MMWEATHER_OPS', None)
    if name:
        os.environ['MMWEATHER_OPS'] = name
    try:
        yield
    finally:
        os.environ.pop('MMWEATHER_OPS', None)
        if before is not None:
            os.environ['MMWEATHER_OPS'] = before


def measure(problem, device, dtype_name, rates, duration):
    """Yields the table's rows for one problem and dtype, printing what could not be timed."""
    tensors = problem['make'](device, DTYPES[dtype_name])
    leaves = [value for value in tensors if value.requires_grad]
    found, missing = implementations(problem, device, DTYPES[dtype_name])
    for reason in missing:
        print(f'  not timed, {reason}')
    for name, function, override in found:

        def forward(function=function):
            with torch.no_grad():
                return function(*tensors)

        def both(function=function):
            out = function(*tensors)
            return torch.autograd.grad(out, leaves, out.detach(), allow_unused=True)

        with serving(override):
            try:
                out = forward()
                times = seconds(forward, device, duration), seconds(both, device, duration)
                memory = peak_memory(forward, device), peak_memory(both, device)
            except (NotImplementedError, RuntimeError) as error:
                print(f'  not timed, {name} in {dtype_name}: {str(error).splitlines()[0]}')
                continue
        moved = sum(value.numel() * value.element_size() for value in (*tensors, out))
        needed = max(moved / rates[0], problem['flops'] / rates[1][dtype_name])
        mega = ['–' if value is None else f'{value / 2**20:.0f}' for value in memory]
        demand = f'{moved / 1e6:.0f} MB' + (f', {problem["flops"] / 1e9:.2g} GFLOP' if problem['flops'] else '')
        milliseconds = [f'{value * 1e3:.1f}' for value in times]
        yield (f'`{problem["name"]}`', problem['shape'], dtype_name, name, *milliseconds, ' / '.join(mega), demand,
               f'{needed / times[0]:.0%}')


HEADER = ('operator', 'shape', 'dtype', 'implementation', 'forward, ms', 'forward + backward, ms',
          'peak, MB (forward / both)', 'needed by forward', 'share reached')


def table(rows):
    """Rows as Markdown."""
    lines = [HEADER, ('---', ) * len(HEADER), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def describe_machine(device, name, rates):
    """One sentence on what was measured on."""
    count = torch.get_num_threads()
    threads = f', {count} thread{"s" if count > 1 else ""}' if device == 'cpu' else ''
    speed = ', '.join(f'{rate / 1e9:.0f} GFLOP/s in {dtype}' for dtype, rate in rates[1].items())
    return (f'Measured on {name}, torch {torch.__version__}{threads}: a copy moves {rates[0] / 1e9:.1f} GB/s, matrix '
            f'products reach {speed}.')


def write(path, device, text):
    """Replaces what stands between the markers of a file.

    Raises:
        UserError: The file has no markers.
    """
    begin, end = BEGIN.format(device), END.format(device)
    content = path.read_text(encoding='utf-8') if path.exists() else f'{begin}\n{end}\n'
    if begin not in content or end not in content:
        raise UserError(f'{path} lacks the lines {begin} and {end}; add them where the table shall stand.')
    head, rest = content.split(begin, 1)
    path.write_text(f'{head}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}', encoding='utf-8')


def main():
    """Measures and prints or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtypes', nargs='+', choices=DTYPES, default=None,
                        help='default: float32 and bfloat16 on a CPU, all on CUDA')
    parser.add_argument('--ops', nargs='+', default=None, help='names of operators; default: all')
    parser.add_argument('--threads', type=int, default=1, help='on a CPU; default: 1')
    parser.add_argument('--min-run-time', type=float, default=1.0, help='seconds per measurement; default: 1')
    parser.add_argument('--machine', default=None, help='how the table names the machine; default: what it says itself')
    parser.add_argument('--output', type=Path, default=None, help='Markdown file with marker lines')
    arguments = parser.parse_args()
    device = arguments.device
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    dtypes = arguments.dtypes or (['float32', 'bfloat16'] if device == 'cpu' else list(DTYPES))
    machine = arguments.machine or (platform.processor() or platform.machine() if device == 'cpu' else
                                    torch.cuda.get_device_name())
    rates = machine_rates(device, dtypes, arguments.min_run_time)
    rows = []
    for build in PROBLEMS:
        problem = build()
        if arguments.ops and problem['name'] not in arguments.ops:
            continue
        for dtype in dtypes:
            print(f'{problem["name"]}, {problem["shape"]}, {dtype}', flush=True)
            for row in measure(problem, device, dtype, rates, arguments.min_run_time):
                print('  ' + ' | '.join(row[3:]), flush=True)
                rows.append(row)
    text = f'{describe_machine(device, machine, rates)}\n\n{table(rows)}'
    if arguments.output is None:
        print(f'\n{text}')
    else:
        write(arguments.output, device, text)


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
