// A tensor's two layouts: (batch, rows, columns) as (batch, columns, rows).
//
// Bytes: each value read once and written once.
//
// Defines: FROM and TO, the numbers before and after.
#include "scalar.cuh"

constexpr int TILE = 32, THREADS = 128, WARPS = THREADS / 32;

// A tile is read along one axis and written along the other; its rows are odd, so that no two
// threads meet in a bank of shared memory.
//   from   (batch, rows, columns)
//   to     (batch, columns, rows)
extern "C" __global__ void __launch_bounds__(THREADS) turn(
    const FROM *from, TO *to, long long rows, long long columns)
{
    __shared__ FROM tile[TILE][TILE + 1];
    const unsigned across = unsigned((columns + TILE - 1) / TILE);
    const unsigned down = unsigned((rows + TILE - 1) / TILE);
    const long long x = blockIdx.x % across * TILE, y = blockIdx.x / across % down * TILE;
    const long long start = blockIdx.x / across / down * rows * columns;
    const int lane = threadIdx.x % 32;
    for (int i = threadIdx.x / 32; i < TILE; i += WARPS)
        if (y + i < rows && x + lane < columns)
            tile[i][lane] = from[start + (y + i) * columns + x + lane];
    __syncthreads();
    for (int i = threadIdx.x / 32; i < TILE; i += WARPS)
        if (x + i < columns && y + lane < rows)
            to[start + (x + i) * rows + y + lane] = narrow<TO>(widen(tile[lane][i]));
}
