"""One form of test for every operator and every backend: the reference, and each Triton kernel.

Where there is no CUDA device the kernels run in Triton's interpreter, on the smallest inputs that reach every branch.
"""
import contextlib
import importlib.util
import os

import ops_cases
import pytest
import torch
import torch.fx.experimental.proxy_tensor

# Before anything imports Triton: its functions are compiled or interpreted from then on.
if not torch.cuda.is_available():
    os.environ.setdefault('TRITON_INTERPRET', '1')

HALVES = {torch.float16: 3e-3, torch.bfloat16: 2e-2}
DEVICE = {'torch': 'cpu', 'triton': 'cuda' if torch.cuda.is_available() else 'cpu'}


def _parameters(cases):
    for case in cases:
        yield pytest.param(case, 'torch', id=f'{case.name}-torch')
        if case.interpreted:
            missing = importlib.util.find_spec('triton') is None
            yield pytest.param(case, 'triton', id=f'{case.name}-triton',
                               marks=pytest.mark.skipif(missing, reason='Triton is not installed'))


each = pytest.mark.parametrize(('case', 'backend'), _parameters(ops_cases.CASES))
FIRST_OF_EACH = list({case.op: case for case in reversed(ops_cases.CASES)}.values())
first_of_each = pytest.mark.parametrize(('case', 'backend'), _parameters(FIRST_OF_EACH))
reference = pytest.mark.parametrize('case', ops_cases.CASES, ids=lambda case: case.name)


@pytest.fixture(autouse=True)
def serve(request, monkeypatch):
    """Lets the backend that a test names serve."""
    if 'backend' in request.fixturenames:
        monkeypatch.setenv('MMWEATHER_OPS', request.getfixturevalue('backend'))


def run(function, case, tensors, options=None):
    """Output and gradients, the output's gradient being fixed."""
    out = function(**tensors, **(case.options if options is None else options))
    grad = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype).to(out.device)
    return out, torch.autograd.grad(out, case.differentiable(tensors), grad, materialize_grads=True)


def error(found, expected):
    """Largest difference over largest value."""
    found, expected = found.detach().double().cpu(), expected.detach().double()
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


@pytest.mark.skipif(not os.environ.get('CI'), reason='elsewhere the kernels may go unchecked')
def test_ci_checks_the_kernels():
    assert importlib.util.find_spec('triton'), 'CI must install Triton, or no GPU kernel is checked'


@each
def test_output_and_gradients_are_those_of_the_definition(case, backend):
    dtype = torch.float64 if backend == 'torch' else torch.float32
    out, grads = run(case.function, case, case.tensors(dtype, DEVICE[backend], requires_grad=True))
    expected, expected_grads = run(case.definition, case, case.tensors(requires_grad=True))
    tolerance = 1e-12 if backend == 'torch' else 1e-5
    assert error(out, expected) < tolerance
    for name, found, wanted in zip(case.shapes, grads, expected_grads):
        assert error(found, wanted) < tolerance, name


@reference
def test_gradients_are_finite_differences(case):
    names = list(case.shapes)

    def function(*values):
        return case.function(**dict(zip(names, values)), **case.options)

    assert torch.autograd.gradcheck(function, tuple(case.tensors(requires_grad=True).values()), fast_mode=True)


@reference
def test_float32_is_exact_to_its_digits(case):
    out, grads = run(case.function, case, case.tensors(torch.float32, requires_grad=True))
    expected, expected_grads = run(case.function, case, case.tensors(requires_grad=True))
    assert error(out, expected) < 2e-6
    for name, found, wanted in zip(case.shapes, grads, expected_grads):
        assert error(found, wanted) < 1e-5, name


@pytest.mark.parametrize('dtype', HALVES, ids=lambda dtype: str(dtype).removeprefix('torch.'))
@first_of_each
def test_half_precision_rounds_once(case, backend, dtype):
    tensors = case.tensors(dtype, DEVICE[backend], requires_grad=True)
    out, grads = run(case.function, case, tensors)
    expected, expected_grads = run(case.definition, case, case.tensors(requires_grad=True))
    assert out.dtype == dtype
    assert error(out, expected) < HALVES[dtype]
    for (name, value), found, wanted in zip(tensors.items(), grads, expected_grads):
        assert found.dtype == value.dtype
        assert error(found, wanted) < HALVES[dtype], name


@first_of_each
def test_channels_last_gives_the_same_in_the_same_format(case, backend):
    tensors = case.tensors(torch.float32, DEVICE[backend], requires_grad=True)
    expected, expected_grads = run(case.function, case, tensors)
    last = {name: value.detach().to(memory_format=torch.channels_last) if value.dim() == 4 else value.detach()
            for name, value in tensors.items()}
    for name, value in last.items():
        value.requires_grad_(name not in case.constant)
    out, grads = run(case.function, case, last)
    assert error(out, expected.cpu()) < 1e-5
    for name, found, wanted in zip(case.shapes, grads, expected_grads):
        assert error(found, wanted.cpu()) < 1e-5, name
    lead = next(iter(last.values()))
    keeps_format = case.op in ('modulated_deform_conv2d', 'decoupled_dynamic_filter')
    if keeps_format and not lead.is_contiguous():
        assert out.is_contiguous(memory_format=torch.channels_last)


@first_of_each
def test_empty_batch(case, backend):
    shapes = {name: shape if name in ('weight', 'bias') else (0, *shape[1:]) for name, shape in case.shapes.items()}
    tensors = {name: torch.zeros(shape, device=DEVICE[backend], requires_grad=name not in case.constant)
               for name, shape in shapes.items()}
    out, grads = run(case.function, case, tensors)
    whole = case.function(**case.tensors(torch.float32, DEVICE[backend]), **case.options)
    assert out.shape == (0, *whole.shape[1:])
    for value, found in zip(case.differentiable(tensors), grads):
        assert found.shape == value.shape
        assert not found.any()


@first_of_each
def test_twice_the_same_bits(case, backend):
    runs = [run(case.function, case, case.tensors(torch.float32, DEVICE[backend], requires_grad=True))
            for _ in range(2)]
    assert torch.equal(runs[0][0], runs[1][0])
    if backend == 'torch':
        for first, second in zip(runs[0][1], runs[1][1]):
            assert torch.equal(first, second)


@pytest.mark.parametrize('threads', [1, 2])
@reference
def test_the_number_of_threads_does_not_matter(case, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out, grads = run(case.function, case, case.tensors(torch.float32, requires_grad=True))
    finally:
        torch.set_num_threads(before)
    expected, expected_grads = run(case.definition, case, case.tensors(requires_grad=True))
    assert error(out, expected) < 1e-5
    for name, found, wanted in zip(case.shapes, grads, expected_grads):
        assert error(found, wanted) < 1e-5, name


@reference
def test_only_the_gradients_that_are_asked_for(case):
    full = case.tensors(requires_grad=True)
    _, expected = run(case.function, case, full)
    names = [name for name in case.shapes if name not in case.constant]
    for name, wanted in zip(names, expected):
        tensors = case.tensors()
        tensors[name].requires_grad_()
        out = case.function(**tensors, **case.options)
        grad = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        assert torch.allclose(torch.autograd.grad(out, tensors[name], grad)[0], wanted), name


@reference
def test_compiles_to_one_graph_with_gradients(case):
    torch._dynamo.reset()
    compiled = torch.compile(case.function, fullgraph=True, backend='aot_eager')
    out, grads = run(compiled, case, case.tensors(requires_grad=True))
    expected, expected_grads = run(case.function, case, case.tensors(requires_grad=True))
    assert torch.equal(out, expected)
    for found, wanted in zip(grads, expected_grads):
        assert torch.equal(found, wanted)


@reference
def test_registration_is_sound(case):
    """PyTorch's own check: schema, fake kernels against real ones, autograd under ahead-of-time tracing."""
    captured = []

    class Capture(torch.utils._python_dispatch.TorchDispatchMode):

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == 'mmweather':
                captured.append((func, args))
            return func(*args, **(kwargs or {}))

    with Capture():
        case.function(**case.tensors(torch.float32), **case.options)
    (func, args), = captured
    assert func is getattr(torch.ops.mmweather, case.op).default
    args = tuple(value.detach().requires_grad_(value.is_floating_point()) if isinstance(value, torch.Tensor) else value
                 for value in args)
    torch.library.opcheck(func, args)


class _Network(torch.nn.Module):

    def __init__(self, case):
        super().__init__()
        self.case = case

    def forward(self, *values):
        return self.case.function(**dict(zip(self.case.shapes, values)), **self.case.options)


@first_of_each
def test_exported_program_survives_a_file(case, backend, tmp_path):
    if backend != 'torch':
        pytest.skip('an exported program names the operator, not the backend')
    values = tuple(case.tensors(torch.float32).values())
    program = torch.export.export(_Network(case), values)
    assert f'mmweather.{case.op}.default' in program.graph_module.code
    torch.export.save(program, tmp_path / 'program.pt2')
    loaded = torch.export.load(tmp_path / 'program.pt2')
    assert torch.equal(loaded.module()(*values), _Network(case)(*values))


@reference
def test_what_onnx_gets_is_the_same_operator(case, monkeypatch):
    """The formulation in ONNX's vocabulary, and that it holds none of our operators."""
    monkeypatch.setattr(torch.onnx, 'is_in_onnx_export', lambda: True)
    tensors = case.tensors()
    assert error(case.function(**tensors, **case.options), case.definition(**tensors, **case.options)) < 1e-12
    traced = torch.fx.experimental.proxy_tensor.make_fx(_Network(case))(*tensors.values())
    assert 'mmweather' not in traced.code


@pytest.mark.parametrize('case', FIRST_OF_EACH, ids=lambda case: case.op)
def test_onnx_runtime_computes_the_same(case, tmp_path):
    pytest.importorskip('onnxscript')
    runtime = pytest.importorskip('onnxruntime')
    values = tuple(case.tensors(torch.float32).values())
    path = tmp_path / 'model.onnx'
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        torch.onnx.export(_Network(case).eval(), values, path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path)
    names = [argument.name for argument in session.get_inputs()]
    found, = session.run(None, {name: value.numpy() for name, value in zip(names, values)})
    assert error(torch.from_numpy(found), _Network(case)(*values)) < 1e-4


BAD = {
    'deform_groups': [
        (dict(x=(2, 4, 4)), r'x must have shape \(any, any, any, any\), which is \(N, C, H, W\), but has \(2, 4, 4\)'),
        (dict(offset=(2, 35, 4, 5)), r'offset must have shape \(2, 36, 4, 5\).*but has \(2, 35, 4, 5\)'),
        (dict(mask=(2, 18, 5, 4)), r'mask must have shape \(2, 18, 4, 5\)'),
        (dict(weight=(3, 2, 3, 3)), r'weight must have shape \(3, 4, 3, 3\)'),
        (dict(bias=(4, )), r'bias must have shape \(3\)'),
        (dict(deform_groups=3), 'deform_groups must divide the 4 channels of x, but is 3'),
        (dict(groups=4, weight=(3, 1, 3, 3)), 'groups must divide the 3 output channels'),
        (dict(stride=0), 'stride and dilation must be at least 1'),
        (dict(dilation=4), 'x of 4x5 is too small for a 3x3 kernel'),
    ],
    'filter': [
        (dict(channel_filter=(2, 6, 3, 3)), r'channel_filter must have shape \(2, 6, 9\).*but has \(2, 6, 3, 3\)'),
        (dict(spatial_filter=(2, 9, 5, 6)), r'spatial_filter must have shape \(2, any, 5, 7\)'),
        (dict(spatial_filter=(2, 10, 5, 7)), r'spatial_filter must have heads \* kernel_size \*\* 2 channels'),
        (dict(spatial_filter=(2, 36, 5, 7)), r'heads a divisor of the 6 channels'),
        (dict(kernel_size=2), 'kernel_size must be odd and positive, but is 2'),
        (dict(stride=0), 'dilation and stride must be at least 1'),
        (dict(combine='max'), "combine must be 'mul' or 'add', but is 'max'"),
    ],
    'correlation': [
        (dict(second=(2, 3, 5, 8)), r'second must have shape \(2, 3, 5, 9\), which is the shape of first'),
        (dict(radius=-1), 'radius must be at least 0 and stride at least 1, but are -1 and 1'),
    ],
    'volume': [
        (dict(previous=(2, 2, 6, 7)), r'previous must have shape \(N, 1, H, W\) or \(N, 3, H, W\)'),
        (dict(current=(2, 1, 6, 6)), r'current must have shape \(2, 1, 6, 7\)'),
        (dict(flow=(2, 1, 6, 7)), r'flow must have shape \(2, 2, 6, 7\)'),
        (dict(kernel_size=4), 'kernel_size must be odd and positive, but is 4'),
    ],
}


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [(name, change, message) for name, entries in BAD.items() for change, message in entries],
    ids=lambda value: ' '.join(value) if isinstance(value, dict) else None)
def test_errors_name_the_argument_and_what_it_must_be(name, change, message):
    case, = (case for case in ops_cases.CASES if case.name == name)
    options = {**case.options, **{key: value for key, value in change.items() if key not in case.shapes}}
    tensors = {key: torch.zeros(change.get(key, shape)) for key, shape in case.shapes.items()}
    with pytest.raises(ValueError, match=message):
        case.function(**tensors, **options)


@pytest.mark.parametrize('case', FIRST_OF_EACH, ids=lambda case: case.op)
def test_mixed_dtypes_are_refused(case):
    tensors = case.tensors(torch.float32)
    name = list(tensors)[1]
    with pytest.raises(TypeError, match=f'{name} of {case.op} must be float32'):
        case.function(**{**tensors, name: tensors[name].half()}, **case.options)
    with pytest.raises(TypeError, match=f'{name} of {case.op} must be a floating-point tensor, but is int64'):
        case.function(**{**tensors, name: tensors[name].long()}, **case.options)


@pytest.mark.parametrize('case', FIRST_OF_EACH, ids=lambda case: case.op)
def test_autocast_computes_in_the_dtype_of_the_region(case):
    tensors = case.tensors(torch.float32)
    expected = case.function(**tensors, **case.options)
    for dtype, tolerance in HALVES.items():
        with torch.autocast('cpu', dtype):
            out = case.function(**tensors, **case.options)
        assert out.dtype == dtype
        assert error(out, expected) < tolerance
    compiled = torch.compile(case.function, fullgraph=True, backend='aot_eager')
    with torch.autocast('cpu', torch.bfloat16):
        assert compiled(**tensors, **case.options).dtype == torch.bfloat16


def test_autocast_spares_coordinates():
    """An offset of 300 pixels has a resolution of two in bfloat16; a cast would move the sample."""
    x = torch.zeros(1, 1, 1, 400)
    x[..., 301] = 1
    offset = torch.zeros(1, 2, 1, 400)
    offset[:, 1] = 301 - torch.arange(400.)
    with torch.autocast('cpu', torch.bfloat16):
        out = torch.ops.mmweather.modulated_deform_conv2d(x, offset, None, torch.ones(1, 1, 1, 1), None, [1, 1], [0, 0],
                                                          [1, 1], 1, 1)
    assert (out == 1).all()
