// The threads of a block, as fibers of one thread of a CPU: each runs until it waits at a barrier
// or in a function of its warp, and is let go when all that it waits for have come there.
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <vector>

#include "emulation.h"

extern "C" char __ehdr_start[] __attribute__((visibility("hidden")));  // the program begins here

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {
// ---- What Python hands over: ctypes structures in emulation.py have the same fields ----

struct Region {     // a span of memory that a kernel may address
    char* host;     // where it is
    int64_t bytes;
    int32_t grain;  // bytes of an element: what races are over
    int32_t writable;
    const char* name;
};

struct Launch {
    uint32_t grid[3], block[3];
    void (*call)(void**);
    void** arguments;    // addresses of the arguments
    int32_t* region_of;  // for each argument, the region that it points into, or -1
    int32_t argument_count;
    Region* regions;
    int32_t region_count;
    int32_t order;  // 0 forward, 1 reversed, 2 shuffled
    uint64_t seed;
};

struct Fault {
    char text[1024];
    char file[256];  // and the line: where it was, if known
    int32_t line;
    int64_t code;  // else the address of the instruction, from the program's beginning
};

// ---- State ----

constexpr size_t STACK = 256 << 10;  // of a fiber, in bytes

struct Fiber {
    ucontext_t first;
    jmp_buf here;
    char* stack;
    bool started;
};

enum State { READY, AT_BARRIER, AT_WARP, DONE };

struct Thread {
    uint32_t index;
    State state;
    Fiber* fiber;
    emulation::Place place;  // it waits at
    unsigned mask;           // of lanes, in a function of its warp; at a barrier, what is counted
    uint64_t given;
    emulation::Heard heard;
    uint32_t clock;
    uint32_t known[32];  // of the lanes of its warp: their clocks at the last common __syncwarp
};

bool running = false;  // inside a kernel: what the scheduler itself does is not looked at
Launch* launch;
Fault* fault;
jmp_buf scheduler, failed;
std::vector<Fiber*> fibers, free_fibers;
std::vector<Thread> threads;
Thread* self;
char* stack_low;
uint32_t segment = 0;  // stretches between barriers, counted over all launches
int barrier_result;
bool clocks_used;

// ---- Faults ----

uint3 position(uint32_t index, const uint32_t* of) {
    return {index % of[0], index / of[0] % of[1], index / of[0] / of[1]};
}

const char* written_out(uint3 p) {
    static char texts[4][48];
    static int next = 0;
    char* text = texts[next++ % 4];
    snprintf(text, sizeof texts[0], "(%u, %u, %u)", p.x, p.y, p.z);
    return text;
}

const char* name_of(uint32_t thread) { return written_out(position(thread, launch->block)); }

[[noreturn]] void fail(const void* code, const char* file, int line, const char* form, ...) {
    va_list rest;
    va_start(rest, form);
    vsnprintf(fault->text, sizeof fault->text, form, rest);
    va_end(rest);
    snprintf(fault->file, sizeof fault->file, "%s", file ? file : "");
    fault->line = line;
    fault->code = code ? static_cast<const char*>(code) - __ehdr_start : 0;
    _longjmp(failed, 1);
}

const char* here() {
    static char text[128];
    snprintf(text, sizeof text, "block %s, thread %s", written_out(blockIdx), name_of(self->index));
    return text;
}

// ---- Fibers ----

void fiber_main() {
    for (;;) {
        Fiber* fiber = self->fiber;
        launch->call(launch->arguments);
        self->state = DONE;
        self->fiber = nullptr;
        free_fibers.push_back(fiber);
        if (!_setjmp(fiber->here)) _longjmp(scheduler, 1);
    }
}

Fiber* a_fiber() {
    if (free_fibers.empty()) {
        auto* fiber = new Fiber();
        void* stack = mmap(nullptr, STACK + 4096, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        mprotect(stack, 4096, PROT_NONE);
        fiber->stack = static_cast<char*>(stack) + 4096;
        fibers.push_back(fiber);
        free_fibers.push_back(fiber);
    }
    Fiber* fiber = free_fibers.back();
    free_fibers.pop_back();
    return fiber;
}

void begin(Fiber* fiber) {
    fiber->started = true;
    getcontext(&fiber->first);
    fiber->first.uc_stack = {fiber->stack, 0, STACK};
    fiber->first.uc_link = nullptr;
    makecontext(&fiber->first, fiber_main, 0);
    setcontext(&fiber->first);
}

void resume(Thread* thread) {
    self = thread;
    threadIdx = position(thread->index, launch->block);
    if (!thread->fiber) thread->fiber = a_fiber();
    stack_low = thread->fiber->stack;
    if (_setjmp(scheduler)) {
        running = false;
        return;
    }
    running = true;
    if (thread->fiber->started) _longjmp(thread->fiber->here, 1);
    begin(thread->fiber);
}

void wait(State state, emulation::Place place, unsigned mask, uint64_t given) {
    Thread* me = self;
    me->state = state;
    me->place = place;
    me->mask = mask;
    me->given = given;
    if (!_setjmp(me->fiber->here)) _longjmp(scheduler, 1);
}

void abandon_fibers() {
    free_fibers = fibers;
    for (Fiber* fiber : fibers) fiber->started = false;
}

// ---- Barriers ----

unsigned lanes_of(uint32_t warp) {
    unsigned there = 0;
    for (uint32_t i = 0; i < 32 && warp * 32 + i < threads.size(); i++) there |= 1u << i;
    return there;
}

// Give each of these lanes of a warp what all of them gave.
void hear(Thread* group, unsigned lanes) {
    emulation::Heard heard;
    for (int i = 0; i < 32; i++) heard.of[i] = lanes >> i & 1 ? group[i].given : ~uint64_t(0);
    heard.from = lanes;
    for (int i = 0; i < 32; i++) {
        if (!(lanes >> i & 1)) continue;
        group[i].heard = heard;
        group[i].state = READY;
    }
}

// Let each of these lanes know what all of them did until now.
void order_lanes(Thread* group, unsigned lanes) {
    uint32_t known[32] = {};
    clocks_used = true;
    for (int i = 0; i < 32; i++)
        for (int j = 0; j < 32; j++)
            if (lanes >> i & 1)
                known[j] = std::max(known[j], i == j ? group[i].clock : group[i].known[j]);
    for (int i = 0; i < 32; i++) {
        if (!(lanes >> i & 1)) continue;
        memcpy(group[i].known, known, sizeof known);
        group[i].clock++;
    }
}

// Let go the lanes that are all in the function that they wait in; whether there were any.
bool release_warps() {
    bool any = false;
    for (uint32_t warp = 0; warp * 32 < threads.size(); warp++) {
        Thread* group = &threads[warp * 32];
        unsigned there = lanes_of(warp);
        for (int i = 0; i < 32; i++) {
            if (!(there >> i & 1) || group[i].state != AT_WARP) continue;
            unsigned lanes = 0;
            bool complete = true;
            for (int j = 0; j < 32; j++) {
                if (!(group[i].mask & there & 1u << j) || group[j].state == DONE) continue;
                complete = complete && group[j].state == AT_WARP &&
                           group[j].mask == group[i].mask &&
                           !strcmp(group[j].place.name, group[i].place.name);
                lanes |= 1u << j;
            }
            if (!complete) continue;
            if (!strcmp(group[i].place.name, "__syncwarp")) order_lanes(group, lanes);
            hear(group, lanes);
            any = true;
        }
    }
    return any;
}

// Of a block's threads, two that are not at the same place, if there are.
std::pair<Thread*, Thread*> apart() {
    Thread* one = nullptr;
    for (Thread& t : threads)
        if (t.state != DONE && (!one || (one->state == AT_WARP && t.state == AT_BARRIER))) one = &t;
    for (Thread& t : threads)
        if (t.state == DONE || t.place.line != one->place.line ||
            strcmp(t.place.file, one->place.file))
            return {one, &t};
    return {one, nullptr};
}

// Let go a block that is at one barrier; none of its threads can go on in any other way.
void release_block() {
    auto [one, other] = apart();
    if (other || one->state != AT_BARRIER) {
        char what[256];
        if (!other)
            snprintf(what, sizeof what, "lanes of its mask %#x do not come", one->mask);
        else if (other->state == DONE)
            snprintf(what, sizeof what, "thread %s has returned without it", name_of(other->index));
        else
            snprintf(what, sizeof what, "thread %s waits at %s, line %d", name_of(other->index),
                     other->place.name, other->place.line);
        fail(nullptr, one->place.file, one->place.line, "block %s: thread %s waits at %s, and %s",
             written_out(blockIdx), name_of(one->index), one->place.name, what);
    }
    int count = 0;
    for (Thread& t : threads) {
        count += t.given != 0;
        t.state = READY;
    }
    bool all = count == int(threads.size());
    int what = int(one->mask);
    barrier_result = what == emulation::COUNT ? count : what == emulation::AND ? all : count > 0;
    segment++;
}
}  // namespace
