// RoIAlign of all levels of a pyramid in one launch, forward and backward.
//
// Memory is pixels first: the channels of a pixel lie side by side, (n, h, w, c). A block takes one
// RoI and LANES * VECTOR of its channels: LANES threads read a pixel in loads of VECTOR channels,
// and THREADS / LANES bins are under way at once. What the bins read is found once per block: rows
// times columns of taps. A block's channels are one or two cache lines of a pixel, so that pixels
// which neighbouring bins share stay in the first-level cache. All items come before the next slice
// of the channels: what the blocks under way read of the maps is then a slice of them, which stays in
// the second-level cache though RoIs come in any order.
//
// Bytes: forward, the pixels that any RoI reads once, and k * c * bins written. Backward, as many
// gradients read, and the maps written: by atomics (zeroed first, each pixel of a RoI added once)
// or by `gather` (each pixel written once). All are bound by memory: some 2 operations per byte.
//
// Defines: SCALAR of maps and gradients, REAL to sum in, COORD of RoIs; THREADS of a block; LANES
// that read a pixel together, BROAD that add to one by atomics, VECTOR channels of a load, LOADS of a
// pixel by a thread of `mean`; SIDE of
// the tiles of `gather`; TAPS of a RoI along an axis, at most; PLANES values of a tile in which the
// result is turned to (k, c, bins), 0 to write it as (k, bins, c); MAXIMUM of samples, 0 for their
// mean.
#include "rois.cuh"

constexpr int BINS = TAPS / 2;             // along an axis, at most
constexpr int AHEAD = LOADS > 1 ? 3 : 4;   // pixels that a thread has under way
constexpr int WARPS = THREADS / 32;
#define LOWEST REAL(__int_as_float(0xff800000)) // -infinity

// What a thread works on: channels `channel` to channel + VECTOR, if those are there, of item
// `item` of the grid (a RoI or a tile), and within it every `groups`-th bin or pixel from `group`.
// With Loads it has as many again, Lanes * VECTOR channels further on.
template <int Lanes, int Loads = 1>
struct Share {
    static constexpr int groups = THREADS / Lanes;
    static constexpr int slice = Lanes * VECTOR * Loads;  // channels of a block
    long long item, channel;
    int lane, group;
    bool active;
};

template <int Lanes, int Loads = 1>
__device__ inline Share<Lanes, Loads> share_of(long long channels)
{
    constexpr int slice = Share<Lanes, Loads>::slice;
    const unsigned items = gridDim.x / unsigned((channels + slice - 1) / slice);
    const int lane = int(threadIdx.x) % Lanes;
    const long long channel = (long long)(blockIdx.x / items) * slice + lane * VECTOR;
    return {blockIdx.x % items, channel, lane, int(threadIdx.x) / Lanes, channel < channels};
}

// VECTOR channels as they lie in memory: widened when they are used, so that loads follow loads.
using Packed = vec<SCALAR, VECTOR>;

__device__ inline Packed load(const SCALAR *from)
{
    return *reinterpret_cast<const Packed *>(from);
}

__device__ inline void store(SCALAR *to, const REAL (&from)[VECTOR])
{
    Packed packed;
    for (int v = 0; v < VECTOR; v++) packed.at[v] = narrow<SCALAR>(from[v]);
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(Packed) == 16) {  // left to itself, the compiler stores number by number
        const uint4 bits = *reinterpret_cast<uint4 *>(&packed);
        asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(bits.x),
            "r"(bits.y), "r"(bits.z), "r"(bits.w)
            : "memory");
    } else
#endif
        *reinterpret_cast<Packed *>(to) = packed;
}

__device__ inline void axpy(REAL (&sum)[VECTOR], REAL weight, const Packed &read)
{
    for (int v = 0; v < VECTOR; v++) sum[v] += weight * widen(read.at[v]);
}

// to[v] += from[v], whoever else adds there.
__device__ inline void add(REAL *to, const REAL (&from)[VECTOR])
{
#if __CUDA_ARCH__ >= 900
    if constexpr (sizeof(REAL) == 4 && VECTOR % 4 == 0) {
        for (int v = 0; v < VECTOR; v += 4)
            asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to + v),
                "f"(float(from[v])), "f"(float(from[v + 1])), "f"(float(from[v + 2])),
                "f"(float(from[v + 3]))
                : "memory");
    } else
#endif
    {
        for (int v = 0; v < VECTOR; v++) atomic_add(to + v, from[v]);
    }
}

// The values of a RoI's bins on their way to pooled, laid out as PLANES says.
template <class Share>
struct Result {
    SCALAR *pooled;
    long long bins, channels;
    Share share;
    SCALAR *tile;  // shared, of PLANES values

    __device__ int pitch() const { return int(bins) | 1; }  // odd: no two lanes meet in a bank

    __device__ void put(int bin, const REAL (&value)[VECTOR], int further = 0) const
    {
        if (!share.active) return;
#if PLANES
        for (int v = 0; v < VECTOR; v++)
            tile[(share.lane * VECTOR + further + v) * pitch() + bin] = narrow<SCALAR>(value[v]);
#else
        store(pooled + (share.item * bins + bin) * channels + share.channel + further, value);
#endif
    }

    // When all bins are there: all threads of the block call this.
    __device__ void finish() const
    {
#if PLANES
        __syncthreads();
        const long long first = share.channel - share.lane * VECTOR;
        const int left = int(channels - first < share.slice ? channels - first : share.slice);
        SCALAR *to = pooled + (share.item * channels + first) * bins;
        const int size = int(bins);
        for (int i = threadIdx.x; i < left * size; i += THREADS)
            to[i] = tile[i / size * pitch() + i % size];
#endif
    }
};

// The taps of a RoI's rows and columns, by the threads of a block together.
template <class T>
__device__ inline void fill(T &rows, T &columns, const Window &window, const Task &task)
{
    const int high = int(task.high), both = high + int(task.wide);
    for (int i = threadIdx.x; i < both; i += THREADS) {
        const bool row = i < high;
        const Axis axis = row ? window.rows : window.columns;
        (row ? rows : columns).fill(axis, row ? i : i - high, int(task.ratio));
    }
    __syncthreads();
}

// The mean of each bin's samples.
//   map0 .. map7   (n, h, w, c) of each level, or null
//   rois           (k, 5) image, x1, y1, x2, y2
//   levels         (k), or null: all on level 0
//   pooled         (k, bins, c), or (k, c, bins) where PLANES
extern "C" __global__ void __launch_bounds__(THREADS) mean(Task task,
    const SCALAR *map0, const SCALAR *map1, const SCALAR *map2, const SCALAR *map3,
    const SCALAR *map4, const SCALAR *map5, const SCALAR *map6, const SCALAR *map7,
    const COORD *rois, const long long *levels, SCALAR *pooled)
{
    __shared__ Taps<BINS, TAPS> rows, columns;
    __shared__ SCALAR tile[PLANES + 1];
    const auto share = share_of<LANES, LOADS>(task.channels);
    const Window window = window_of(task, rois, levels, share.item);
    fill(rows, columns, window, task);

    const unsigned step = unsigned(task.channels / VECTOR);  // a row has fewer than 2^32 loads
    const long long pitch = window.columns.length * task.channels;
    const SCALAR *plane = map_of(window.level, map0, map1, map2, map3, map4, map5, map6, map7)
        + window.image * window.rows.length * pitch + share.channel;
    const int wide = int(task.wide), bins = int(task.high) * wide;
    const Result<Share<LANES, LOADS>> result = {pooled, bins, task.channels, share, tile};
    const int down = share.groups / wide, across = share.groups % wide;
    int p = share.group / wide, q = share.group % wide;
    for (int bin = share.group; bin < bins; bin += share.groups) {
        const int from = columns.start[q], to = share.active ? columns.end[q] : from;
        REAL sum[LOADS][VECTOR] = {};
        for (int i = rows.start[p]; i < rows.end[p]; i++) {
            const Tap row = rows.at[i];
            const Packed *line = reinterpret_cast<const Packed *>(plane + row.pixel * pitch);
            for (int j = from; j < to; j += AHEAD) {
                Packed read[AHEAD][LOADS];
                REAL weight[AHEAD];
#pragma unroll
                for (int a = 0; a < AHEAD; a++)
                    if (j + a < to) {
                        const Tap column = columns.at[j + a];
                        for (int u = 0; u < LOADS; u++)
                            read[a][u] = line[column.pixel * step + u * LANES];
                        weight[a] = row.weight * column.weight;
                    }
#pragma unroll
                for (int a = 0; a < AHEAD; a++)
                    if (j + a < to)
                        for (int u = 0; u < LOADS; u++) axpy(sum[u], weight[a], read[a][u]);
            }
        }
        for (int u = 0; u < LOADS; u++) result.put(bin, sum[u], u * LANES * VECTOR);
        p += down;
        q += across;
        if (q >= wide) {
            q -= wide;
            p++;
        }
    }
    result.finish();
}

// A bilinear sample; a pixel of no weight is not read.
__device__ inline void read_sample(REAL (&value)[VECTOR], const SCALAR *plane, const Sample &y,
    const Sample &x, long long width, long long channels)
{
    for (int v = 0; v < VECTOR; v++) value[v] = 0;
    if (y.pixel < 0 || x.pixel < 0) return;
    const SCALAR *first = plane + (y.pixel * width + x.pixel) * channels;
    Packed read[4];
#pragma unroll
    for (int corner = 0; corner < 4; corner++)
        if ((corner < 2 || y.next > 0) && (corner % 2 == 0 || x.next > 0))
            read[corner] = load(first + (corner / 2 * width + corner % 2) * channels);
#pragma unroll
    for (int corner = 0; corner < 4; corner++)
        if ((corner < 2 || y.next > 0) && (corner % 2 == 0 || x.next > 0)) {
            const COORD down = corner < 2 ? 1 - y.next : y.next;
            const COORD across = corner % 2 == 0 ? 1 - x.next : x.next;
            axpy(value, REAL(down * across), read[corner]);
        }
}

// Sample by sample: the largest of each bin, NaN if one is; without MAXIMUM the mean, where tables
// would have more than TAPS taps.
//   map0 .. map7   (n, h, w, c) of each level, or null
//   rois, levels   as above
//   pooled         as above, or null
//   largest        (k, bins, c) which sample of a bin is the largest, -1 for none; or null
extern "C" __global__ void __launch_bounds__(THREADS) by_samples(Task task,
    const SCALAR *map0, const SCALAR *map1, const SCALAR *map2, const SCALAR *map3,
    const SCALAR *map4, const SCALAR *map5, const SCALAR *map6, const SCALAR *map7,
    const COORD *rois, const long long *levels, SCALAR *pooled, int *largest)
{
    __shared__ SCALAR tile[PLANES + 1];
    const auto share = share_of<LANES>(task.channels);
    const Window window = window_of(task, rois, levels, share.item);
    const Axis rows = window.rows, columns = window.columns;
    const long long channels = task.channels, width = columns.length;
    const SCALAR *plane = map_of(window.level, map0, map1, map2, map3, map4, map5, map6, map7)
        + window.image * rows.length * width * channels + share.channel;
    const int wide = int(task.wide), bins = int(task.high) * wide;
    const bool some = rows.samples > 0 && columns.samples > 0;
    const Result<Share<LANES>> result = {pooled, bins, channels, share, tile};
    for (int bin = share.group; bin < bins; bin += share.groups) {
        REAL best[VECTOR], value[VECTOR];
        int which[VECTOR];
        for (int v = 0; v < VECTOR; v++) {
            best[v] = some && MAXIMUM ? LOWEST : REAL(0);
            which[v] = some ? 0 : -1;
        }
        for (int i = 0; share.active && i < rows.samples; i++) {
            const Sample y = sample_of(rows, bin / wide, i);
            for (int j = 0; j < columns.samples; j++) {
                const Sample x = sample_of(columns, bin % wide, j);
                read_sample(value, plane, y, x, width, channels);
                for (int v = 0; v < VECTOR; v++) {
                    const bool first_nan = value[v] != value[v] && best[v] == best[v];
                    const bool larger = value[v] > best[v] || first_nan;
                    which[v] = larger ? i * columns.samples + j : which[v];
                    best[v] = !MAXIMUM ? best[v] + value[v] : larger ? value[v] : best[v];
                }
            }
        }
        if (some && !MAXIMUM)
            for (int v = 0; v < VECTOR; v++) best[v] /= REAL(rows.samples) * REAL(columns.samples);
        if (pooled) result.put(bin, best);
        for (int v = 0; largest && share.active && v < VECTOR; v++)
            largest[(share.item * bins + bin) * channels + share.channel + v] = which[v];
    }
    if (pooled) result.finish();
}

// Taps by pixel instead of by bin: pixel[i] is read by the entries from begin[i] to begin[i + 1].
struct ByPixel {
    int count, entries;
    int begin[TAPS + 1];
    int pixel[TAPS];     // of an entry
    int bin[TAPS];       // of an entry
    REAL weight[TAPS];   // of an entry

    // From the taps of `bins` bins, by the threads of a block together, in the order of pixels,
    // then of bins. key holds a number for each tap that is there, and -1 elsewhere.
    __device__ void sort(const Taps<BINS, TAPS> &taps, const int (&key)[TAPS], int bins)
    {
        int used = 1;
        for (int bin = 0; bin < bins; bin++) used = max(used, taps.end[bin]);
        for (int i = threadIdx.x; i < used; i += THREADS) {
            int before = 0, all = 0;
            for (int j = 0; j < used; j++) {
                all += key[j] >= 0;
                before += key[j] >= 0 && key[j] < key[i];
            }
            if (i == 0) entries = all;
            if (key[i] < 0) continue;
            pixel[before] = key[i] / BINS;
            bin[before] = key[i] % BINS;
            weight[before] = taps.at[i].weight;
        }
    }

    // Once sorted: where each pixel begins.
    __device__ void number()
    {
        for (int i = threadIdx.x; i < entries; i += THREADS) {
            int pixels = 0;
            for (int j = 1; j <= i; j++) pixels += pixel[j] != pixel[j - 1];
            if (i == 0 || pixel[i] != pixel[i - 1]) begin[pixels] = i;
            if (i < entries - 1) continue;
            begin[pixels + 1] = entries;
            count = pixels + 1;
        }
        if (entries == 0 && threadIdx.x == 0) count = 0;
    }
};

// The keys of ByPixel::sort for an axis, before and after its taps are filled.
__device__ inline void clear(int (&key)[TAPS])
{
    for (int i = threadIdx.x; i < TAPS; i += THREADS) key[i] = -1;
}

__device__ inline void number(int (&key)[TAPS], const Taps<BINS, TAPS> &taps, long long bins)
{
    for (int bin = threadIdx.x; bin < bins; bin += THREADS)
        for (int i = taps.start[bin]; i < taps.end[bin]; i++)
            key[i] = taps.at[i].pixel * BINS + bin;
}

// The transpose of `mean`: what each pixel of a RoI gets from its bins, added to the maps at once.
//   grads          (k, bins, c)
//   rois, levels   as above
//   sums0 .. sums7 (n, h, w, c) of each level, zeros before; or null
extern "C" __global__ void __launch_bounds__(THREADS) scatter(Task task,
    const SCALAR *grads, const COORD *rois, const long long *levels,
    REAL *sums0, REAL *sums1, REAL *sums2, REAL *sums3,
    REAL *sums4, REAL *sums5, REAL *sums6, REAL *sums7)
{
    __shared__ Taps<BINS, TAPS> row_taps, column_taps;
    __shared__ int row_key[TAPS], column_key[TAPS];
    __shared__ ByPixel rows, columns;
    const auto share = share_of<BROAD>(task.channels);
    const Window window = window_of(task, rois, levels, share.item);
    clear(row_key);
    clear(column_key);
    fill(row_taps, column_taps, window, task);
    number(row_key, row_taps, task.high);
    number(column_key, column_taps, task.wide);
    __syncthreads();
    rows.sort(row_taps, row_key, int(task.high));
    columns.sort(column_taps, column_key, int(task.wide));
    __syncthreads();
    rows.number();
    columns.number();
    __syncthreads();
    if (!share.active) return;

    const long long channels = task.channels, width = window.columns.length;
    REAL *plane =
        map_of(window.level, sums0, sums1, sums2, sums3, sums4, sums5, sums6, sums7)
        + window.image * window.rows.length * width * channels + share.channel;
    const SCALAR *grad = grads + share.item * task.high * task.wide * channels + share.channel;
    const int across = columns.count, pixels = rows.count * across;
    for (int at = share.group; at < pixels; at += share.groups) {
        const int y = at / across, x = at % across;
        REAL sum[VECTOR] = {};
        for (int i = rows.begin[y]; i < rows.begin[y + 1]; i++) {
            const SCALAR *line = grad + rows.bin[i] * task.wide * channels;
            for (int j = columns.begin[x]; j < columns.begin[x + 1]; j++) {
                const Packed read = load(line + columns.bin[j] * channels);
                axpy(sum, rows.weight[i] * columns.weight[j], read);
            }
        }
        const long long row = rows.pixel[rows.begin[y]], column = columns.pixel[columns.begin[x]];
        add(plane + (row * width + column) * channels, sum);
    }
}

// The gradient of each bin's largest sample, added to the pixels that it reads.
//   grads          (k, bins, c)
//   rois, levels   as above
//   largest        (k, bins, c) as `by_samples` leaves it
//   sums0 .. sums7 (n, h, w, c) of each level, zeros before; or null
extern "C" __global__ void __launch_bounds__(THREADS) scatter_largest(Task task,
    const SCALAR *grads, const COORD *rois, const long long *levels, const int *largest,
    REAL *sums0, REAL *sums1, REAL *sums2, REAL *sums3,
    REAL *sums4, REAL *sums5, REAL *sums6, REAL *sums7)
{
    const auto share = share_of<BROAD>(task.channels);
    if (!share.active) return;
    const Window window = window_of(task, rois, levels, share.item);
    const Axis rows = window.rows, columns = window.columns;
    const long long channels = task.channels, width = columns.length;
    REAL *plane =
        map_of(window.level, sums0, sums1, sums2, sums3, sums4, sums5, sums6, sums7)
        + window.image * rows.length * width * channels + share.channel;
    const int wide = int(task.wide), bins = int(task.high) * wide;
    for (int bin = share.group; bin < bins; bin += share.groups) {
        const long long first = (share.item * bins + bin) * channels + share.channel;
        for (int v = 0; v < VECTOR; v++) {
            const int which = largest[first + v];
            if (which < 0) continue;
            const Sample y = sample_of(rows, bin / wide, which / columns.samples);
            const Sample x = sample_of(columns, bin % wide, which % columns.samples);
            if (y.pixel < 0 || x.pixel < 0) continue;
            const REAL grad = widen(grads[first + v]);
            for (int corner = 0; corner < 4; corner++) {
                const int below = corner / 2, right = corner % 2;
                if ((below && !(y.next > 0)) || (right && !(x.next > 0))) continue;
                const REAL weight =
                    REAL((below ? y.next : 1 - y.next) * (right ? x.next : 1 - x.next));
                const long long pixel = (y.pixel + below) * width + x.pixel + right;
                atomic_add(plane + pixel * channels + v, weight * grad);
            }
        }
    }
}

constexpr int EACH = SIDE * SIDE * LANES / THREADS;  // pixels of a tile that a thread has

// The first and last pixels that lie between the samples of an axis; last < first for none.
struct Extent {
    long long first, last;
};

__device__ inline Extent extent_of(const Axis &axis, long long bins)
{
    if (axis.samples < 1 || axis.length < 1) return {0, -1};
    const COORD one = axis.start, other = axis.start + times(COORD(bins), axis.side);
    const COORD low = one < other ? one : other, high = one < other ? other : one;
    const COORD last = COORD(axis.length - 1);
    if (!(low <= last + 1 && high >= -1)) return {0, -1};
    return {(long long)(low < 0 ? COORD(0) : low < last ? low : last),
        high < last ? (long long)(high < 0 ? COORD(0) : high) + 1 : (long long)(last)};
}

// Where on the maps each RoI lies, for `gather` to pass over those that are elsewhere.
//   rois, levels   as above
//   extents        (k, 5) level * images + image, and first and last rows and columns
extern "C" __global__ void __launch_bounds__(THREADS) find_extents(Task task,
    const COORD *rois, const long long *levels, long long *extents)
{
    const long long roi = (long long)(blockIdx.x) * THREADS + threadIdx.x;
    if (roi >= task.rois) return;
    const Window window = window_of(task, rois, levels, roi);
    const Extent rows = extent_of(window.rows, task.high);
    const Extent columns = extent_of(window.columns, task.wide);
    long long *to = extents + 5 * roi;
    to[0] = window.level * task.images + window.image;
    to[1] = rows.first;
    to[2] = rows.last;
    to[3] = columns.first;
    to[4] = columns.last;
}

// A tile of SIDE * SIDE pixels: the item-th of all levels, images, rows and columns of tiles.
struct Tile {
    int level, image, y, x;  // of its first pixel
};

__device__ inline Tile tile_of(const Task &task, unsigned item)
{
    for (int level = 0;; level++) {
        const unsigned down = unsigned((task.levels[level].height + SIDE - 1) / SIDE);
        const unsigned across = unsigned((task.levels[level].width + SIDE - 1) / SIDE);
        const unsigned tiles = unsigned(task.images) * down * across;
        if (item < tiles)
            return {level, int(item / (down * across)), int(item / across % down) * SIDE,
                int(item % across) * SIDE};
        item -= tiles;
    }
}

// With how much each row and column of a tile is read by 32 bins of a RoI on either axis: the rows
// are lines 0 to SIDE - 1, the columns the others. A bit of `bins` says that a weight is not 0.
struct Weights {
    REAL at[2 * SIDE][32];
    unsigned bins[2 * SIDE];

    // Lane i of each warp takes bin first + i. All threads of the block call this.
    __device__ void fill(const Window &window, const Task &task, const Tile &tile, int p, int q)
    {
        const int lane = threadIdx.x % 32;
        for (int line = threadIdx.x / 32; line < 2 * SIDE; line += WARPS) {
            const bool row = line < SIDE;
            const Axis axis = row ? window.rows : window.columns;
            const int bin = (row ? p : q) + lane, most = int(row ? task.high : task.wide);
            const int pixel = (row ? tile.y : tile.x) + line % SIDE;
            const REAL weight = bin < most ? weight_of(axis, bin, pixel) : REAL(0);
            at[line][lane] = weight;
            const unsigned some = __ballot_sync(~0u, weight != 0);
            if (lane == 0) bins[line] = some;
        }
        __syncthreads();
    }
};

// What a RoI gives the pixels of a tile by its bins from (p, q) on, 32 along each axis.
__device__ inline void receive(REAL (&sum)[EACH][VECTOR], const Task &task, const Tile &tile,
    const Window &window, const Weights &weights, const SCALAR *grads, const int *largest,
    long long roi, const Share<LANES> &share, int p, int q)
{
    if (!share.active) return;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int at = share.group + e * share.groups, y = at / SIDE, x = at % SIDE;
        for (unsigned down = weights.bins[y]; down; down &= down - 1)
            for (unsigned across = weights.bins[SIDE + x]; across; across &= across - 1) {
                const int i = __ffs(int(down)) - 1, j = __ffs(int(across)) - 1;
                const long long bin = (roi * task.high + p + i) * task.wide + q + j;
                const long long first = bin * task.channels + share.channel;
                const Packed read = load(grads + first);
#if MAXIMUM
                for (int v = 0; v < VECTOR; v++) {
                    const int which = largest[first + v], each = window.columns.samples;
                    const REAL weight = which < 0 ? REAL(0)
                        : weight_of_sample(window.rows, p + i, which / each, tile.y + y)
                            * weight_of_sample(window.columns, q + j, which % each, tile.x + x);
                    if (weight != 0) sum[e][v] += weight * widen(read.at[v]);
                }
#else
                axpy(sum[e], weights.at[y][i] * weights.at[SIDE + x][j], read);
#endif
            }
    }
}

// The gradients of the maps without atomics: a block takes SIDE * SIDE pixels of one map and walks
// the RoIs in their order, so that each pixel is summed by one thread, in one order.
//   grads          (k, bins, c)
//   rois, levels   as above
//   extents        (k, 5) as `find_extents` leaves it
//   largest        (k, bins, c) as `by_samples` leaves it, or null for the mean
//   found0 ..      (n, h, w, c) of each level, or null
extern "C" __global__ void __launch_bounds__(THREADS) gather(Task task,
    const SCALAR *grads, const COORD *rois, const long long *levels, const long long *extents,
    const int *largest, SCALAR *found0, SCALAR *found1, SCALAR *found2, SCALAR *found3,
    SCALAR *found4, SCALAR *found5, SCALAR *found6, SCALAR *found7)
{
    __shared__ Weights weights;
    __shared__ unsigned hits[WARPS];
    const auto share = share_of<LANES>(task.channels);
    const Tile tile = tile_of(task, unsigned(share.item));
    const long long channels = task.channels, map = tile.level * task.images + tile.image;
    REAL sum[EACH][VECTOR] = {};
    for (long long first = 0; first < task.rois; first += THREADS) {
        const long long roi = first + threadIdx.x;
        const long long *of = extents + 5 * roi;
        const bool hit = roi < task.rois && of[0] == map && of[1] < tile.y + SIDE
            && of[2] >= tile.y && of[3] < tile.x + SIDE && of[4] >= tile.x;
        const unsigned some = __ballot_sync(~0u, hit);
        if (threadIdx.x % 32 == 0) hits[threadIdx.x / 32] = some;
        __syncthreads();
        for (int warp = 0; warp < WARPS; warp++)
            for (unsigned left = hits[warp]; left; left &= left - 1) {
                const long long here = first + warp * 32 + __ffs(int(left)) - 1;
                const Window window = window_of(task, rois, levels, here);
                for (int p = 0; p < task.high; p += 32)
                    for (int q = 0; q < task.wide; q += 32) {
                        weights.fill(window, task, tile, p, q);
                        receive(
                            sum, task, tile, window, weights, grads, largest, here, share, p, q);
                        __syncthreads();
                    }
            }
        __syncthreads();
    }
    if (!share.active) return;

    const Level level = task.levels[tile.level];
    SCALAR *to = map_of(tile.level, found0, found1, found2, found3, found4, found5, found6, found7)
        + tile.image * level.height * level.width * channels + share.channel;
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int at = share.group + e * share.groups;
        const long long y = tile.y + at / SIDE, x = tile.x + at % SIDE;
        if (y < level.height && x < level.width)
            store(to + (y * level.width + x) * channels, sum[e]);
    }
}
