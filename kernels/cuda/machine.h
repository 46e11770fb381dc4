// A GPU for one program, on one thread of a CPU: runs the blocks of a grid one after another.
//
// The program is compiled with GCC's instrumentation for data races and undefined behavior; what
// its runtime libraries would do is done here instead. This is compiled by itself, without any, and
// linked to one program: each has a machine of its own.
#include "memory.h"

extern "C" {
// C's own functions: a call of memcpy goes to __wrap_memcpy below.
void* __real_memcpy(void* to, const void* from, size_t bytes);
void* __real_memset(void* to, int value, size_t bytes);
}

namespace {
uint64_t random_state;

uint64_t random_below(uint64_t bound) {  // splitmix64
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % bound;
}

void arrange(std::vector<uint32_t>& order) {
    if (launch->order == 1) std::reverse(order.begin(), order.end());
    if (launch->order == 2)
        for (size_t i = order.size(); i > 1; i--) std::swap(order[i - 1], order[random_below(i)]);
}

void run_block(uint32_t number) {
    static std::vector<uint32_t> ready;
    blockIdx = position(number, launch->grid);
    block_segment = ++segment;
    block_starts.push_back(segment);
    block_numbers.push_back(number);
    for (Thread& t : threads) {
        t.state = READY;
        t.clock = 1;
        if (clocks_used) memset(t.known, 0, sizeof t.known);
    }
    clocks_used = false;
    for (;;) {
        ready.clear();
        bool waiting = false;
        for (Thread& t : threads) {
            if (t.state == READY) ready.push_back(t.index);
            waiting = waiting || (t.state != READY && t.state != DONE);
        }
        if (ready.empty() && !waiting) return;
        if (ready.empty()) {
            if (!release_warps()) release_block();
            continue;
        }
        arrange(ready);
        for (uint32_t index : ready) resume(&threads[index]);
    }
}

void prepare() {
    if (segment > 3u << 30) {  // segments would wrap: forget all marks
        segment = 0;
        if (cell_bytes) munmap(cell_space, cell_bytes);
        cell_bytes = 0;
        std::fill(shared_cells.begin(), shared_cells.end(), Cell());
    }
    launch_segment = segment + 1;
    random_state = launch->seed;
    last_span = nullptr;
    block_starts.clear();
    block_numbers.clear();
    shared_cells.resize(__stop_shared_memory - __start_shared_memory);
    gridDim = {launch->grid[0], launch->grid[1], launch->grid[2]};
    blockDim = {launch->block[0], launch->block[1], launch->block[2]};
    threads.resize(blockDim.x * blockDim.y * blockDim.z);
    for (size_t i = 0; i < threads.size(); i++) threads[i] = {uint32_t(i), READY};
    lay_out();
}

void run_grid() {
    static std::vector<uint32_t> order;  // static: a fault jumps past destructors
    order.resize(size_t(gridDim.x) * gridDim.y * gridDim.z);
    for (size_t i = 0; i < order.size(); i++) order[i] = uint32_t(i);
    arrange(order);
    for (uint32_t number : order) run_block(number);
}
}  // namespace

// Run a grid: 0, or 1 with the fault that ended it.
EMULATION_ENTRY int emulated_launch(Launch* what, Fault* found) {
    launch = what;
    fault = found;
    int failure = _setjmp(failed);
    if (!failure) {
        prepare();
        run_grid();
    }
    running = false;
    copy_back();
    if (failure) abandon_fibers();
    return failure;
}

// ---- What emulation.h declares ----

namespace emulation {
int barrier(Place place, int predicate, Count what) {
    wait(AT_BARRIER, place, what, predicate != 0);
    return barrier_result;
}

void sync_warp(Place place, unsigned mask) { exchange(place, mask, 0); }

Heard exchange(Place place, unsigned mask, uint64_t mine) {
    if (!(mask >> lane() & 1))
        fail(nullptr, place.file, place.line, "%s: is not in the mask %#x of its %s", here(), mask,
             place.name);
    wait(AT_WARP, place, mask, mine);
    return self->heard;
}

int lane() { return self->index % 32; }

void fetch(void* address, void* before, int bytes) {
    const void* code = __builtin_return_address(0);
    touch(address, bytes, true, true, code);
    if (reinterpret_cast<uintptr_t>(address) % bytes)
        fail(code, nullptr, 0, "%s: an atomic access is not aligned", here());
    __real_memcpy(before, address, bytes);
}

void store(void* address, const void* after, int bytes) { __real_memcpy(address, after, bytes); }
}  // namespace emulation

// ---- What instrumented code calls ----

#define CODE __builtin_return_address(0)
#define ACCESS(bytes)                                                                   \
    void __tsan_read##bytes(void* p) { touch_aligned(p, bytes, false, CODE); }          \
    void __tsan_write##bytes(void* p) { touch_aligned(p, bytes, true, CODE); }          \
    void __tsan_unaligned_read##bytes(void* p) { touch(p, bytes, false, false, CODE); } \
    void __tsan_unaligned_write##bytes(void* p) { touch(p, bytes, true, false, CODE); }

extern "C" {
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* p, size_t bytes) { touch(p, int(bytes), false, false, CODE); }
void __tsan_write_range(void* p, size_t bytes) { touch(p, int(bytes), true, false, CODE); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
    touch(const_cast<void*>(from), int(bytes), false, false, CODE);
    touch(to, int(bytes), true, false, CODE);
    return __real_memcpy(to, from, bytes);
}
void* __wrap_memset(void* to, int value, size_t bytes) {
    touch(to, int(bytes), true, false, CODE);
    return __real_memset(to, value, bytes);
}

struct Source {
    const char* file;
    uint32_t line, column;
};
struct Kind {
    uint16_t kind, info;
    char name[];
};
struct Operation {
    Source source;
    Kind *type, *other;
};
struct Mismatch {
    Source source;
    Kind* type;
    unsigned char log_alignment, kind;
};

#define UNDEFINED(data, ...) \
    fail(nullptr, (data)->source.file, int((data)->source.line), __VA_ARGS__)
#define OVERFLOWS(operation, sign)                                                           \
    void __ubsan_handle_##operation##_overflow(Operation* data, uintptr_t a, uintptr_t b) {  \
        UNDEFINED(data, "%s: %s overflows: %lld " sign " %lld", here(), data->type->name,    \
                  number(data->type, a), number(data->type, b));                             \
    }
}

namespace {
long long number(const Kind* kind, uintptr_t raw) {  // up to 32 bits come as they are, zero above
    int bits = 1 << (kind->info >> 1);
    return bits < 64 ? (long long)(raw << (64 - bits)) >> (64 - bits) : (long long)raw;
}
}  // namespace

extern "C" {
OVERFLOWS(add, "+")
OVERFLOWS(sub, "-")
OVERFLOWS(mul, "*")
OVERFLOWS(divrem, "/")
void __ubsan_handle_negate_overflow(Operation* data, uintptr_t a) {
    UNDEFINED(data, "%s: %s overflows: -(%lld)", here(), data->type->name, number(data->type, a));
}
void __ubsan_handle_shift_out_of_bounds(Operation* data, uintptr_t, uintptr_t b) {
    UNDEFINED(data, "%s: %s shifted by %lld", here(), data->type->name, number(data->other, b));
}
void __ubsan_handle_out_of_bounds(Operation* data, uintptr_t index) {
    UNDEFINED(data, "%s: index %lld of an array %s", here(), number(data->other, index),
              data->type->name);
}
void __ubsan_handle_float_cast_overflow(Operation* data, uintptr_t) {
    UNDEFINED(data, "%s: %s to %s of a value that it cannot hold", here(), data->type->name,
              data->other->name);
}
void __ubsan_handle_type_mismatch_v1(Mismatch* data, uintptr_t address) {
    UNDEFINED(data, "%s: %s at an address that is not aligned to %d bytes: %#llx", here(),
              data->type->name, 1 << data->log_alignment, (unsigned long long)address);
}
}
