// Mask targets: RoIAlign of bitmaps at scale 1, then a threshold, straight from the bytes.
//
// THREADS neighbouring threads make one bin: they take its columns of samples in turn, each down
// all of its rows. Samples are placed with the reference's operations in the dtype of the boxes, no
// product contracted with a sum: rounding decides how many there are and which lie on the bitmap. A
// box of a bitmap that is not there, or that is not finite, sees nothing.
//
// Bytes: reads the part of a bitmap under each box, a byte to a pixel, from DRAM once and from L1
// 4 times per sample; writes n size size values of the boxes' dtype.
//
// Defined by the launcher: COORD of the boxes, in which all is computed; THREADS, a power of two.

#include "scalar.cuh"

const COORD MOST = 16777216;  // samples of a bin along an axis: float32 counts no further

struct Axis {
    COORD start, side;  // of the box; of a bin
    long long samples, bins, length;
};

struct Range {
    long long first, end;
};

// Two neighbouring pixels that a sample reads, `rest` of the second; both -1 off the bitmap.
struct Tap {
    long long pixel, next;
    COORD rest;
};

__device__ Axis axis(
    COORD low, COORD high, long long bins, long long length, long long ratio, bool aligned
) {
    const COORD shift = aligned ? 0.5 : 0, start = low - shift;
    const COORD end = aligned ? high - shift : max(high, start + 1);
    const COORD side = (end - start) / (COORD)bins;
    const bool finite = side - side == 0;
    const COORD adaptive = min(max(ceil(side), (COORD)0), MOST);
    return {start, side, !finite ? 0 : ratio ? ratio : (long long)adaptive, bins, length};
}

__device__ inline Tap tap(const Axis& axis, long long bin, long long i) {
    const COORD half = 0.5, within = ((COORD)i + half) / (COORD)axis.samples;
    const COORD point = axis.start + times((COORD)bin + within, axis.side);
    if (!(point >= -1 && point <= axis.length) || axis.length < 1) return {-1, -1, 0};
    const COORD inside = min(max(point, (COORD)0), (COORD)(axis.length - 1));
    const long long pixel = (long long)inside;
    const COORD rest = inside - (COORD)pixel;
    return {pixel, rest > 0 ? pixel + 1 : pixel, rest};
}

// The samples of a bin but for some that are certainly off the bitmap: a box may be far larger.
__device__ Range on_bitmap(const Axis& axis, long long bin) {
    const COORD count = axis.samples, per_pixel = count / fabs(axis.side);
    if (axis.side == 0) return {0, axis.samples};
    const COORD a = ((-1 - axis.start) / axis.side - (COORD)bin) * count;
    const COORD b = ((axis.length - axis.start) / axis.side - (COORD)bin) * count;
    const COORD rounding = (axis.bins * count + (axis.length + 1) * per_pixel) * (COORD)1e-6;
    const COORD low = min(a, b) - 1 - rounding, high = max(a, b) + 1 + rounding;
    return {
        low > 0 ? (long long)min(low, count) : 0,
        high < count ? (long long)max(high + 1, (COORD)0) : axis.samples,
    };
}

// The sum of the samples of bin (p, q) that one of its threads takes. `bitmap` is (height, width).
__device__ COORD summed(
    const unsigned char* bitmap, const Axis& down, const Axis& across, long long p, long long q,
    int thread
) {
    const Range rows = on_bitmap(down, p), columns = on_bitmap(across, q);
    COORD sum = 0;
    for (long long j = columns.first + thread; j < columns.end; j += THREADS) {
        const Tap x = tap(across, q, j);
        if (x.pixel < 0) continue;
        for (long long i = rows.first; i < rows.end; ++i) {
            const Tap y = tap(down, p, i);
            if (y.pixel < 0) continue;
            const unsigned char* upper = bitmap + y.pixel * across.length;
            const unsigned char* lower = bitmap + y.next * across.length;
            const COORD above = upper[x.pixel] * (1 - x.rest) + upper[x.next] * x.rest;
            const COORD below = lower[x.pixel] * (1 - x.rest) + lower[x.next] * x.rest;
            sum += above * (1 - y.rest) + below * y.rest;
        }
    }
    return sum;
}

extern "C" __global__ void crop_masks(
    const unsigned char* bitmaps,  // (g, height, width), 0 or 1
    const long long* index,        // (n)
    const COORD* boxes,            // (n, 4)
    COORD* shares,                 // (n, size, size)
    long long g,
    long long height,
    long long width,
    long long n,
    long long size,
    long long ratio,
    long long aligned,
    long long cut,  // whether there is a threshold
    double threshold
) {
    const long long bin = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / THREADS;
    const long long box = bin / (size * size), p = bin / size % size, q = bin % size;
    const bool there = box < n && index[box] >= 0 && index[box] < g;
    COORD sum = 0, samples = 0;
    if (there) {
        const COORD* sides = boxes + box * 4;
        const Axis across = axis(sides[0], sides[2], size, width, ratio, aligned);
        const Axis down = axis(sides[1], sides[3], size, height, ratio, aligned);
        const unsigned char* bitmap = bitmaps + index[box] * height * width;
        sum = summed(bitmap, down, across, p, q, threadIdx.x % THREADS);
        samples = (COORD)down.samples * (COORD)across.samples;
    }
    for (int apart = THREADS / 2; apart; apart /= 2)
        sum += __shfl_down_sync(0xffffffff, sum, apart, THREADS);
    if (box >= n || threadIdx.x % THREADS) return;
    const COORD share = samples > 0 ? sum / samples : 0;
    shares[bin] = cut ? share >= (COORD)threshold : share;
}
