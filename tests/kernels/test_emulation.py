"""The emulation sees what a kernel does wrong, and accuses none that does it right.

Each kernel below is right where `wrong` is 0, and commits one fault where it is 1.
"""

import ctypes

import pytest
import torch

from kernels.cuda import Program, emulation, host

KERNELS = r"""
#include "scalar.cuh"

extern "C" __global__ void reads(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = a[(long long)threadIdx.x + wrong];
}

extern "C" __global__ void writes(const float* a, float* out, long long wrong) {
    out[(long long)threadIdx.x + wrong] = a[threadIdx.x];
}

extern "C" __global__ void writes_const(const float* a, float* out, long long wrong) {
    float* target = wrong ? const_cast<float*>(a) : out;
    target[threadIdx.x] = 1;
}

extern "C" __global__ void copies(const float* a, float* out, long long wrong) {
    struct Many { float of[64]; };
    ((Many*)out)[0] = ((const Many*)(a + wrong))[0];
}

extern "C" __global__ void clears(const float* a, float* out, long long wrong) {
    memset(out, 0, (64 + wrong) * sizeof(float));
}

extern "C" __global__ void loads_wide(const float* a, float* out, long long wrong) {
    vec<float, 4> four = *(const vec<float, 4>*)(a + wrong);
    out[0] = four.at[0] + four.at[3];
}

extern "C" __global__ void stores_wide(const float* a, float* out, long long wrong) {
    *(float4*)(out + wrong) = {a[0], a[1], a[2], a[3]};
}

extern "C" __global__ void stores_very_wide(const half_t* a, half_t* out, long long wrong) {
    *(vec<half_t, 8>*)(out + wrong) = *(const vec<half_t, 8>*)a;
}

extern "C" __global__ void turns(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    kept[threadIdx.x] = 0;
    __syncthreads();
    kept[threadIdx.x] = a[threadIdx.x];
    if (!wrong) __syncthreads();
    out[threadIdx.x] = kept[63 - threadIdx.x];
}

extern "C" __global__ void reuses(const float* a, float* out, long long wrong) {
    __shared__ float kept;
    for (int i = 0; i < 2; i++) {
        if (threadIdx.x == i) kept = a[i];
        __syncthreads();
        out[threadIdx.x] = kept;
        if (!wrong) __syncthreads();
    }
}

extern "C" __global__ void forgets(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    if (!wrong || threadIdx.x != 5) kept[threadIdx.x] = a[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = kept[63 - threadIdx.x];
}

extern "C" __global__ void goes_beyond(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    float* target = kept;
    for (int i = 0; i < 4096 * wrong; i++) target[i] = 1;  // on through what other kernels share
    kept[threadIdx.x] = a[threadIdx.x];
    out[threadIdx.x] = kept[threadIdx.x];
}

extern "C" __global__ void writes_a_constant(const float* a, float* out, long long wrong) {
    static const float table[4] = {1, 2, 3, 4};
    float* target = wrong ? const_cast<float*>(table) : out;
    target[threadIdx.x] = table[threadIdx.x % 4] + a[threadIdx.x];
}

extern "C" __global__ void keeps_between_blocks(const float* a, float* out, long long wrong) {
    __shared__ float kept;
    if (threadIdx.x == 0 && (!wrong || blockIdx.x == 0)) kept = a[0];
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] = kept;
}

extern "C" __global__ void swaps(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    kept[threadIdx.x] = a[threadIdx.x];
    if (!wrong) __syncwarp();
    out[threadIdx.x] = kept[threadIdx.x ^ 1];
}

extern "C" __global__ void takes_64_lanes(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    kept[threadIdx.x] = a[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = kept[threadIdx.x ^ (wrong ? 32 : 16)];
}

extern "C" __global__ void syncs_half(const float* a, float* out, long long wrong) {
    __shared__ float kept[64];
    kept[threadIdx.x] = a[threadIdx.x];
    __syncwarp(threadIdx.x % 32 < 16 ? 0xffff : 0xffff0000);
    out[threadIdx.x] = kept[threadIdx.x ^ (wrong ? 16 : 8)];
}

extern "C" __global__ void counts(const float* a, float* out, long long wrong) {
    if (wrong) out[0] += a[threadIdx.x];
    else atomic_add(out, a[threadIdx.x]);
}

extern "C" __global__ void counts_blocks(const float* a, float* out, long long wrong) {
    if (threadIdx.x) return;
    if (wrong) out[0] += a[blockIdx.x];
    else atomic_add(out, a[blockIdx.x]);
}

extern "C" __global__ void resets(const float* a, float* out, long long wrong) {
    atomic_add(out, a[threadIdx.x]);
    if (wrong && threadIdx.x == 9) out[0] = 0;
}

extern "C" __global__ void reads_another(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = a[threadIdx.x];
    __syncthreads();
    out[64 + threadIdx.x] = out[63 - threadIdx.x];
    if (wrong) out[threadIdx.x] = out[65];
}

extern "C" __global__ void diverges(const float* a, float* out, long long wrong) {
    if (!wrong || threadIdx.x < 16) __syncthreads();
    out[threadIdx.x] = a[threadIdx.x];
}

extern "C" __global__ void has_two_barriers(const float* a, float* out, long long wrong) {
    if (wrong && threadIdx.x < 16) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = a[threadIdx.x];
}

extern "C" __global__ void shuffles_apart(const float* a, float* out, long long wrong) {
    float x = 0;
    if (!wrong || threadIdx.x < 16) x = __shfl_xor_sync(0xffffffff, a[threadIdx.x], 1);
    __syncthreads();
    out[threadIdx.x] = x;
}

extern "C" __global__ void is_not_in_its_mask(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = __shfl_sync(wrong ? 0x7fffffff : 0xffffffff, a[threadIdx.x], 0);
}

extern "C" __global__ void multiplies(const float* a, float* out, long long wrong) {
    int rows = 1 << 16, columns = wrong ? 1 << 15 : 1 << 14;
    int last = rows * columns * (1 + threadIdx.x / 64);
    out[threadIdx.x] = a[threadIdx.x] + (last > 0);
}

extern "C" __global__ void adds(const float* a, float* out, long long wrong) {
    int index = 0x7fffff00 + int(threadIdx.x) + (wrong ? 0xff : 0);
    out[threadIdx.x] = a[threadIdx.x] + (index > 0);
}

extern "C" __global__ void divides(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = a[threadIdx.x] + 7 / int(1 - wrong);
}

extern "C" __global__ void shifts(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = 1u << (31 + int(wrong));
}

extern "C" __global__ void rounds(const float* a, float* out, long long wrong) {
    out[threadIdx.x] = int(a[threadIdx.x] + (wrong ? 3e9f : 0.0f));
}

extern "C" __global__ void indexes(const float* a, float* out, long long wrong) {
    float ring[4] = {a[0], a[1], a[2], a[3]};
    out[threadIdx.x] = ring[(threadIdx.x & 3) + int(wrong)];
}

extern "C" __global__ void has_no_pointer(const float* a, float* out, long long wrong) {
    const float* source = wrong ? nullptr : a;
    out[threadIdx.x] = source[threadIdx.x];
}
"""
BETWEEN = "a race, no barrier between them"
FAULTS = {
    "reads": "thread (63, 0, 0): reads 4 bytes, 4 past the end of `a`",
    "writes": "thread (63, 0, 0): writes 4 bytes, 4 past the end of `out`",
    "writes_const": "writes 4 bytes of `a`, which is const",
    "copies": "reads 256 bytes, 4 past the end of `a`",
    "clears": "writes 260 bytes, 4 past the end of `out`",
    "loads_wide": "not aligned to",
    "stores_wide": "not aligned to",
    "stores_very_wide": "not aligned to",
    "turns": f"4 bytes of shared memory that thread (31, 0, 0) read: {BETWEEN}",
    "reuses": BETWEEN,
    "forgets": "thread (58, 0, 0): reads shared memory that nobody in the block wrote",
    "goes_beyond": "thread (0, 0, 0): writes beyond shared memory",
    "writes_a_constant": "thread (0, 0, 0): writes 4 bytes of a constant",
    "keeps_between_blocks": "reads shared memory that nobody in the block wrote",
    "swaps": "thread (0, 0, 0): reads shared memory that nobody",
    "takes_64_lanes": "shared memory that thread (32, 0, 0) wrote: a race",
    "syncs_half": "shared memory that thread (16, 0, 0) wrote: a race",
    "counts": f"4 bytes of `out` that thread (0, 0, 0) wrote: {BETWEEN}",
    "counts_blocks": "thread (0, 0, 0) of block (0, 0, 0) wrote: a race, blocks have no order",
    "resets": f"4 bytes of `out` that thread (9, 0, 0) wrote: {BETWEEN}",
    "reads_another": BETWEEN,
    "diverges": "waits at __syncthreads, and thread (16, 0, 0) has returned without it",
    "has_two_barriers": "waits at __syncthreads, and thread (16, 0, 0) waits at __syncthreads",
    "shuffles_apart": "waits at __shfl_xor_sync",
    "is_not_in_its_mask": "thread (31, 0, 0): is not in the mask 0x7fffffff of its __shfl_sync",
    "multiplies": "'int' overflows: 32768 * 65536",
    "adds": "'int' overflows: 2147483",
    "divides": "'int' overflows: 7 / 0",
    "shifts": "'unsigned int' shifted by 32",
    "rounds": "'float' to 'int' of a value that it cannot hold",
    "indexes": "index 4 of an array 'float [4]'",
    "has_no_pointer": "reads 4 bytes through a null pointer",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    file = tmp_path_factory.mktemp("faults") / "faults.cu"
    file.write_text(KERNELS)
    try:
        host.compiler()
    except host.NoCompiler as missing:
        pytest.skip(str(missing))
    return Program(file)


def run(program, kernel, wrong, blocks=2):
    dtype = torch.float16 if "very_wide" in kernel else torch.float32
    a = torch.arange(64).to(dtype)
    out = torch.zeros(128 if kernel == "reads_another" else 64, dtype=dtype)
    one = kernel in BLOCKS_OF_ONE
    blocks = blocks if "blocks" in kernel else 1
    program.launch(kernel, a, out, wrong, grid=blocks, block=1 if one else 64)
    return out


BLOCKS_OF_ONE = ("copies", "clears", "loads_wide", "stores_wide", "stores_very_wide")


def test_every_kernel_here_has_a_fault(program):
    assert list(program.kernels) == list(FAULTS)


@pytest.mark.parametrize("order", emulation.ORDERS)
@pytest.mark.parametrize("kernel", FAULTS)
def test_the_right_twin_is_not_accused(program, kernel, order):
    with emulation.ordered(order):
        assert run(program, kernel, 0).isfinite().all()


@pytest.mark.parametrize("kernel", FAULTS)
def test_the_wrong_twin_is_caught(program, kernel):
    with pytest.raises(emulation.Fault) as caught:
        run(program, kernel, 1)
    assert FAULTS[kernel] in str(caught.value)
    at = int(str(caught.value).split("faults.cu:")[1].rstrip(")"))
    lines = KERNELS.split("\n")
    began = next(i for i, line in enumerate(lines, 1) if f" {kernel}(" in line)
    assert began < at < lines.index("}", began) + 1


def test_a_fault_ends_a_launch_and_nothing_more(program):
    """What was written before it is there, and the next launch, on the same fibers, is right."""
    a, out = torch.arange(64.0), torch.zeros(64)
    for _ in range(3):
        with pytest.raises(emulation.Fault):
            program.launch("reads", a, out, 1, grid=1, block=64)
        assert torch.equal(out[:63], a[1:])
        assert out[63] == 0
        with pytest.raises(emulation.Fault):
            run(program, "shuffles_apart", 1)
        assert torch.equal(run(program, "turns", 0), a.flip(0))


def test_a_read_before_the_start_is_told_so(program):
    with pytest.raises(emulation.Fault, match="reads 4 bytes, 4 before the start of `a`"):
        run(program, "reads", -1)


LANGUAGE = r"""
#include "scalar.cuh"

struct Shape {
    int rows, columns;
    double scale;
};

extern "C" __global__ void ticket(int* count, int* blocks, int* threads) {
    int mine = atomicAdd(count, 1);
    blocks[mine] = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    threads[mine] = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

extern "C" __global__ void strided(const float* a, float* out, Shape shape, long long row,
                                   long long column) {
    int i = threadIdx.y, j = threadIdx.x;
    if (i < shape.rows && j < shape.columns)
        out[i * shape.columns + j] = a[i * row + j * column] * float(shape.scale);
}

extern "C" __global__ void shift_left(float* a, const float* b) { a[threadIdx.x] = b[threadIdx.x]; }

extern "C" __global__ void sum_of_warp(const float* a, float* out) {
    float sum = a[threadIdx.x];
    for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffff, sum, step);
    out[threadIdx.x] = sum;
}

extern "C" __global__ void sum_of_those_there(const float* a, float* out) {
    int warp = threadIdx.x / 32, there = min(32, int(blockDim.x) - 32 * warp);
    unsigned mask = there == 32 ? 0xffffffff : (1u << there) - 1;
    float sum = a[threadIdx.x];
    for (int step = 16; step; step /= 2) {
        float other = __shfl_down_sync(mask, sum, step);
        if (threadIdx.x % 32 + step < there) sum += other;
    }
    out[threadIdx.x] = sum;
}

extern "C" __global__ void warp_functions(long long* out) {
    int lane = threadIdx.x;
    long long found[] = {
        __shfl_sync(0xffffffff, lane, 5),
        __shfl_sync(0xffffffff, lane, 9, 8),
        __shfl_up_sync(0xffffffff, lane, 3),
        __shfl_up_sync(0xffffffff, lane, 3, 16),
        __shfl_down_sync(0xffffffff, lane, 4, 8),
        __shfl_xor_sync(0xffffffff, lane, 6),
        (long long)(__shfl_sync(0xffffffff, lane * 0.5, 7) * 2),
        __ballot_sync(0xffffffff, lane % 3 == 0),
        __all_sync(0xffffffff, lane < 32),
        __all_sync(0xffffffff, lane < 31),
        __any_sync(0xffffffff, lane == 31),
        __any_sync(0xffffffff, lane == 32),
        __match_any_sync(0xffffffff, lane / 16),
        __reduce_add_sync(0xffffffff, unsigned(lane)),
        __reduce_max_sync(0xffffffff, lane),
        __reduce_min_sync(0xffffffff, lane - 4),
        __syncthreads_count(lane < 7),
        __syncthreads_and(lane < 31),
        __syncthreads_or(lane == 31),
        __activemask() >> lane & 1,
    };
    for (int i = 0; i < 20; i++) out[i * 32 + lane] = found[i];
}

extern "C" __global__ void atomics(int* i, unsigned long long* u, double* d) {
    atomicAdd(i, 2);
    atomicSub(i + 1, 3);
    atomicMin(i + 2, -int(threadIdx.x));
    atomicMax(i + 3, int(threadIdx.x));
    atomicOr(i + 4, 1 << threadIdx.x % 8);
    atomicExch(i + 5, 9);
    atomicCAS(i + 6, 0, int(threadIdx.x) + 1);
    atomicXor(i + 7, 3);
    atomicAnd(i + 8, ~(1 << threadIdx.x % 8));
    atomicAdd(u, 1ull << 40);
    atomicAdd(d, 0.5);
}

extern "C" __global__ void intrinsics(const float* x, long long* out, float* floats) {
    int i = threadIdx.x;
    float a = x[i];
    out[i * 6] = __float2int_rn(a);
    out[i * 6 + 1] = __float2int_rd(a);
    out[i * 6 + 2] = __float2ll_rz(a);
    out[i * 6 + 3] = __float2uint_ru(a);
    out[i * 6 + 4] = __double2int_rz(double(a) * 2);
    out[i * 6 + 5] = __popc(__float_as_uint(a)) + 100 * __ffs(i) + 10000 * __clz(i);
    floats[i * 3] = __fadd_rn(__fmul_rn(a, a), 1);
    floats[i * 3 + 1] = max(a, __int_as_float(0x7fc00000));
    floats[i * 3 + 2] = min(0.0f, a);
}

extern "C" __global__ void far(unsigned char* a, long long at) { a[at + threadIdx.x] = 7; }

extern "C" __global__ void widened(const half_t* a, const bfloat_t* b, float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i] = widen(a[i]);
    y[i] = widen(b[i]);
}

extern "C" __global__ void narrowed_to(const float* x, half_t* a, bfloat_t* b, long long n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    a[i] = narrow<half_t>(x[i]);
    b[i] = narrow<bfloat_t>(x[i]);
}
"""


@pytest.fixture(scope="module")
def language(tmp_path_factory, program):
    file = tmp_path_factory.mktemp("language") / "language.cu"
    file.write_text(LANGUAGE)
    return Program(file)


def test_an_order_is_that_of_the_blocks_and_of_their_threads(language):
    def taken():
        count, blocks, threads = (torch.zeros(n, dtype=torch.int32) for n in (1, 48, 48))
        language.launch("ticket", count, blocks, threads, grid=(3, 2, 1), block=(2, 2, 2))
        return blocks[::8].tolist(), threads[:8].tolist()

    assert taken() == (list(range(6)), list(range(8)))
    with emulation.ordered("reversed"):
        assert taken() == ([5, 4, 3, 2, 1, 0], [7, 6, 5, 4, 3, 2, 1, 0])
    seen = []
    for seed in (1, 2, 1):
        with emulation.ordered("shuffled", seed):
            seen.append(taken())
    assert seen[0] == seen[2] != seen[1]
    assert sorted(seen[0][0]) == list(range(6))
    assert taken() == (list(range(6)), list(range(8)))


class Shape(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_int), ("columns", ctypes.c_int), ("scale", ctypes.c_double)]


def test_views_keep_their_strides_and_end_with_their_last_element(language):
    whole = torch.arange(60.0).reshape(6, 10)
    view, out = whole[1:4, 2:9:3], torch.zeros(3, 3)
    shape = Shape(3, 3, 0.5)
    language.launch("strided", view, out, shape, *view.stride(), grid=1, block=(4, 4))
    assert torch.equal(out, view * 0.5)
    with pytest.raises(emulation.Fault, match="reads 4 bytes, 8 past the end of `a`"):
        language.launch("strided", view, out, shape, 10, 4, grid=1, block=(4, 4))
    with pytest.raises(TypeError, match="shape has 16 bytes, got 4"):
        language.launch("strided", view, out, Half(3), 10, 3, grid=1, block=(4, 4))


class Half(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_int)]


def test_tensors_that_overlap_are_one_memory(language):
    a = torch.arange(9.0)
    with emulation.ordered("forward"), pytest.raises(emulation.Fault, match="`a` and `b` that"):
        language.launch("shift_left", a[:8], a[1:], grid=1, block=8)
    language.launch("shift_left", a[:4], a[4:8], grid=1, block=4)
    assert a.tolist() == [4, 5, 6, 7, 4, 5, 6, 7, 8]


def test_a_partial_warp_has_no_values_for_the_lanes_it_lacks(language):
    a = torch.arange(40.0)
    out = torch.zeros(40)
    language.launch("sum_of_those_there", a, out, grid=1, block=40)
    assert (out[0], out[32]) == (sum(range(32)), sum(range(32, 40)))
    language.launch("sum_of_warp", a, out, grid=1, block=40)
    assert out[0] == sum(range(32))
    assert out[32].isnan()


def test_functions_of_a_warp(language):
    out = torch.zeros(20, 32, dtype=torch.int64)
    language.launch("warp_functions", out, grid=1, block=32)
    lane = torch.arange(32)
    every = torch.ones(32, dtype=torch.int64)
    expected = [
        every * 5,
        lane // 8 * 8 + 1,
        torch.where(lane < 3, lane, lane - 3),
        torch.where(lane % 16 < 3, lane, lane - 3),
        torch.where(lane % 8 >= 4, lane, lane + 4),
        lane ^ 6,
        every * 7,
        every * sum(1 << i for i in range(0, 32, 3)),
        *(every * n for n in (1, 0, 1, 0)),
        torch.where(lane < 16, 0xFFFF, 0xFFFF0000),
        *(every * n for n in (496, 31, -4, 7, 0, 1, 1)),
    ]
    for number, (found, right) in enumerate(zip(out, expected, strict=True)):
        assert torch.equal(found, right), number


def test_atomic_operations(language):
    i = torch.zeros(9, dtype=torch.int32)
    i[8] = 511
    u, d = torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
    language.launch("atomics", i, u, d, grid=3, block=32)
    assert i.tolist() == [192, -288, -31, 31, 255, 9, 1, 0, 256]
    assert u.item() == 96 << 40
    assert d.item() == 48


def test_conversions_saturate_and_arithmetic_is_that_of_a_gpu(language):
    x = torch.tensor([2.5, -1.5, 3e9, -3e9, torch.inf, torch.nan])
    out = torch.zeros(6, 6, dtype=torch.int64)
    floats = torch.zeros(6, 3)
    language.launch("intrinsics", x, out, floats, grid=1, block=6)
    low, high = -(2**31), 2**31 - 1
    lowest, highest = -(2**63), 2**63 - 1
    assert out[:, 0].tolist() == [2, -2, high, low, high, 0]
    assert out[:, 1].tolist() == [2, -2, high, low, high, 0]
    assert out[:, 2].tolist() == [2, -1, 3 * 10**9, -3 * 10**9, highest, lowest]
    assert out[:, 3].tolist() == [3, 0, 3 * 10**9, 0, 2**32 - 1, 0]
    assert out[:, 4].tolist() == [5, -3, high, low, high, 0]
    assert out[1, 5] == bin(0xBFC00000).count("1") + 100 * 1 + 10000 * 31
    assert torch.equal(floats[:5, 0], x[:5] * x[:5] + 1)
    assert torch.equal(floats[:5, 1], x[:5])
    assert floats[:, 2].tolist() == [0, -1.5, 0, -3e9, 0, 0]


def test_a_tensor_too_large_to_copy_is_checked_in_place(language):
    """Two gigabytes, of which a few pages are touched: an index of 32 bits would not reach."""
    big = torch.empty(2**31 + 100, dtype=torch.uint8)
    language.launch("far", big, 2**31 + 10, grid=1, block=32)
    assert big[2**31 + 10 : 2**31 + 42].eq(7).all()
    with pytest.raises(emulation.Fault, match="1 past the end of `a`"):
        language.launch("far", big, 2**31 + 90, grid=1, block=32)


def test_every_number_of_half_the_width_is_widened(language):
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    a, b = bits.view(torch.float16), bits.view(torch.bfloat16)
    x, y = torch.zeros(2, 2**16)
    language.launch("widened", a, b, x, y, grid=256, block=256)
    assert same_numbers(x, a.float())
    assert same_numbers(y, b.float())


def test_numbers_are_narrowed_to_the_nearest_ties_to_even(language):
    """Each one of half the width, the points between them, and what is next to those."""
    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    halves = bits.view(torch.float16).float()
    between = (halves[:-1] + halves[1:]) / 2
    wide = bits.int().mul(2**16)
    near = (wide[:, None] + torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001])).view(torch.float32)
    x = torch.cat([halves, between, between.nextafter(torch.tensor(torch.inf))])
    x = torch.cat([x, between.nextafter(-torch.tensor(torch.inf)), near.flatten()])
    a, b = torch.empty_like(x, dtype=torch.float16), torch.empty_like(x, dtype=torch.bfloat16)
    language.launch("narrowed_to", x, a, b, len(x), grid=-(-len(x) // 256), block=256)
    assert same_numbers(a, x.half())
    assert same_numbers(b, x.bfloat16())


def same_numbers(found, right):
    """Equal to the sign of zero; any NaN for a NaN."""
    alike = (found == right) & (found.signbit() == right.signbit())
    return bool((alike | found.isnan() & right.isnan()).all())
