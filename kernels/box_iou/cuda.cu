// IoU of every box of a with every box of b.
//
// Bound by the n * m numbers it writes. A thread keeps one box of b in registers and passes down
// ROWS boxes of a, which the block shares; a warp writes neighbouring numbers of a row.
// Bytes: sizeof(REAL) * (n m + 4 n + 4 m), and those of b once more per ROWS boxes of a, from cache.
// REAL: float or double.

#include "iou.cuh"

constexpr int ROWS = 32;

extern "C" __global__ void box_iou(
    const REAL *a,  // (n, 4) x1, y1, x2, y2
    const REAL *b,  // (m, 4)
    REAL *found,    // (n, m)
    long long n, long long m) {
    __shared__ Box rows[ROWS];
    const long long first = (long long)blockIdx.x * ROWS;
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;  // of ROWS at least
    if (thread < ROWS && first + thread < n) rows[thread] = box_at(a, first + thread);
    __syncthreads();
    const long long column = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= m) return;
    const Box own = box_at(b, column);
    for (int r = threadIdx.y; r < ROWS && first + r < n; r += blockDim.y) {
        const REAL shared = shared_area(rows[r], own);
        found[(first + r) * m + column] = iou(shared, rows[r].area + own.area - shared);
    }
}
