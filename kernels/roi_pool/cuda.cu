// RoIPool, the maximum of each bin of a RoI rounded to whole pixels, and its gradient.
//
// The channels of a pixel lie side by side: a thread takes LANES of them in one access of up to 16
// bytes. A block takes some bins and finds once where each lies, with the reference's operations in
// the dtype of the RoIs, no product contracted with a sum. A RoI of an image that is not there has
// no pixels.
//
// Bytes, of e to a value of the maps, for k RoIs of rows x columns bins and c channels:
//   roi_pool         reads each pixel of each bin, e c x the sum of their areas, in good part from
//                    L2; writes k rows columns c e
//   roi_pool_add     reads the same and the gradients; adds k rows columns c REALs atomically
//   roi_pool_places  reads the same; writes k rows columns c 8
//   roi_pool_gather  reads place and gradient of a bin, 8 + e to a channel, once per tile that it
//                    touches; writes n height width c e
//
// Defined by the launcher: SCALAR of the maps, REAL to add in, COORD of the RoIs; LANES; of a
// block that gathers TILE, the side of its tile in pixels, and CHANNELS, its threads.

#include "bins.cuh"

typedef vec<SCALAR, LANES> Lanes;

const int MOST_BINS = 64;            // of a block: its threads along y
const COORD FAR = 1125899906842624;  // 2^50; whole numbers beyond it, times bins, need over 64 bits

struct Side {
    long long first, count;  // pixels of a rounded box along an axis
};

struct Bin {
    long long image, top, bottom, left, right;  // bottom and right are one past the last pixel
};

__device__ inline REAL nothing() {
    const REAL zero = 0;
    return -1 / zero;
}

// The nearest whole number, halves away from zero.
__device__ inline COORD rounded(COORD x) {
    const COORD half = 0.5, near = min(max(x, -FAR), FAR);
    return near < 0 ? -floor(half - near) : floor(near + half);
}

__device__ inline Side side(COORD low, COORD high, COORD scale) {
    const COORD first = rounded(times(low, scale)), last = rounded(times(high, scale));
    return {(long long)first, max((long long)(last - first + 1), 1LL)};
}

// Where a bin lies, by its index among the bins of all RoIs (k, 5).
__device__ Bin located(long long index, const COORD* rois, COORD scale, const Shape& shape) {
    const long long rows = shape.rows, columns = shape.columns;
    const long long row = quotient(index, columns), k = quotient(row, rows);
    const long long p = row - k * rows, q = index - row * columns;
    const COORD* roi = rois + k * 5;
    const Side down = side(roi[2], roi[4], scale), across = side(roi[1], roi[3], scale);
    const long long image = image_of(roi, shape.n);
    const long long top = down.first + quotient(p * down.count, rows);
    const long long bottom = down.first + quotient((p + 1) * down.count + rows - 1, rows);
    const long long left = across.first + quotient(q * across.count, columns);
    const long long right = across.first + quotient((q + 1) * across.count + columns - 1, columns);
    return {
        max(image, 0LL),
        max(top, 0LL),
        image < 0 ? 0 : min(bottom, shape.height),
        max(left, 0LL),
        min(right, shape.width),
    };
}

// Fills in where the bins of this block lie; returns the index of the first.
__device__ long long locate(Bin* bins, const COORD* rois, COORD scale, const Shape& shape) {
    const long long first = (long long)blockIdx.x * blockDim.y;
    const unsigned thread = threadIdx.y * blockDim.x + threadIdx.x;
    if (thread < blockDim.y && first + thread < shape.k * shape.rows * shape.columns)
        bins[thread] = located(first + thread, rois, scale, shape);
    __syncthreads();
    return first;
}

// The largest of a bin in LANES channels, NaN before all, and its first place in the image, y width
// + x; -inf and -1 where there is none. `maps` is (n, height, width, groups).
__device__ inline void find(
    const Lanes* maps, const Bin& bin, long long group, const Shape& shape, REAL* best,
    long long* place
) {
    const long long groups = shape.channels / LANES;
    const Lanes* plane = maps + bin.image * shape.height * shape.width * groups + group;
    for (int i = 0; i < LANES; ++i) {
        best[i] = nothing();
        place[i] = -1;
    }
    for (long long y = bin.top; y < bin.bottom; ++y) {
#pragma unroll 4
        for (long long x = bin.left; x < bin.right; ++x) {
            const long long here = y * shape.width + x;
            const Lanes pixel = plane[here * groups];
            for (int i = 0; i < LANES; ++i) {
                const REAL value = widen(pixel.at[i]);
                const bool first = value > best[i] || (value != value && best[i] == best[i]);
                best[i] = first ? value : best[i];
                place[i] = first ? here : place[i];
            }
        }
    }
}

extern "C" __global__ void roi_pool(
    const Lanes* maps,  // (n, height, width, groups of LANES channels)
    const COORD* rois,  // (k, 5)
    Lanes* pooled,      // (k, rows, columns, groups)
    Shape shape,
    double scale
) {
    __shared__ Bin bins[MOST_BINS];
    const long long index = locate(bins, rois, scale, shape) + threadIdx.y;
    if (index >= shape.k * shape.rows * shape.columns) return;
    const long long groups = shape.channels / LANES;
    for (long long group = first_group(); group < groups; group += groups_at_once()) {
        REAL best[LANES];
        long long place[LANES];
        find(maps, bins[threadIdx.y], group, shape, best, place);
        Lanes found;
        for (int i = 0; i < LANES; ++i)
            found.at[i] = narrow<SCALAR>(best[i] == nothing() ? 0 : best[i]);
        pooled[index * groups + group] = found;
    }
}

extern "C" __global__ void roi_pool_add(
    const Lanes* grads,  // (k, rows, columns, groups)
    const Lanes* maps,   // (n, height, width, groups)
    const COORD* rois,   // (k, 5)
    REAL* sums,          // (n, height, width, channels), zeros
    Shape shape,
    double scale
) {
    __shared__ Bin bins[MOST_BINS];
    const long long index = locate(bins, rois, scale, shape) + threadIdx.y;
    if (index >= shape.k * shape.rows * shape.columns) return;
    const long long groups = shape.channels / LANES;
    const long long plane = bins[threadIdx.y].image * shape.height * shape.width;
    for (long long group = first_group(); group < groups; group += groups_at_once()) {
        REAL best[LANES];
        long long place[LANES];
        find(maps, bins[threadIdx.y], group, shape, best, place);
        const Lanes grad = grads[index * groups + group];
        for (int i = 0; i < LANES; ++i) {
            REAL* sum = sums + (plane + place[i]) * shape.channels + group * LANES + i;
            if (place[i] >= 0) atomic_add(sum, widen(grad.at[i]));
        }
    }
}

extern "C" __global__ void roi_pool_places(
    const Lanes* maps,  // (n, height, width, groups)
    const COORD* rois,  // (k, 5)
    long long* places,  // (k, rows, columns, channels): y width + x, or -1
    Shape shape,
    double scale
) {
    __shared__ Bin bins[MOST_BINS];
    const long long index = locate(bins, rois, scale, shape) + threadIdx.y;
    if (index >= shape.k * shape.rows * shape.columns) return;
    const long long groups = shape.channels / LANES;
    for (long long group = first_group(); group < groups; group += groups_at_once()) {
        REAL best[LANES];
        long long place[LANES];
        find(maps, bins[threadIdx.y], group, shape, best, place);
        for (int i = 0; i < LANES; ++i)
            places[index * shape.channels + group * LANES + i] = place[i];
    }
}

// Pixels of a side, counted from its first one, that lie in a tile; none where end <= first.
struct Overlap {
    long long first, end;
};

__device__ inline Overlap overlap(const Side& side, long long start) {
    return {max(start - side.first, 0LL), min(start + TILE - side.first, side.count)};
}

// A block sums a tile of pixels in CHANNELS channels, a thread one of them, RoI by RoI in order.
extern "C" __global__ void roi_pool_gather(
    const SCALAR* grads,      // (k, rows, columns, channels)
    const long long* places,  // (k, rows, columns, channels)
    const COORD* rois,        // (k, 5)
    SCALAR* found,            // (n, height, width, channels)
    Shape shape,
    double scale
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
            const Overlap y = overlap(side(roi[2], roi[4], scale), top);
            const Overlap x = overlap(side(roi[1], roi[3], scale), left);
            touches = image_of(roi, shape.n) == tile.image && y.first < y.end && x.first < x.end;
        }
        vote(touching, lane, touches);
        for (int word = 0; word < CHANNELS / 32; ++word)
            for (unsigned more = touching[word]; more; more &= more - 1) {
                const long long k = start + word * 32 + __ffs(more) - 1;
                const Side down = side(rois[k * 5 + 2], rois[k * 5 + 4], scale);
                const Side across = side(rois[k * 5 + 1], rois[k * 5 + 3], scale);
                const Overlap y = overlap(down, top), x = overlap(across, left);
                // bin p has pixel d where p count < (d + 1) rows and d rows < (p + 1) count
                const long long p0 = y.first * rows / down.count;
                const long long q0 = x.first * columns / across.count;
                for (long long p = p0; p * down.count < y.end * rows; ++p)
                    for (long long q = q0; q * across.count < x.end * columns; ++q) {
                        const long long bin = (k * rows + p) * columns + q;
                        const bool there = channel < channels;
                        const long long place = there ? places[bin * channels + channel] : -1;
                        if (place < 0) continue;
                        const long long row = place / shape.width - top;
                        const long long column = place % shape.width - left;
                        if (row >= 0 && row < TILE && column >= 0 && column < TILE)
                            sums[row][column][lane] += widen(grads[bin * channels + channel]);
                    }
            }
        __syncthreads();
    }
    keep(tile, sums, shape, found);
}
