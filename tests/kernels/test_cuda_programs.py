"""Programs in CUDA C++: their text, how they are compiled and kept, what a launch hands over."""

import ast
import ctypes
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import kernels
from kernels.conformance.declaration import declared_in
from kernels.cuda import (
    CompileError,
    NoCompiler,
    Program,
    cache,
    driver,
    host,
    layout,
    nvrtc,
    scalars,
)
from kernels.cuda.arguments import _layout, packed

QUICK = [("sm_80", torch.float16), ("sm_90", torch.float32), ("sm_100", torch.bfloat16)]
SLOW = [
    pytest.param(arch, dtype, marks=pytest.mark.slow)
    for arch in ("sm_80", "sm_90", "sm_100")
    for dtype in (torch.float16, torch.float32, torch.bfloat16, torch.float64)
    if (arch, dtype) not in QUICK
]


@pytest.fixture
def write(tmp_path):
    """Write a file of a program; returns its path."""

    def written(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return written


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mrcnn-lab" / "cuda"


@pytest.fixture
def compiles():
    try:
        nvrtc.version()
    except ImportError as missing:
        pytest.skip(f"not run: {missing}")


@pytest.fixture
def emulates():
    try:
        host.compiler()
    except host.NoCompiler as missing:
        pytest.skip(f"not run: {missing}")


ADD = """\
#include "sum.cuh"  // beside this file
#include "scalar.cuh"
// extern "C" __global__ void not_there(float* a) {}
extern "C" __global__ void __launch_bounds__(256) add(
    const float* __restrict__ a,  // (n)
    float* out,                   /* (n) */
    long long n, double scale)
{
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = sum(a[i], FACTOR * float(scale));
}
extern "C" __global__ void nothing() {}
"""
SUM = "#pragma once\n__device__ inline float sum(float a, float b) { return a + b; }\n"


@pytest.fixture(scope="module")
def add(tmp_path_factory):
    folder = tmp_path_factory.mktemp("add")
    (folder / "sum.cuh").write_text(SUM)
    (folder / "add.cu").write_text(ADD)
    return Program(folder / "add.cu").with_defines(FACTOR="2")


def test_kernels_are_found_with_their_parameters(add):
    assert add.kernels == {"add": ("a", "out", "n", "scale"), "nothing": ()}


def test_includes_are_put_in_once_and_from_both_places(write):
    write("sum.cuh", SUM)
    write("twice.cuh", '#include "sum.cuh"\n')
    file = write("a.cu", '#include "sum.cuh"\n#include "twice.cuh"\n#include "scalar.cuh"\n')
    text = Program(file).source
    assert text.count("float sum(") == 1
    assert text.count("struct half_t {") == 1
    assert "#include" not in text


def test_a_file_that_is_not_there_is_named_with_the_line(write):
    with pytest.raises(CompileError, match=r'b\.cu:2: #include "no\.cuh": no such file'):
        _ = Program(write("b.cu", '\n#include "no.cuh"\n')).source


def test_equal_programs_are_one_and_defines_are_in_the_text(add):
    one, two = add.with_defines(REAL="float"), add.with_defines(REAL="float")
    assert one is two
    assert one == Program(add.file, (("FACTOR", "2"), ("REAL", "float")))
    assert one != add
    assert one.source.startswith("#define FACTOR 2\n#define REAL float\n")


COMPILERS = {
    "compiles": lambda program: program.cubin("sm_90"),
    "emulates": lambda program: program.launch("f", torch.zeros(1), grid=1, block=1),
}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_error_names_the_file_and_the_line(request, write, compiler):
    request.getfixturevalue(compiler)
    write("inner.cuh", "\nINNER\n")
    outer = 'extern "C" __global__ void f(float* a) {}\n#include "inner.cuh"\nOUTER\n'
    program = Program(write("outer.cu", outer))
    for right, place in (("INNER", r"outer\.cu[:(]3"), ("OUTER", r"inner\.cuh[:(]2")):
        with pytest.raises(CompileError, match=place):
            COMPILERS[compiler](program.with_defines(**{right: ""}))


def test_machine_code_is_kept_by_all_that_it_is_made_from(add, empty_cache, compiles, monkeypatch):
    made = []
    compiler = nvrtc._compiler
    monkeypatch.setattr(nvrtc, "_compiler", lambda: made.append(1) or compiler())
    code = add.cubin("sm_90")
    assert code[:4] == b"\x7fELF"
    assert b"add" in code
    assert add.cubin("sm_90") == code
    assert len(made) == 1
    assert add.cubin("sm_80") != code
    add.with_defines(OTHER="1").cubin("sm_90")
    monkeypatch.setattr(nvrtc, "version", lambda: "99.0")
    add.cubin("sm_90")
    assert len(made) == 4
    assert [p.suffix for p in empty_cache.iterdir()] == [".cubin"] * 4


def test_what_does_not_compile_is_not_kept(write, empty_cache, compiles):
    program = Program(write("wrong.cu", "int x = y;\n"))
    for _ in range(2):
        with pytest.raises(CompileError, match='identifier "y" is undefined'):
            program.cubin("sm_90")
    assert list(empty_cache.iterdir()) == []


def test_a_build_that_fails_halfway_leaves_nothing(empty_cache):
    def half(path):
        path.write_text("hal")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.compiled(".x", ("a",), half)
    whole = cache.compiled(".x", ("a",), lambda path: path.write_text("whole"))
    assert whole.read_text() == "whole"
    assert list(empty_cache.iterdir()) == [whole]
    assert cache.compiled(".x", ("a", ""), lambda path: path.write_text("other")) != whole


def test_without_the_packages_only_what_needs_them_fails(add, empty_cache, monkeypatch):
    for name in ("cuda", "cuda.core", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    nvrtc.version.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'mrcnn-lab\[gpu\]'") as caught:
        add.cubin("sm_90")
    assert "\n" not in str(caught.value)
    assert not driver.available()


def test_without_a_compiler_nothing_is_emulated(write, monkeypatch):
    program = Program(write("a.cu", 'extern "C" __global__ void f(float* a) {}\n'))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NoCompiler, match="set CXX or install g"):
        program.launch("f", torch.zeros(1), grid=1, block=1)


def test_nothing_is_loaded_before_it_is_needed():
    files = list(Path(nvrtc.__file__).parent.glob("*.py"))
    for path in files:
        outside = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
        assert not any(node.module.split(".")[0] == "cuda" for node in outside), path
    assert "from cuda.bindings import" in Path(nvrtc.__file__).read_text()


def test_scalars_name_what_scalar_cuh_has():
    assert scalars(torch.float16, torch.float32) == dict(
        SCALAR="half_t", REAL="float", COORD="float"
    )
    assert scalars(torch.bfloat16, torch.float64)["COORD"] == "double"
    assert scalars(torch.float64, torch.float64)["REAL"] == "double"


class Small(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_int), ("columns", ctypes.c_int), ("scale", ctypes.c_float)]


def test_arguments_are_packed_where_their_addresses_say():
    tensor = torch.zeros(3)
    given = (tensor, None, True, -5, 2.5, Small(1, 2, 0.5), 2**62)
    memory = packed(given)
    addresses = ctypes.cast(memory, ctypes.POINTER(ctypes.c_void_p))
    kinds = (ctypes.c_void_p,) * 2 + (ctypes.c_longlong,) * 2 + (ctypes.c_double, Small)
    found = [kind.from_address(addresses[i]) for i, kind in enumerate((*kinds, ctypes.c_longlong))]
    assert [one.value for one in found[:5]] == [tensor.data_ptr(), None, 1, -5, 2.5]
    assert (found[5].rows, found[5].columns, found[5].scale) == (1, 2, 0.5)
    assert found[6].value == 2**62
    with pytest.raises(TypeError, match="argument 1 is a str"):
        _layout((int, str))


WRONG_CALLS = {
    "too few": (lambda a: (a, a, 3), "add takes a, out, n, scale; got 3 arguments"),
    "no tensor": (lambda a: (None, None, 3, 1.0), "tensors on one device are needed, got []"),
    "two devices": (lambda a: (a, a.to("meta"), 3, 1.0), "got ['cpu', 'meta']"),
    "an int for double": (lambda a: (a, a, 3, 1), "add: scale takes a float, got a int"),
    "a float for long long": (lambda a: (a, a, 3.0, 1.0), "add: n takes an int, got a float"),
    "a number for a pointer": (lambda a: (a, 5, 3, 1.0), "add: out takes a tensor or None"),
    "float64 for float": (
        lambda a: (a, a.double(), 3, 1.0),
        "numbers of 4 bytes, got torch.float6",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_a_kernel_refuses_what_it_does_not_take(add, emulates, wrong):
    given, message = WRONG_CALLS[wrong]
    with pytest.raises(TypeError) as caught:
        add.launch("add", *given(torch.zeros(3)), grid=1, block=32)
    assert message in str(caught.value)


def test_grids_and_blocks_are_those_of_a_gpu(add, emulates):
    a, out = torch.arange(3.0), torch.zeros(3)
    with pytest.raises(KeyError, match="subtract"):
        add.launch("subtract", a, grid=1, block=1)
    for grid, block in [((1, 2**16), 1), (1, 1025), (1, (1, 1, 65)), (1, 0)]:
        with pytest.raises(ValueError, match="add: a (block|grid) has"):
            add.launch("add", a, out, 3, 1.0, grid=grid, block=block)
    add.launch("add", a, out, 3, 1.0, grid=0, block=32)
    assert out.sum() == 0
    add.launch("add", a, out, 3, 1.5, grid=(2, 1, 1), block=(2,))
    assert out.tolist() == [3, 4, 5]


class Driver:
    """Records what it is asked, and enters no context until it is told to."""

    CUresult = SimpleNamespace(CUDA_ERROR_INVALID_CONTEXT=201)

    def __init__(self, refused=0):
        self.calls, self.launched, self.entered, self.refused = [], [], 0, refused

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            return 0, f"{name} {arguments[0]}"

        return call

    def cuCtxSetCurrent(self, context):  # noqa: N802
        self.entered += 1
        return (0,)

    def cuGetErrorString(self, error):  # noqa: N802
        return 0, b"no good"

    def cuLaunchKernel(self, function, *extents_and_rest):  # noqa: N802
        *extents, shared, stream, memory, extra = extents_and_rest
        addresses = (ctypes.c_void_p * 4).from_address(memory)
        pointer = ctypes.c_void_p.from_address(addresses[0]).value
        count = ctypes.c_longlong.from_address(addresses[2]).value
        scale = ctypes.c_double.from_address(addresses[3]).value
        self.launched.append((function, extents, shared, stream, pointer, count, scale, extra))
        if self.entered < 2 and self.refused == 201:
            return (Code(201),)
        return (Code(self.refused if self.refused != 201 else 0),)


class Code(int):
    name = "CUDA_ERROR_OF_SOME_KIND"


@pytest.fixture
def fake(monkeypatch):
    """A GPU that is not there: `fake(refused)` is its driver."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda on: SimpleNamespace(cuda_stream=77))

    def made(refused=0):
        found = Driver(refused)
        monkeypatch.setattr(driver, "_cuda", lambda: found)
        return found

    return made


def test_a_launch_hands_the_driver_all_that_it_needs(fake):
    asked, cuda, a = [], fake(), torch.zeros(3)
    program = driver.Loaded(lambda arch: asked.append(arch) or b"code")
    for _ in range(3):
        driver.launch(program, "add", (a, a, 3, 0.5), (4, 5, 6), (32, 2, 1), 0)
    function = "cuKernelGetFunction cuLibraryGetKernel cuLibraryLoadData b'code'"
    once = (function, [4, 5, 6, 32, 2, 1], 0, 77, a.data_ptr(), 3, 0.5, 0)
    assert cuda.launched == [once] * 3
    assert asked == ["sm_90"]
    assert cuda.calls.count("cuLibraryLoadData") == 1
    assert cuda.calls.count("cuKernelGetFunction") == 1


def test_a_thread_without_a_context_gets_one(fake):
    cuda, a = fake(refused=201), torch.zeros(3)
    program = driver.Loaded(lambda arch: b"code")
    driver.launch(program, "add", (a, a, 3, 0.5), (1, 1, 1), (1, 1, 1), 0)
    assert len(cuda.launched) == 2
    assert cuda.entered == 2


def test_what_the_driver_refuses_is_said(fake):
    fake(refused=1)
    a = torch.zeros(3)
    message = r"add, grid \(1, 1, 1\), block \(2000, 1, 1\): CUDA_ERROR_OF_SOME_KIND: no good"
    with pytest.raises(RuntimeError, match=message):
        driver.launch(
            driver.Loaded(lambda arch: b""), "add", (a, a, 3, 0.5), (1, 1, 1), (2000, 1, 1), 0
        )


def rois_on(dtype):
    return torch.tensor([[0, 1, 1, 5, 4.5], [1, 0, 2, 6, 6]], dtype=dtype)


def boxes_of(dtype):
    return torch.tensor([[0, 0, 4, 4], [1, 1, 5, 5.5]], dtype=dtype)


def pooled(operator, maps, coordinates, **options):
    """A RoI operator on 8 channels, forward and backward, in both memory formats."""
    for form in (torch.contiguous_format, torch.channels_last):
        features = torch.ones(2, 8, 6, 7, dtype=maps).contiguous(memory_format=form)
        given = features.requires_grad_(), rois_on(coordinates)
        operator(*given, output_size=(2, 3), backend="emulated", **options).sum().backward()


def on_levels(maps, coordinates, **options):
    levels = [torch.ones(2, 8, 6, 7, dtype=maps, requires_grad=True) for _ in range(2)]
    which = torch.tensor([0, 1])
    kernels.multilevel_roi_align(
        *(levels, rois_on(coordinates), which),
        **dict(output_size=2, spatial_scales=(1.0, 0.5), backend="emulated"),
        **options,
    ).sum().backward()


def overlapping(maps, coordinates):
    a, b = boxes_of(coordinates).requires_grad_(), boxes_of(coordinates).requires_grad_()
    kernels.box_iou(a, b, backend="emulated").sum().backward()


def kept(maps, coordinates):
    boxes, scores = boxes_of(coordinates), torch.ones(2, dtype=coordinates)
    kernels.nms(boxes, scores, iou_threshold=0.5, backend="emulated")


def pasted(maps, coordinates):
    for threshold in (0.5, None):
        masks = torch.ones(2, 5, 5, dtype=maps)
        given = dict(size=(9, 8), threshold=threshold, backend="emulated")
        kernels.paste_masks(masks, boxes_of(coordinates), **given)


def cropped(maps, coordinates):
    masks, index = torch.ones(2, 9, 8, dtype=torch.bool), torch.tensor([0, 1])
    for threshold in (0.5, None):
        given = dict(size=3, threshold=threshold, backend="emulated")
        kernels.crop_masks(masks, index, boxes_of(coordinates), **given)


SCALED = {"spatial_scale": 1.0}
USES = {
    "box_iou": [overlapping],
    "crop_and_resize": [partial(pooled, kernels.crop_and_resize)],
    "crop_masks": [cropped],
    "multilevel_roi_align": [on_levels, partial(on_levels, reduce="max")],
    "nms": [kept],
    "paste_masks": [pasted],
    "roi_pool": [partial(pooled, kernels.roi_pool, **SCALED)],
}


def test_every_program_here_is_used_below():
    found = Path(kernels.__file__).parent.glob("*/cuda.cu")
    assert sorted(path.parent.name for path in found) == list(USES)
    shared = Path(kernels.__file__).parent.glob("cuda/*.cu")
    assert [path.name for path in shared] == ["layout.cu"]


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
def test_turning_compiles_between_the_dtypes_of_sums_and_maps(arch):
    pytest.importorskip("cuda.core")
    f32, f64 = torch.float32, torch.float64
    pairs = [(f32, f32), (f64, f64), (f32, torch.float16), (f32, torch.bfloat16)]
    pairs += [(torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16)]
    for source, target in pairs:
        assert layout._program(source, target).cubin(arch)


@pytest.mark.parametrize(("arch", "dtype"), [*QUICK, *SLOW], ids=str)
@pytest.mark.parametrize("name", USES)
def test_every_program_compiles_as_it_is_launched(name, arch, dtype, compiles, monkeypatch):
    launched = {}

    def launch(program, kernel, *arguments, grid, block):
        launched.setdefault(program, []).append(kernel)

    monkeypatch.setattr(Program, "launch", launch)
    for use in USES[name]:
        use(dtype, torch.float64 if dtype == torch.float64 else torch.float32)
    assert launched
    for program, used in launched.items():
        code = program.cubin(arch)
        assert all(kernel.encode() in code for kernel in used)


def test_the_example_of_the_guide_is_a_kernel(write, emulates):
    _, rest = kernels.cuda.__doc__.split("\nmy.cu:\n")
    code, rest = rest.split("\nmy.py:\n")
    script, _ = rest.split("\n`python -m kernels check my.py`")
    write("my.cu", textwrap.dedent(code))
    emulated, *_ = declared_in(write("my.py", textwrap.dedent(script)))
    assert emulated.title == "mine[emulated]"
    a, b = torch.rand(2, 9, 4).cumsum(2)
    torch.testing.assert_close(emulated.function(a, b), kernels.box_iou(a, b))
