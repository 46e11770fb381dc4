// Mask pasting: the small mask of each box, read bilinearly by the pixels of an image.
//
// A thread makes PIXELS neighbouring pixels of an image, 16 bytes that are stored at once; the
// first and last of an image may be fewer, for images need not begin at a multiple of 16 bytes.
// Pixels away from the box cost no arithmetic. Places are computed with the reference's operations,
// no product contracted with a sum: in "grown" boxes rounding decides which pixels there are.
//
// Bytes: writes n height width values, of 1 byte with a threshold. The masks, n m m values of some
// 28 x 28 each, are read once and stay in cache.
//
// Defined by the launcher: SCALAR of the masks, COORD of the boxes, REAL to compute in; KEPT, a
// SCALAR or, with a threshold, unsigned char; PIXELS; GROWN, 1 for that method, 0 for "exact".

#include "scalar.cuh"

typedef vec<KEPT, PIXELS> Pixels;

// How the pixels of an image read a mask along an axis: `first` to `end` are those that may.
struct Axis {
    REAL start, side, scale;
    long long first, end;
};

// Where a pixel reads: `rest` on the way from one pixel of the mask, -1 .. m, to the next.
struct Place {
    long long pixel;
    REAL rest;
    bool inside;
};

__device__ inline long long within(REAL x, long long length) {
    return (long long)min(max(x, (REAL)0), (REAL)length);
}

__device__ Axis axis(REAL low, REAL high, long long length, long long m) {
    const REAL side = high - low;
#if GROWN
    const REAL half = 0.5;
    const REAL reach = times(times(side, half), (REAL)((double)(m + 2) / m));
    const REAL middle = times(low + high, half);
    const REAL first = trunc(middle - reach), last = trunc(middle + reach);
    const REAL pixels = max(last - first + 1, (REAL)1);
    const REAL scale = times(1 / pixels, (REAL)(m + 2));
    return {first, pixels, scale, within(first, length), within(first + pixels, length)};
#else
    if (!(side > 0)) return {0, 1, 0, 0, 0};
    const REAL margin = side / (REAL)(2 * m) + 1;  // a pixel more than reads anything
    const REAL first = floor(low - margin), end = ceil(high + margin);
    return {low, side, (REAL)m, within(first, length), within(end, length)};
#endif
}

__device__ inline Place place(const Axis& axis, long long index, long long m) {
    const REAL half = 0.5;
#if GROWN  // the mask has a border: its pixel 0 is 1 there
    const REAL pixel = (REAL)index - axis.start;
    const REAL at = min(max(times(pixel + half, axis.scale) - half, (REAL)0), (REAL)(m + 1));
    const bool inside = pixel >= 0 && pixel < axis.side;
    const long long border = 1;
#else
    const REAL share = ((REAL)index + half - axis.start) / axis.side;
    const REAL at = times(min(max(share, (REAL)-1), (REAL)2), axis.scale) - half;
    const bool inside = at > -1 && at < axis.scale;
    const long long border = 0;
#endif
    const REAL below = floor(at);
    return {inside ? (long long)below - border : -1, at - below, inside};
}

// A pixel of a mask (m, m), 0 around it.
__device__ inline REAL pixel_of(const SCALAR* mask, long long m, long long y, long long x) {
    return y >= 0 && y < m && x >= 0 && x < m ? widen(mask[y * m + x]) : 0;
}

__device__ inline REAL blend(
    const SCALAR* mask, long long m, const Place& row, const Place& column
) {
    if (!row.inside || !column.inside) return 0;
    const long long y = row.pixel, x = column.pixel;
    const REAL left = 1 - column.rest, right = column.rest;
    const REAL above = pixel_of(mask, m, y, x) * left + pixel_of(mask, m, y, x + 1) * right;
    const REAL below = pixel_of(mask, m, y + 1, x) * left + pixel_of(mask, m, y + 1, x + 1) * right;
    return above * (1 - row.rest) + below * row.rest;
}

__device__ inline void keep(unsigned char& pixel, REAL value, REAL threshold) {
    pixel = value >= threshold;
}

__device__ inline void keep(double& pixel, REAL value, REAL) { pixel = value; }

template <class T>
__device__ inline void keep(T& pixel, REAL value, REAL) {
    pixel = narrow<T>((float)value);
}

extern "C" __global__ void paste_masks(
    const SCALAR* masks,  // (n, m, m)
    const COORD* boxes,   // (n, 4)
    KEPT* pasted,         // (n, height, width)
    long long m,
    long long height,
    long long width,
    long long blocks,  // for each mask
    double threshold
) {
    __shared__ Axis axes[2];
    const long long n = blockIdx.x / blocks, size = height * width;
    const SCALAR* mask = masks + n * m * m;
    const COORD* box = boxes + n * 4;
    if (threadIdx.x == 0) axes[0] = axis(box[0], box[2], width, m);
    if (threadIdx.x == 1) axes[1] = axis(box[1], box[3], height, m);
    __syncthreads();
    const Axis across = axes[0], down = axes[1];
    KEPT* image = pasted + n * size;
    Pixels blank;
    for (int i = 0; i < PIXELS; ++i) keep(blank.at[i], 0, (REAL)threshold);
    const long long early = n * size % PIXELS;  // pixels from a multiple of 16 bytes to the image
    const long long stride = blocks * blockDim.x;
    for (long long at = blockIdx.x % blocks * blockDim.x + threadIdx.x; at * PIXELS - early < size;
         at += stride) {
        const long long first = at * PIXELS - early;
        const long long start = max(first, 0LL), end = min(first + PIXELS, size);
        long long y = start / width, x = start % width;
        const bool away = x + PIXELS <= width && (y < down.first || y >= down.end ||
                                                  x + PIXELS <= across.first || x >= across.end);
        Pixels some = blank;
        if (!away) {
            Place row = place(down, y, m);
#pragma unroll
            for (int i = 0; i < PIXELS; ++i) {
                if (first + i < start || first + i >= end) continue;
                if (x >= across.first && x < across.end && y >= down.first && y < down.end)
                    keep(some.at[i], blend(mask, m, row, place(across, x, m)), (REAL)threshold);
                if (++x == width) {
                    x = 0;
                    row = place(down, ++y, m);
                }
            }
        }
        if (first == start && first + PIXELS == end) {
            *(Pixels*)(image + first) = some;
        } else {
#pragma unroll
            for (int i = 0; i < PIXELS; ++i)
                if (first + i >= start && first + i < end) image[first + i] = some.at[i];
        }
    }
}
