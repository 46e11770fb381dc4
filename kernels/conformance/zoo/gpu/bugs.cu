// RoIAlign with its gradient, and NMS: small, right, and for each macro with one bug planted.
//
// Bytes: pool reads 16 pixels per bin and writes it once; spread adds to as many, atomically; mark
// reads n boxes per box and writes n / 64 words; sweep reads those words once.
// Defined by the launcher: SCALAR of the maps, REAL to sum in, COORD of the RoIs; a bug, or none.

#include "scalar.cuh"

#ifdef INT_WRAP
typedef int Index;  // planted: pixels from 2^31 on have no number
#else
typedef long long Index;
#endif

#ifdef HALF_SUM
typedef SCALAR Sum;  // planted: of half precision where the maps are
#else
typedef REAL Sum;
#endif

#ifdef WARP_OF_64
const int WARP = 64;  // planted: so many lanes have the GPUs of another maker
#else
const int WARP = 32;
#endif

const int MOST_SAMPLES = 64;   // of a RoI along an axis
const int MOST_WORDS = 64;     // of 64 boxes each

struct Task {
    long long channels, height, width;  // of the maps
    long long high, wide;               // bins of a RoI, of two samples along each axis
    double scale;                       // pixels of the maps per unit of the RoIs
};

// What a sample reads along an axis: `rest` of the pixel `next`, else `pixel`, -1 outside the map.
struct Tap {
    int pixel, next;
    REAL rest;
};

// ---- RoIAlign ----

// Sample i of the bins that an axis is cut into.
__device__ void locate_one(
    Tap *tap, COORD low, COORD high, long long bins, int i, long long length, double scale)
{
    const COORD start = low * COORD(scale) - COORD(0.5), end = high * COORD(scale) - COORD(0.5);
    const COORD within = (COORD(i % 2) + COORD(0.5)) / 2;
    COORD point = start + (COORD(i / 2) + within) * ((end - start) / COORD(bins));
    const bool inside = length > 0 && point >= -1 && point <= COORD(length);
#ifdef UNINITIALISED_SHARED
    if (!inside) return;  // planted: its tap is what the shared memory held before
#else
    if (!inside) {
        *tap = {-1, -1, 0};
        return;
    }
#endif
    const COORD last = COORD(length - 1);
    point = point < 0 ? COORD(0) : point > last ? last : point;
    const int pixel = int(point);
    *tap = {pixel, pixel < length - 1 ? pixel + 1 : pixel, REAL(point - COORD(pixel))};
}

// The threads of a block share the work for a RoI (5). They have to meet before they read it.
__device__ void locate(Tap *rows, Tap *columns, const COORD *roi, const Task &task)
{
    for (int i = threadIdx.x; i < 2 * task.high; i += blockDim.x)
        locate_one(rows + i, roi[2], roi[4], task.high, i, task.height, task.scale);
    for (int i = threadIdx.x; i < 2 * task.wide; i += blockDim.x)
        locate_one(columns + i, roi[1], roi[3], task.wide, i, task.width, task.scale);
}

// Where a channel of a RoI's image begins.
__device__ Index plane_of(const COORD *roi, Index channel, const Task &task)
{
    return (Index(roi[0]) * Index(task.channels) + channel) * Index(task.height * task.width);
}

extern "C" __global__ void pool(
    const SCALAR *maps,  // (n, channels, height, width)
    const COORD *rois,   // (k, 5), a block in x for each
    SCALAR *pooled,      // (k, channels, high, wide), a thread in y for each of a RoI's
    Task task)
{
    __shared__ Tap rows[MOST_SAMPLES], columns[MOST_SAMPLES];
    const COORD *roi = rois + 5 * (long long)blockIdx.x;
    const long long bins = task.high * task.wide, items = task.channels * bins;
    const long long item = (long long)blockIdx.y * blockDim.x + threadIdx.x;
    locate(rows, columns, roi, task);
#ifndef MISSING_BARRIER
    __syncthreads();
#endif
#ifndef UNMASKED_LANE
    if (item >= items) return;
#endif
    const SCALAR *map = maps + plane_of(roi, Index(item / bins), task);
    const long long p = item % bins / task.wide, q = item % task.wide;
    Sum sum = narrow<Sum>(REAL(0));
    for (int i = 0; i < 4; i++) {
        const Tap y = rows[2 * p + i / 2], x = columns[2 * q + i % 2];
        if (y.pixel < 0 || x.pixel < 0) continue;
        const SCALAR *upper = map + y.pixel * task.width, *lower = map + y.next * task.width;
        const REAL above = widen(upper[x.pixel]) * (1 - x.rest) + widen(upper[x.next]) * x.rest;
        const REAL below = widen(lower[x.pixel]) * (1 - x.rest) + widen(lower[x.next]) * x.rest;
        sum = narrow<Sum>(widen(sum) + (above * (1 - y.rest) + below * y.rest) / 4);
    }
    pooled[blockIdx.x * items + item] = narrow<SCALAR>(widen(sum));
}

#ifdef RACE
__device__ void add(REAL *address, REAL x) { *address += x; }  // planted: others add there as well
#else
__device__ void add(REAL *address, REAL x) { atomic_add(address, x); }
#endif

extern "C" __global__ void spread(
    const SCALAR *grads,  // (k, channels, high, wide)
    const COORD *rois,    // (k, 5), a block for each
    REAL *sums,           // (n, channels, height, width), zeros
    Task task)
{
    __shared__ Tap rows[MOST_SAMPLES], columns[MOST_SAMPLES];
    const COORD *roi = rois + 5 * (long long)blockIdx.x;
    const long long bins = task.high * task.wide, items = task.channels * bins;
    locate(rows, columns, roi, task);
    __syncthreads();
    for (long long item = threadIdx.x; item < items; item += blockDim.x) {
        REAL *map = sums + plane_of(roi, Index(item / bins), task);
        const long long p = item % bins / task.wide, q = item % task.wide;
        const REAL grad = widen(grads[blockIdx.x * items + item]) / 4;
        for (int i = 0; i < 4; i++) {
            const Tap y = rows[2 * p + i / 2], x = columns[2 * q + i % 2];
            if (y.pixel < 0 || x.pixel < 0) continue;
            REAL *upper = map + y.pixel * task.width, *lower = map + y.next * task.width;
            add(upper + x.pixel, grad * (1 - y.rest) * (1 - x.rest));
            add(upper + x.next, grad * (1 - y.rest) * x.rest);
            add(lower + x.pixel, grad * y.rest * (1 - x.rest));
            add(lower + x.next, grad * y.rest * x.rest);
        }
    }
}

// ---- NMS ----

__device__ inline float area(float width, float height)
{
    return __fmul_rn(max(width, 0.0f), max(height, 0.0f));
}

__device__ float iou(const float *a, const float *b)
{
    const float shared = area(min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1]));
    const float both = area(a[2] - a[0], a[3] - a[1]) + area(b[2] - b[0], b[3] - b[1]) - shared;
    return both > 0 ? shared / both : 0;
}

extern "C" __global__ void mark(
    const float *boxes,         // (n, 4), the best first, a warp for each
    unsigned long long *marks,  // (n, words): bit j % 64 of word j / 64 where box j must go
    long long n, long long words, double threshold)
{
    const long long i = blockIdx.x;
    for (long long word = 0; word < words; word++) {
        unsigned long long found = 0;
        for (int begin = 0; begin < 64; begin += WARP) {
            const long long j = 64 * word + begin + threadIdx.x;
            const bool over = j > i && j < n && iou(boxes + 4 * i, boxes + 4 * j) > threshold;
            found |= (unsigned long long)__ballot_sync(~0u, over) << begin;
        }
        if (threadIdx.x == 0) marks[i * words + word] = found;
    }
}

#ifdef LOCKSTEP
__device__ void meet() {}  // planted: lanes of a warp need not keep in step
#else
__device__ void meet() { __syncwarp(); }
#endif

// One warp goes through the boxes in order.
extern "C" __global__ void sweep(
    const unsigned long long *marks,  // (n, words)
    bool *kept,                       // (n)
    long long n, long long words)
{
    __shared__ unsigned long long gone[MOST_WORDS];
    for (long long word = threadIdx.x; word < words; word += blockDim.x) gone[word] = 0;
    meet();
    for (long long i = 0; i < n; i++) {
        const bool stays = !(gone[i / 64] >> i % 64 & 1);
        meet();
        for (long long word = threadIdx.x; stays && word < words; word += blockDim.x)
            gone[word] |= marks[i * words + word];
        if (threadIdx.x == 0) kept[i] = stays;
        meet();
    }
}
