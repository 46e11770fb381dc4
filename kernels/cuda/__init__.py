"""CUDA C++ that needs no toolkit to build and no GPU to be checked.

A `Program` is a .cu file. On CUDA tensors its kernels are compiled by NVRTC and launched on
PyTorch's current stream; on CPU tensors the same text is compiled by g++ and run there, one thread
after another, each access to memory watched. To put a kernel of your own under test, write two
files.

my.cu:

    extern "C" __global__ void iou(
        const float* a,  // (n, 4) x1, y1, x2, y2
        const float* b,  // (m, 4)
        float* out,      // (n, m)
        long long n, long long m)
    {
        const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
        if (i >= n * m) return;
        const float *p = a + 4 * (i / m), *q = b + 4 * (i % m);
        const float width = max(min(p[2], q[2]) - max(p[0], q[0]), 0.0f);
        const float height = max(min(p[3], q[3]) - max(p[1], q[1]), 0.0f);
        const float both = __fmul_rn(width, height);
        const float own = __fmul_rn(p[2] - p[0], p[3] - p[1]);
        const float other = __fmul_rn(q[2] - q[0], q[3] - q[1]);
        const float either = own + other - both;
        out[i] = either > 0 ? both / either : 0;
    }

my.py:

    from pathlib import Path

    from kernels.conformance import kernel
    from kernels.cuda import Program

    PROGRAM = Program(Path(__file__).with_name("my.cu"))


    @kernel("box_iou", name="mine", lanes=["emulated", "gpu"])
    def mine(a, b):
        n, m = len(a), len(b)
        out = a.new_empty(n, m)
        given = (a.contiguous(), b.contiguous(), out, n, m)
        PROGRAM.launch("iou", *given, grid=-(-n * m // 128), block=128)
        return out

`python -m kernels check my.py` then holds it to the definition.

The language. NVRTC's: C++17 with what it has built in and no headers, so threadIdx, float4,
__syncthreads, __shfl_down_sync, atomicAdd, min, floor, __fmul_rn, but neither <cstdint> nor
cuda_fp16.h. `#include "x.cuh"` is put in textually, each file once, from beside the file or from
here; `scalar.cuh` has float16, bfloat16 and wide loads. Kernels are `extern "C" __global__ void`,
and take pointers, `long long`, `double` and structures by value. A program in several types is one
file with macros: `PROGRAM.with_defines(**scalars(features.dtype, rois.dtype))`.

Rounding. NVRTC makes one rounding of a * b + c; here on a CPU there are two. Where a definition
jumps - a coordinate that is floored, a threshold - write __fmul_rn and __fadd_rn (__dmul_rn,
__dadd_rn), which are never fused.

What the emulation takes for a fault, as `Fault` with the block, the thread and the line:

- an access outside the tensors that were given, in a view outside its first and last element; one
  that is not aligned; a write through a pointer to const
- two threads that access the same memory, one of them writing: in a block with no barrier between
  (a warp's threads: no __syncwarp), in two blocks always. Atomic operations do not race with each
  other. What one block hands another through a flag is therefore a fault too
- shared memory read before the block wrote it
- a barrier that not all threads of the block come to, at the same line; a warp function that lanes
  of its mask never come to. A lane that is not there gives NaN, or -1
- an integer that overflows, a shift or a division that has no result, a float cast to an integer
  that cannot hold it (say __float2int_rd, which saturates), an index outside an array

`with ordered("reversed")` and "shuffled" run blocks, and threads between barriers, in other orders:
a result that changes depends on one. Not seen: reads of a result that was never written, unsigned
integers that wrap, more shared memory or registers than a GPU has, and all that is about speed. A
thread that spins until another writes never ends. Dynamic shared memory is not offered. Tensors
that span more than 64 MB are not copied: an access outside one may then hit another, and their
races are not looked for.

Compiled programs are kept in mrcnn-lab/cuda under $XDG_CACHE_HOME or ~/.cache, by the hash of all
that they are made from.
"""

from kernels.cuda.driver import available
from kernels.cuda.emulation import Fault, ordered
from kernels.cuda.host import NoCompiler
from kernels.cuda.program import Program, scalars
from kernels.cuda.source import CompileError

__all__ = ["CompileError", "Fault", "NoCompiler", "Program", "available", "ordered", "scalars"]
