// What kernels over the bins of RoIs on one map share: the shapes, and the tiles of a backward pass
// that gathers. There a block sums a tile of pixels in CHANNELS channels, a thread one of them.
#pragma once
#include "scalar.cuh"

struct Shape {
    long long n, height, width, channels;  // of the maps
    long long k, rows, columns;            // of the result
};

// The image of a RoI (5); -1 for one that is not there.
__device__ inline long long image_of(const COORD* roi, long long n) {
    return roi[0] > -1 && roi[0] < n ? (long long)roi[0] : -1;
}

// Which groups of channels this thread takes: blocks along y take turns.
__device__ inline long long first_group() { return blockIdx.y * blockDim.x + threadIdx.x; }
__device__ inline long long groups_at_once() { return (long long)gridDim.y * blockDim.x; }

typedef REAL Sums[TILE][TILE][CHANNELS];

struct Tile {
    long long image, top, left;  // its first pixel
    long long channel;           // of this thread, which may be one too many
    unsigned lane;
};

// The tile of this block, and its sums set to zero.
__device__ inline Tile tile_of(const Shape& shape, Sums& sums) {
    const long long parts = (shape.channels + CHANNELS - 1) / CHANNELS;
    const long long wide = (shape.width + TILE - 1) / TILE, high = (shape.height + TILE - 1) / TILE;
    const long long tile = blockIdx.x / parts;
    const unsigned lane = threadIdx.x;
    for (int y = 0; y < TILE; ++y)
        for (int x = 0; x < TILE; ++x) sums[y][x][lane] = 0;
    return {
        tile / wide / high,
        tile / wide % high * TILE,
        tile % wide * TILE,
        blockIdx.x % parts * CHANNELS + lane,
        lane,
    };
}

// Which of the next CHANNELS RoIs touch the tile, a bit each; every thread says so of one.
__device__ inline void vote(unsigned (&touching)[CHANNELS / 32], unsigned lane, bool touches) {
    const unsigned votes = __ballot_sync(0xffffffff, touches);
    if (lane % 32 == 0) touching[lane / 32] = votes;
    __syncthreads();
}

// Writes the sums of a tile to `found` (n, height, width, channels).
__device__ inline void keep(const Tile& tile, const Sums& sums, const Shape& shape, SCALAR* found) {
    if (tile.channel >= shape.channels) return;
    for (long long y = tile.top; y < min(tile.top + TILE, shape.height); ++y)
        for (long long x = tile.left; x < min(tile.left + TILE, shape.width); ++x) {
            const long long pixel = (tile.image * shape.height + y) * shape.width + x;
            found[pixel * shape.channels + tile.channel] =
                narrow<SCALAR>(sums[y - tile.top][x - tile.left][tile.lane]);
        }
}
