// The memory of a kernel, and a look at each access to it: whether it is to what the kernel was
// given, and whether another thread's access to the same bytes is neither before nor after it.
#pragma once
#include "threads.h"

extern "C" {
// Set by the linker: where shared memory is, and where the program ends.
extern char __start_shared_memory[] __attribute__((visibility("hidden")));
extern char __stop_shared_memory[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}

namespace {
constexpr size_t GUARD = 1 << 20;      // bytes that belong to nobody, around each region
constexpr size_t IN_PLACE = 64 << 20;  // larger regions are neither copied nor checked for races

// The end of shared memory, as this file is linked last: nobody writes it, so nobody may read it.
__attribute__((section("shared_memory"), used)) char after_shared[256];

struct Mark {  // one access to a grain of memory
    uint32_t segment;  // the stretch between barriers, counted over all launches; 0 is none
    uint32_t thread : 10, is_atomic : 1, clock : 21;
};

struct Cell {  // what is remembered of a grain
    Mark write, read[2];
};

struct Span {  // a region while a kernel runs
    Region* region;
    char* at;
    Cell* cells;
    bool written;
};

std::vector<Span> spans;
Span* last_span;
std::vector<Cell> shared_cells;
char *arena, *cell_space;  // where regions are copied to, and their cells
size_t arena_bytes, cell_bytes;
uint32_t block_segment, launch_segment;             // the first of each
std::vector<uint32_t> block_starts, block_numbers;  // of this launch: first segments, and which

// ---- Regions ----

char* grown(char* space, size_t& have, size_t need) {
    if (need <= have) return space;
    if (have) munmap(space, have);
    have = std::max(need, size_t(1) << 20);
    return static_cast<char*>(mmap(nullptr, have, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

void give_back(char* space, size_t& have) {
    if (have <= IN_PLACE) return;
    munmap(space, have);
    have = 0;
}

// Copy the regions between guards, each as aligned as it is at home.
void lay_out() {
    size_t bytes = GUARD, cells = 0;
    for (int i = 0; i < launch->region_count; i++) {
        Region& region = launch->regions[i];
        if (region.bytes > int64_t(IN_PLACE)) continue;
        bytes += (region.bytes + GUARD + 255) / 256 * 256;
        if (region.writable) cells += (region.bytes / region.grain + 1) * sizeof(Cell);
    }
    arena = grown(arena, arena_bytes, bytes);
    cell_space = grown(cell_space, cell_bytes, cells);
    char *at = arena + GUARD, *cell = cell_space;
    spans.clear();
    for (int i = 0; i < launch->region_count; i++) {
        Region& region = launch->regions[i];
        Span span = {&region, region.host, nullptr, false};
        if (region.bytes <= int64_t(IN_PLACE)) {
            span.at = at + reinterpret_cast<uintptr_t>(region.host) % 64;
            at += (region.bytes + GUARD + 255) / 256 * 256;
            memcpy(span.at, region.host, region.bytes);
            if (region.writable) {
                span.cells = reinterpret_cast<Cell*>(cell);
                cell += (region.bytes / region.grain + 1) * sizeof(Cell);
            }
        }
        spans.push_back(span);
    }
    for (int i = 0; i < launch->argument_count; i++) {
        if (launch->region_of[i] < 0) continue;
        Span& span = spans[launch->region_of[i]];
        char** pointer = static_cast<char**>(launch->arguments[i]);
        *pointer = span.at + (*pointer - span.region->host);
    }
}

void copy_back() {
    for (Span& span : spans)
        if (span.written && span.at != span.region->host)
            memcpy(span.region->host, span.at, span.region->bytes);
    give_back(arena, arena_bytes);
    give_back(cell_space, cell_bytes);
}

// ---- Accesses ----

const char* verb(bool write) { return write ? "writes" : "reads"; }

bool ordered(const Mark& mark) {  // before what this thread does now, if both are of one block
    if (mark.segment < segment || mark.thread == self->index) return true;
    return mark.thread / 32 == self->index / 32 && self->known[mark.thread % 32] >= mark.clock;
}

bool conflicts(const Mark& mark, uint32_t oldest) {
    if (mark.segment < oldest) return false;
    return mark.segment < block_segment || !ordered(mark);
}

[[noreturn]] void race(const Mark& mark, bool write, int bytes, const char* what, bool wrote,
                       const void* code) {
    char other[96];
    const char* missing = "no barrier between them";
    if (mark.segment >= block_segment) {
        snprintf(other, sizeof other, "thread %s", name_of(mark.thread));
    } else {
        auto found = std::upper_bound(block_starts.begin(), block_starts.end(), mark.segment);
        uint32_t number = block_numbers[found - block_starts.begin() - 1];
        snprintf(other, sizeof other, "thread %s of block %s", name_of(mark.thread),
                 written_out(position(number, launch->grid)));
        missing = "blocks have no order";
    }
    fail(code, nullptr, 0, "%s: %s %d bytes of %s that %s %s: a race, %s", here(),
         verb(write), bytes, what, other, wrote ? "wrote" : "read", missing);
}

// Two readers are kept: a writer is ordered after one of its own block, but not after both.
void remember_read(Cell& cell, Mark now, uint32_t oldest) {
    Mark& first = cell.read[0];
    bool replace = first.segment < oldest || (first.segment >= block_segment && ordered(first));
    cell.read[replace ? 0 : 1] = now;
}

// oldest   the segment before which all marks are of no concern
// strict   a plain read races with an atomic operation too
void note(Cell& cell, bool write, bool is_atomic, int bytes, const char* what, uint32_t oldest,
          bool strict, const void* code) {
    Mark now = {segment, self->index, is_atomic, self->clock};
    bool allowed = cell.write.is_atomic && (is_atomic || (!write && !strict));
    if (!allowed && conflicts(cell.write, oldest))
        race(cell.write, write, bytes, what, true, code);
    if (!write) return remember_read(cell, now, oldest);
    for (const Mark& read : cell.read)
        if ((strict || !is_atomic) && conflicts(read, oldest))
            race(read, write, bytes, what, false, code);
    cell.write = now;
}

void touch_shared(size_t offset, int bytes, bool write, bool is_atomic, const void* code) {
    for (size_t i = offset; i < offset + bytes && i < shared_cells.size(); i++) {
        Cell& cell = shared_cells[i];
        if (__start_shared_memory + i >= after_shared)
            fail(code, nullptr, 0, "%s: %s beyond shared memory", here(), verb(write));
        bool fresh = cell.write.segment < block_segment;
        if (fresh && (!write || is_atomic))
            fail(code, nullptr, 0, "%s: reads shared memory that nobody in the block wrote",
                 here());
        note(cell, write, is_atomic, bytes, "shared memory", block_segment, true, code);
    }
}

// An address in no region: told by the nearest end of one.
[[noreturn]] void outside(char* address, int bytes, bool write, const void* code) {
    const char *who = here(), *does = verb(write);
    if (reinterpret_cast<uintptr_t>(address) < (1 << 16))
        fail(code, nullptr, 0, "%s: %s %d bytes through a null pointer", who, does, bytes);
    Span* near = nullptr;
    int64_t nearest = INT64_MAX, past = 0;
    for (Span& span : spans) {
        int64_t after = address + bytes - (span.at + span.region->bytes);
        int64_t before = span.at - address;
        int64_t distance = std::max(after, before);
        if (distance >= nearest) continue;
        near = &span, nearest = distance, past = after > before ? after : -before;
    }
    if (!near || nearest > int64_t(1) << 30)
        fail(code, nullptr, 0, "%s: %s %d bytes where it was given none", who, does, bytes);
    fail(code, nullptr, 0, "%s: %s %d bytes, %lld %s %s", who, does, bytes,
         (long long)(past > 0 ? past : -past), past > 0 ? "past the end of" : "before the start of",
         near->region->name);
}

void touch_global(Span& span, char* address, int bytes, bool write, bool is_atomic,
                  const void* code) {
    if (write && !span.region->writable)
        fail(code, nullptr, 0, "%s: writes %d bytes of %s, which is const", here(), bytes,
             span.region->name);
    span.written = span.written || write;
    if (!span.cells) return;
    size_t grain = span.region->grain, first = (address - span.at) / grain;
    size_t last = (address - span.at + bytes - 1) / grain;
    const char* name = span.region->name;
    for (size_t i = first; i <= last; i++)
        note(span.cells[i], write, is_atomic, bytes, name, launch_segment, false, code);
}

bool within(Span& span, char* address, int bytes) {
    return address >= span.at && address + bytes <= span.at + span.region->bytes;
}

void touch(void* where, int bytes, bool write, bool is_atomic, const void* code) {
    char* address = static_cast<char*>(where);
    if (!running || size_t(address - stack_low) < STACK) return;
    size_t offset = address - __start_shared_memory;
    if (offset < shared_cells.size()) return touch_shared(offset, bytes, write, is_atomic, code);
    if (last_span && within(*last_span, address, bytes))
        return touch_global(*last_span, address, bytes, write, is_atomic, code);
    if (address >= __ehdr_start && address < _end) {
        if (!write) return;
        fail(code, nullptr, 0, "%s: writes %d bytes of a constant", here(), bytes);
    }
    for (Span& span : spans) {
        if (!within(span, address, bytes)) continue;
        last_span = &span;
        return touch_global(span, address, bytes, write, is_atomic, code);
    }
    outside(address, bytes, write, code);
}

void touch_aligned(void* where, int bytes, bool write, const void* code) {
    touch(where, bytes, write, false, code);
    if (running && reinterpret_cast<uintptr_t>(where) % bytes)
        fail(code, nullptr, 0, "%s: an access of %d bytes is not aligned to them", here(), bytes);
}
}  // namespace
