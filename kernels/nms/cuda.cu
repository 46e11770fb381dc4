// Greedy NMS of boxes in falling order of score, in two kernels.
//
// overlaps: a bit for each pair of boxes whose IoU is greater than the threshold, computed as
//   kernels/box_iou/reference.py does; upper triangle of 64 x 64 tiles only.
//   Bytes: n * n / 16 written; boxes are read through the cache, n / 64 times each.
// gather: one block goes through the tiles of the diagonal, best first, and finds the boxes kept.
//   Bytes: n / 8 read for each box that is kept. It is bound by how long a word takes to arrive.
//
// REAL: float or double. Box places are those in `order`; labels null: all boxes compete.

#include "../box_iou/iou.cuh"

using Word = unsigned long long;
constexpr int TILE = 64, WARPS = 8, WARP = 32;
constexpr int MOST_WORDS = 6144;  // of a row: 48 KB of shared memory, 393 216 boxes

// IoU > threshold, divided only where it may be: a quotient above the threshold is of a shared area
// no less than the rounded product, for rounding keeps the order of numbers.
__device__ inline bool overlap(const Box &a, const Box &b, REAL threshold) {
    const REAL shared = shared_area(a, b), united = a.area + b.area - shared;
    return shared >= product(threshold, united) && iou(shared, united) > threshold;
}

// Block (x, y): the tile in column x and row y, both counted from the first tile of the chunk.
// Threads (32, WARPS): a lane keeps two boxes of the tile's columns, a warp takes its rows in turn.
extern "C" __global__ void overlaps(
    const REAL *boxes,        // (n, 4) x1, y1, x2, y2
    const long long *labels,  // (n) or null
    const long long *order,   // (n) the boxes by falling score
    Word *mask,               // (end - first, words) out: bit j of word w of row i is whether boxes
                              // first + i and 64 w + j overlap; right of the diagonal's tile, which
                              // has the bits of better boxes only
    long long n, long long first, long long end, double threshold) {
    __shared__ Box rows[TILE];
    __shared__ long long labels_of_rows[TILE];
    const long long words = (n + TILE - 1) / TILE;
    const long long row = first / TILE + blockIdx.y, column = first / TILE + blockIdx.x;
    if (column < row) return;
    const int lane = threadIdx.x, warp = threadIdx.y, thread = warp * WARP + lane;
    const auto box_of = [&](long long i) { return i < n ? box_at(boxes, order[i]) : Box{}; };
    const auto label_of = [&](long long i) { return labels && i < n ? labels[order[i]] : 0; };
    if (thread < TILE) {
        rows[thread] = box_of(row * TILE + thread);
        labels_of_rows[thread] = label_of(row * TILE + thread);
    }
    const Box low = box_of(column * TILE + lane), high = box_of(column * TILE + lane + WARP);
    const long long label_low = label_of(column * TILE + lane);
    const long long label_high = label_of(column * TILE + lane + WARP);
    __syncthreads();
    for (int r = warp; r < TILE && row * TILE + r < end; r += WARPS) {
        const Box own = rows[r];
        const long long label = labels_of_rows[r];
        const bool at_low = label == label_low && overlap(own, low, REAL(threshold));
        const bool at_high = label == label_high && overlap(own, high, REAL(threshold));
        Word word = __ballot_sync(~0u, at_high);
        word = word << WARP | __ballot_sync(~0u, at_low);
        if (row == column) word &= (Word(1) << r) - 1;
        if (lane == 0) mask[(row * TILE + r - first) * words + column] = word;
    }
}

// Which better boxes of its own tile box i overlaps; none for a box that is not in the chunk.
__device__ inline Word better(const Word *mask, long long i, long long n, long long first,
                              long long end) {
    return i < end ? mask[(i - first) * ((n + TILE - 1) / TILE) + i / TILE] : 0;
}

// One block of whole warps, a multiple of `width` threads, `width` a power of two. All warps find
// the kept boxes of a tile, each for itself. Then `width` threads take a word each of all rows of
// the mask, or several, and groups of so many threads share the rows of the kept boxes.
extern "C" __global__ void gather(
    const Word *mask,        // (end - first, words) of `overlaps`
    const long long *order,  // (n) the boxes by falling score
    Word *removed,           // (words) a bit per box that is dropped; 0 before the first chunk
    long long *keep,         // (n) out: the boxes kept, best first, then -1
    long long *count,        // (1) how many; 0 before the first chunk
    long long n, long long first, long long end, long long width) {
    __shared__ Word gone[MOST_WORDS];
    const long long words = (n + TILE - 1) / TILE;
    const int thread = threadIdx.x, threads = blockDim.x, lane = thread % WARP;
    for (long long w = thread; w < words; w += threads) gone[w] = removed[w];
    long long kept = *count;
    Word rows = 0;  // of a tile, those that this thread's group looks at
    for (int r = thread / width; r < TILE; r += threads / width) rows |= Word(1) << r;
    Word low = better(mask, first + lane, n, first, end);
    Word high = better(mask, first + lane + WARP, n, first, end);
    __syncthreads();
    for (long long base = first; base < end; base += TILE) {
        const Word there = end - base < TILE ? (Word(1) << (end - base)) - 1 : ~Word(0);
        const Word open = there & ~gone[base / TILE];
        // A box stays if no better one that stays overlaps it. After k rounds the first k boxes are
        // right, and what a round does not change is right altogether: mostly three or four do.
        Word alive = open, before;
        do {
            before = alive;
            alive = __ballot_sync(~0u, !(high & before));
            alive = open & (alive << WARP | __ballot_sync(~0u, !(low & before)));
        } while (alive != before);
        if (thread < TILE && alive >> thread & 1) {
            const Word ahead = alive & ((Word(1) << thread) - 1);
            keep[kept + __popcll(ahead)] = order[base + thread];
        }
        kept += __popcll(alive);
        low = better(mask, base + TILE + lane, n, first, end);  // on its way while others work
        high = better(mask, base + TILE + lane + WARP, n, first, end);
        for (long long w = base / TILE + 1 + thread % width; w < words; w += width) {
            Word dropped = 0;
            long long row = 0;
            for (Word left = alive & rows; left;) {
#pragma unroll
                for (int i = 0; i < 8; ++i) {  // past the last row that one again, to no effect
                    if (left) row = base - first + __ffsll(left) - 1;
                    left &= left - 1;
                    dropped |= mask[row * words + w];
                }
            }
            if (dropped) atomicOr(&gone[w], dropped);
        }
        __syncthreads();
    }
    for (long long w = thread; w < words; w += threads) removed[w] = gone[w];
    if (end == n)
        for (long long i = kept + thread; i < n; i += threads) keep[i] = -1;
    if (thread == 0) *count = kept;
}
