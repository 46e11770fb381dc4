// RoIs on the maps of a pyramid: where their bins are sampled, and what those samples read.
//
// Coordinates are computed as the reference computes them, step by step in COORD: where a
// definition jumps, another rounding would read another pixel. `times` is therefore never fused
// with the addition that follows it. What is summed is in REAL and may be fused.
#pragma once
#include "scalar.cuh"

constexpr int MOST_LEVELS = 8;

struct Level {
    long long height, width;  // of the map, in pixels
    double scale;             // pixels of the map per unit of the RoIs
};

// What one call asks for; built by kernels/multilevel_roi_align/cuda.py.
struct Task {
    Level levels[MOST_LEVELS];
    long long depth;           // levels there are
    long long rois, images, channels;
    long long high, wide;      // bins of a RoI
    long long ratio;           // samples per bin and axis, 0 is adaptive
    long long aligned;
};

// One axis of a RoI on its map, in pixels. A map that is not read has length 0.
struct Axis {
    COORD start, side;  // of the RoI, of a bin
    int samples;        // of a bin
    int length;         // of the map
};

__device__ inline Axis axis_of(
    COORD low, COORD high, long long bins, long long length, double scale, const Task &task)
{
    const COORD half = task.aligned ? COORD(0.5) : COORD(0);
    const COORD start = times(low, COORD(scale)) - half;
    COORD end = times(high, COORD(scale)) - half;
    if (!task.aligned) end = end > start + 1 ? end : start + 1;
    const COORD side = (end - start) / COORD(bins);
    // Neither NaN nor a side beyond all maps is sampled adaptively: it would never end.
    const bool some = side > 0 && side < COORD(1 << 30);
    const int adaptive = some ? int(ceil(side)) : 0;
    return {start, side, task.ratio > 0 ? int(task.ratio) : adaptive, int(length)};
}

// The nearest point between the first pixel of a map and its last.
__device__ inline COORD clamp(const Axis &axis, COORD point)
{
    const COORD last = COORD(axis.length - 1);
    return point < 0 ? COORD(0) : point > last ? last : point;
}

// A sample on an axis reads `pixel` with weight 1 - next and the one after it with `next`.
// It is outside the map, and reads 0, where pixel < 0.
struct Sample {
    int pixel;
    COORD next;
};

__device__ inline Sample sample_of(const Axis &axis, int bin, int i)
{
    const COORD within = (COORD(i) + COORD(0.5)) / COORD(axis.samples);
    const COORD point = axis.start + times(COORD(bin) + within, axis.side);
    const bool inside = point >= COORD(-1) && point <= COORD(axis.length);
    if (!inside || axis.length < 1) return {-1, COORD(0)};
    const COORD clamped = clamp(axis, point);
    return {int(clamped), clamped - COORD(int(clamped))};
}

// A RoI on its map.
struct Window {
    Axis rows, columns;
    int level;
    long long image;
};

// rois (k, 5) and levels (k), or null for level 0. A RoI of an image or a level that is not there
// is on a map of no pixels.
__device__ inline Window window_of(
    const Task &task, const COORD *rois, const long long *levels, long long roi)
{
    const COORD *box = rois + 5 * roi;
    const long long level = levels ? levels[roi] : 0;
    const bool there = level >= 0 && level < task.depth && box[0] >= 0
        && box[0] < COORD(task.images);
    const Level map = task.levels[there ? level : 0];
    const long long height = there ? map.height : 0, width = there ? map.width : 0;
    return {
        axis_of(box[2], box[4], task.high, height, map.scale, task),
        axis_of(box[1], box[3], task.wide, width, map.scale, task),
        there ? int(level) : 0,
        there ? (long long)(box[0]) : 0,
    };
}

// The map of a level among the pointers to all of them.
template <class T>
__device__ inline T *map_of(int level, T *a, T *b, T *c, T *d, T *e, T *f, T *g, T *h)
{
    T *low = level == 0 ? a : level == 1 ? b : level == 2 ? c : d;
    T *high = level == 4 ? e : level == 5 ? f : level == 6 ? g : h;
    return level < 4 ? low : high;
}

struct alignas(2 * sizeof(REAL)) Tap {
    int pixel;
    REAL weight;
};

// What the bins of a RoI read along an axis: taps of one bin have different pixels, for samples
// that share one share a tap. Bin i has those from start[i] to end[i].
template <int Bins, int Most>
struct Taps {
    int start[Bins], end[Bins];
    Tap at[Most];

    // The taps of the mean of a bin's samples. The bins of adaptive sampling follow each other on
    // the map and share two pixels at most, so that those of bin i begin 3 i after their pixel,
    // counted from the RoI's first.
    __device__ void fill(const Axis &axis, int bin, int ratio)
    {
        int first = ratio > 0 ? 2 * ratio * bin : -1, after = first;
        for (int i = 0; i < axis.samples; i++) {
            const Sample sample = sample_of(axis, bin, i);
            if (sample.pixel < 0) continue;
            if (first < 0) first = after = sample.pixel - int(clamp(axis, axis.start)) + 3 * bin;
            const COORD share = COORD(axis.samples);
            after = add(first, after, sample.pixel, REAL((1 - sample.next) / share));
            if (sample.next > 0)
                after = add(first, after, sample.pixel + 1, REAL(sample.next / share));
        }
        start[bin] = first;
        end[bin] = after;
    }

    // To the tap of that pixel, a new one if none of the last three has it: samples are sorted.
    __device__ int add(int first, int after, int pixel, REAL weight)
    {
        for (int i = after - 1; i >= first && i >= after - 3; i--) {
            if (at[i].pixel != pixel) continue;
            at[i].weight += weight;
            return after;
        }
        at[after] = {pixel, weight};
        return after + 1;
    }
};

// With how much the mean of a bin's samples reads a pixel of the axis.
__device__ inline REAL weight_of(const Axis &axis, int bin, int pixel)
{
    REAL sum = 0;
    for (int i = 0; i < axis.samples; i++) {
        const Sample sample = sample_of(axis, bin, i);
        const COORD share = COORD(axis.samples);
        if (sample.pixel == pixel) sum += REAL((1 - sample.next) / share);
        if (sample.pixel >= 0 && sample.pixel + 1 == pixel) sum += REAL(sample.next / share);
    }
    return sum;
}

// With how much sample i of a bin reads a pixel of the axis.
__device__ inline REAL weight_of_sample(const Axis &axis, int bin, int i, int pixel)
{
    const Sample sample = sample_of(axis, bin, i);
    if (sample.pixel < 0) return 0;
    return sample.pixel == pixel ? REAL(1 - sample.next)
        : sample.pixel + 1 == pixel ? REAL(sample.next) : REAL(0);
}
