// CropAndResize, one bilinear sample per bin, the outer ones on the corners, and its gradient.
//
// The channels of a pixel lie side by side: a thread takes LANES of them in one access of up to 16
// bytes. A block takes some bins and finds once where each is read, with the reference's operations
// in the dtype of the RoIs, no product contracted with a sum: rounding decides what lies outside. A
// RoI of an image that is not there lies outside.
//
// Bytes, of e to a value of the maps, for k RoIs of rows x columns bins and c channels:
//   crop_and_resize         reads 4 pixels per bin, 4 k rows columns c e, in good part from L2;
//                           writes k rows columns c e
//   crop_and_resize_add     reads k rows columns c e; adds 4 k rows columns c REALs atomically
//   crop_and_resize_gather  reads a bin once per tile that it touches; writes n height width c e
//
// Defined by the launcher: SCALAR of the maps, REAL to add in, COORD of the RoIs; LANES; of a
// block that gathers TILE, the side of its tile in pixels, and CHANNELS, its threads.

#include "bins.cuh"

typedef vec<SCALAR, LANES> Lanes;

const int MOST_BINS = 64;  // of a block: its threads along y

// Two neighbouring pixels of an axis that a bin reads, `rest` of the second; both -1 outside.
struct Tap {
    long long pixel, next;
    REAL rest;
};

struct Bin {
    long long image;
    Tap row, column;
};

__device__ Tap tap(COORD low, COORD high, long long index, long long bins, long long length) {
    const COORD last = length - 1, half = 0.5;
    COORD point;
    if (bins == 1) {
        point = times(times(low + high, half), last);
    } else {
        const COORD start = times(low, last), end = times(high, last);
        const COORD step = (end - start) / (COORD)(bins - 1);
        point = 2 * index < bins ? start + times((COORD)index, step)
                                 : end - times((COORD)(bins - 1 - index), step);
    }
    if (!(point >= 0 && point <= last)) return {-1, -1, 0};
    const long long pixel = (long long)point;
    const COORD rest = point - (COORD)pixel;
    return {pixel, rest > 0 ? pixel + 1 : pixel, (REAL)rest};
}

// What a bin reads, by its index among the bins of all RoIs (k, 5).
__device__ Bin located(long long index, const COORD* rois, const Shape& shape) {
    const COORD* roi = rois + index / (shape.rows * shape.columns) * 5;
    const long long p = index / shape.columns % shape.rows, q = index % shape.columns;
    const Tap row = tap(roi[2], roi[4], p, shape.rows, shape.height);
    const Tap column = tap(roi[1], roi[3], q, shape.columns, shape.width);
    const bool inside = row.pixel >= 0 && column.pixel >= 0;
    return {inside ? image_of(roi, shape.n) : -1, row, column};
}

// Fills in what the bins of this block read; returns the index of the first.
__device__ long long locate(Bin* bins, const COORD* rois, const Shape& shape) {
    const long long first = (long long)blockIdx.x * blockDim.y;
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    if (thread < blockDim.y && first + thread < shape.k * shape.rows * shape.columns)
        bins[thread] = located(first + thread, rois, shape);
    __syncthreads();
    return first;
}

extern "C" __global__ void crop_and_resize(
    const Lanes* maps,  // (n, height, width, groups of LANES channels)
    const COORD* rois,  // (k, 5)
    Lanes* pooled,      // (k, rows, columns, groups)
    Shape shape,
    double outside
) {
    __shared__ Bin bins[MOST_BINS];
    const long long index = locate(bins, rois, shape) + threadIdx.y;
    if (index >= shape.k * shape.rows * shape.columns) return;
    const long long groups = shape.channels / LANES;
    const Bin bin = bins[threadIdx.y];
    const Lanes* upper = maps + (bin.image * shape.height + bin.row.pixel) * shape.width * groups;
    const Lanes* lower = maps + (bin.image * shape.height + bin.row.next) * shape.width * groups;
    const long long left = bin.column.pixel * groups, right = bin.column.next * groups;
    const REAL down = bin.row.rest, across = bin.column.rest;
    for (long long group = first_group(); group < groups; group += groups_at_once()) {
        Lanes found;
        if (bin.image < 0) {
            for (int i = 0; i < LANES; ++i) found.at[i] = narrow<SCALAR>((REAL)outside);
        } else {
            const Lanes a = upper[left + group], b = upper[right + group];
            const Lanes c = lower[left + group], d = lower[right + group];
            for (int i = 0; i < LANES; ++i) {
                const REAL above = widen(a.at[i]) * (1 - across) + widen(b.at[i]) * across;
                const REAL below = widen(c.at[i]) * (1 - across) + widen(d.at[i]) * across;
                found.at[i] = narrow<SCALAR>(above * (1 - down) + below * down);
            }
        }
        pooled[index * groups + group] = found;
    }
}

extern "C" __global__ void crop_and_resize_add(
    const Lanes* grads,  // (k, rows, columns, groups)
    const COORD* rois,   // (k, 5)
    REAL* sums,          // (n, height, width, channels), zeros
    Shape shape
) {
    __shared__ Bin bins[MOST_BINS];
    const long long index = locate(bins, rois, shape) + threadIdx.y;
    if (index >= shape.k * shape.rows * shape.columns || bins[threadIdx.y].image < 0) return;
    const Bin bin = bins[threadIdx.y];
    const Tap row = bin.row, column = bin.column;
    REAL* upper = sums + (bin.image * shape.height + row.pixel) * shape.width * shape.channels;
    REAL* lower = sums + (bin.image * shape.height + row.next) * shape.width * shape.channels;
    const long long groups = shape.channels / LANES;
    for (long long group = first_group(); group < groups; group += groups_at_once()) {
        const Lanes grad = grads[index * groups + group];
        for (int i = 0; i < LANES; ++i) {
            const REAL above = widen(grad.at[i]) * (1 - row.rest);
            const REAL below = widen(grad.at[i]) * row.rest;
            const long long left = column.pixel * shape.channels + group * LANES + i;
            const long long right = column.next * shape.channels + group * LANES + i;
            atomic_add(upper + left, above * (1 - column.rest));
            atomic_add(upper + right, above * column.rest);
            atomic_add(lower + left, below * (1 - column.rest));
            atomic_add(lower + right, below * column.rest);
        }
    }
}

// Whether a tile's pixels from `start` on may be read between two ends; a pixel more for rounding.
__device__ inline bool near(COORD low, COORD high, long long start, long long length) {
    const COORD a = times(low, (COORD)(length - 1)), b = times(high, (COORD)(length - 1));
    return min(a, b) < start + TILE + 1 && max(a, b) > start - 2;
}

__device__ inline bool meets(const Tap& tap, long long start) {
    return tap.next >= start && tap.pixel < start + TILE && tap.pixel >= 0;
}

// A block sums a tile of pixels in CHANNELS channels, a thread one of them, RoI by RoI in order.
extern "C" __global__ void crop_and_resize_gather(
    const SCALAR* grads,  // (k, rows, columns, channels)
    const COORD* rois,    // (k, 5)
    SCALAR* found,        // (n, height, width, channels)
    Shape shape
) {
    __shared__ Sums sums;
    __shared__ unsigned touching[CHANNELS / 32];
    const long long rows = shape.rows, columns = shape.columns, channels = shape.channels;
    const Tile tile = tile_of(shape, sums);
    const long long channel = tile.channel, top = tile.top, left = tile.left;
    const unsigned lane = tile.lane;
    for (long long start = 0; start < shape.k; start += CHANNELS) {
        bool touches = false;
        if (start + lane < shape.k) {
            const COORD* roi = rois + (start + lane) * 5;
            touches = image_of(roi, shape.n) == tile.image && near(roi[2], roi[4], top, shape.height) &&
                      near(roi[1], roi[3], left, shape.width);
        }
        vote(touching, lane, touches);
        for (int word = 0; word < CHANNELS / 32; ++word)
            for (unsigned more = touching[word]; more; more &= more - 1) {
                const long long k = start + word * 32 + __ffs(more) - 1;
                const COORD* roi = rois + k * 5;
                for (long long p = 0; p < rows; ++p) {
                    const Tap row = tap(roi[2], roi[4], p, rows, shape.height);
                    if (!meets(row, top)) continue;
                    for (long long q = 0; q < columns; ++q) {
                        const Tap column = tap(roi[1], roi[3], q, columns, shape.width);
                        if (!meets(column, left) || channel >= channels) continue;
                        const long long bin = (k * rows + p) * columns + q;
                        const REAL grad = widen(grads[bin * channels + channel]);
                        for (int i = 0; i < 4; ++i) {
                            const long long y = (i < 2 ? row.pixel : row.next) - top;
                            const long long x = (i % 2 ? column.next : column.pixel) - left;
                            const REAL down = i < 2 ? 1 - row.rest : row.rest;
                            const REAL across = i % 2 ? column.rest : 1 - column.rest;
                            if (y >= 0 && y < TILE && x >= 0 && x < TILE)
                                sums[y][x][lane] += grad * down * across;
                        }
                    }
                }
            }
        __syncthreads();
    }
    keep(tile, sums, shape, found);
}
