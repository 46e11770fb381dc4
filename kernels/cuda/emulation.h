// What NVRTC has built in, for a C++17 compiler: put before a .cu file that is compiled for a CPU.
// Threads, barriers and the check of each access are in machine.h.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

struct alignas(1) char2 { signed char x, y; };
struct alignas(4) char4 { signed char x, y, z, w; };
struct alignas(2) uchar2 { unsigned char x, y; };
struct alignas(4) uchar4 { unsigned char x, y, z, w; };
struct alignas(4) short2 { short x, y; };
struct alignas(8) short4 { short x, y, z, w; };
struct alignas(4) ushort2 { unsigned short x, y; };
struct alignas(8) ushort4 { unsigned short x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct int3 { int x, y, z; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
struct alignas(8) float2 { float x, y; };
struct float3 { float x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct dim3 { unsigned x, y, z; };

inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

#define EMULATION_UNCHECKED __attribute__((no_sanitize("thread", "undefined")))

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// What machine.h provides. A place is the line that a thread waits at.
namespace emulation {
struct Place {
    const char* name;
    const char* file;
    int line;
};
enum Count { COUNT, AND, OR };
struct Heard {
    uint64_t of[32];  // what each lane gave: all ones where none took part
    unsigned from;    // the lanes that took part
};

int barrier(Place place, int predicate, Count what);        // of a block
void sync_warp(Place place, unsigned mask = ~0u);           // of the lanes in the mask
Heard exchange(Place place, unsigned mask, uint64_t mine);  // among the lanes in the mask
int lane();
void fetch(void* address, void* before, int bytes);       // the first half of an atomic operation
void store(void* address, const void* after, int bytes);  // the second

template <class T>
uint64_t bits(T value) {
    static_assert(sizeof(T) <= 8, "values of up to 8 bytes are exchanged between lanes");
    uint64_t raw = 0;
    __builtin_memcpy(&raw, &value, sizeof(T));
    return raw;
}

template <class T>
T value(uint64_t raw) {
    T found;
    __builtin_memcpy(&found, &raw, sizeof(T));
    return found;
}

// The value of a lane of this thread's segment of `width` lanes; its own where there is none.
template <class T>
T from(Place place, unsigned mask, T mine, int source, bool inside) {
    Heard all = exchange(place, mask, bits(mine));
    return inside ? value<T>(all.of[source]) : mine;
}

template <class T>
T shuffled(Place place, unsigned mask, T mine, int source, int width = 32) {
    int base = lane() / width * width;
    return from(place, mask, mine, base + (source & (width - 1)), true);
}

template <class T>
T shuffled_up(Place place, unsigned mask, T mine, unsigned delta, int width = 32) {
    int source = lane() - int(delta);
    return from(place, mask, mine, source, source >= lane() / width * width);
}

template <class T>
T shuffled_down(Place place, unsigned mask, T mine, unsigned delta, int width = 32) {
    int source = lane() + int(delta);
    return from(place, mask, mine, source, source < (lane() / width + 1) * width);
}

template <class T>
T shuffled_xor(Place place, unsigned mask, T mine, int with, int width = 32) {
    int source = lane() ^ with;
    return from(place, mask, mine, source, source < (lane() / width + 1) * width);
}

inline unsigned ballot(Place place, unsigned mask, int predicate) {
    Heard all = exchange(place, mask, predicate != 0);
    unsigned found = 0;
    for (int i = 0; i < 32; i++) found |= unsigned(all.of[i] == 1) << i;
    return found;
}

inline int every(Place place, unsigned mask, int predicate) {
    Heard all = exchange(place, mask, predicate != 0);
    for (uint64_t one : all.of)
        if (one == 0) return 0;
    return 1;
}

inline int some(Place place, unsigned mask, int predicate) {
    return ballot(place, mask, predicate) != 0;
}

template <class T>
unsigned matching(Place place, unsigned mask, T mine) {
    Heard all = exchange(place, mask, bits(mine));
    unsigned found = 0;
    for (int i = 0; i < 32; i++)
        found |= unsigned((all.from >> i & 1) && all.of[i] == bits(mine)) << i;
    return found;
}

template <class T, class Join>
T reduced(Place place, unsigned mask, T mine, Join join) {
    Heard all = exchange(place, mask, bits(mine));
    T sum = mine;
    for (int i = 0; i < 32; i++)
        if ((all.from >> i & 1) && i != lane()) sum = join(sum, value<T>(all.of[i]));
    return sum;
}

// A kernel's parameters, as Python checks what it is given against them.
struct Parameter {
    int kind;      // 0 a pointer, 1 an integer, 2 floating, 3 a structure
    int bytes;     // of it
    int constant;  // a pointer to what is only read
    int pointee;   // bytes of what a pointer points to
    int number;    // it points to numbers, not to structures
};

template <class T>
constexpr Parameter parameter() {
    using To = std::remove_pointer_t<T>;
    if constexpr (std::is_pointer_v<T>) {
        int bytes = 1;
        if constexpr (!std::is_void_v<To>) bytes = sizeof(To);
        return {0, sizeof(T), std::is_const_v<To>, bytes, std::is_arithmetic_v<To>};
    } else {
        int kind = std::is_integral_v<T> ? 1 : std::is_floating_point_v<T> ? 2 : 3;
        return {kind, sizeof(T)};
    }
}

template <class... T>
int parameters(void (*)(T...), Parameter* found) {
    int count = 0;
    ((found[count++] = parameter<T>()), ...);
    return count;
}

template <class... T, size_t... I>
EMULATION_UNCHECKED void call(void (*kernel)(T...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<T*>(arguments[I])...);
}

template <class... T>
EMULATION_UNCHECKED void call(void (*kernel)(T...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<T...>());
}
}  // namespace emulation

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static __attribute__((section("shared_memory")))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define alignas(bytes) __align__(bytes)  // GCC takes the other only where NVRTC does not need it
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define EMULATION_ENTRY extern "C" __attribute__((visibility("default")))

#define EMULATION_AT(name) emulation::Place{name, __FILE__, __LINE__}
#define __syncthreads() (void)emulation::barrier(EMULATION_AT("__syncthreads"), 0, emulation::OR)
#define __syncthreads_count(p) \
    emulation::barrier(EMULATION_AT("__syncthreads_count"), (p), emulation::COUNT)
#define __syncthreads_and(p) \
    emulation::barrier(EMULATION_AT("__syncthreads_and"), (p), emulation::AND)
#define __syncthreads_or(p) emulation::barrier(EMULATION_AT("__syncthreads_or"), (p), emulation::OR)
#define __syncwarp(...) emulation::sync_warp(EMULATION_AT("__syncwarp") __VA_OPT__(,) __VA_ARGS__)
#define __shfl_sync(...) emulation::shuffled(EMULATION_AT("__shfl_sync"), __VA_ARGS__)
#define __shfl_up_sync(...) emulation::shuffled_up(EMULATION_AT("__shfl_up_sync"), __VA_ARGS__)
#define __shfl_down_sync(...) \
    emulation::shuffled_down(EMULATION_AT("__shfl_down_sync"), __VA_ARGS__)
#define __shfl_xor_sync(...) emulation::shuffled_xor(EMULATION_AT("__shfl_xor_sync"), __VA_ARGS__)
#define __ballot_sync(m, p) emulation::ballot(EMULATION_AT("__ballot_sync"), m, p)
#define __all_sync(m, p) emulation::every(EMULATION_AT("__all_sync"), m, p)
#define __any_sync(m, p) emulation::some(EMULATION_AT("__any_sync"), m, p)
#define __match_any_sync(m, v) emulation::matching(EMULATION_AT("__match_any_sync"), m, v)
#define EMULATION_REDUCE(name, m, v, join) \
    emulation::reduced(EMULATION_AT(name), m, v, [](auto a, auto b) { return decltype(a)(join); })
#define __reduce_add_sync(m, v) \
    EMULATION_REDUCE("__reduce_add_sync", m, v, unsigned(a) + unsigned(b))
#define __reduce_min_sync(m, v) EMULATION_REDUCE("__reduce_min_sync", m, v, a < b ? a : b)
#define __reduce_max_sync(m, v) EMULATION_REDUCE("__reduce_max_sync", m, v, a < b ? b : a)
#define __reduce_and_sync(m, v) EMULATION_REDUCE("__reduce_and_sync", m, v, a & b)
#define __reduce_or_sync(m, v) EMULATION_REDUCE("__reduce_or_sync", m, v, a | b)
#define __reduce_xor_sync(m, v) EMULATION_REDUCE("__reduce_xor_sync", m, v, a ^ b)

inline unsigned __activemask() { return 1u << emulation::lane(); }  // it need not hold any other
inline void __threadfence() {}
inline void __threadfence_block() {}

// Atomic operations of CUDA on each type that has them: T name(T* address, T operand) -> before.
#define EMULATION_ATOMIC(T, name, result)              \
    __forceinline__ T name(T* address, T operand) {    \
        T before;                                      \
        emulation::fetch(address, &before, sizeof(T)); \
        T after = (result);                            \
        emulation::store(address, &after, sizeof(T));  \
        return before;                                 \
    }
#define EMULATION_ATOMICS(T)                                            \
    EMULATION_ATOMIC(T, atomicMin, before < operand ? before : operand) \
    EMULATION_ATOMIC(T, atomicMax, before < operand ? operand : before) \
    EMULATION_ATOMIC(T, atomicAnd, before & operand)                    \
    EMULATION_ATOMIC(T, atomicOr, before | operand)                     \
    EMULATION_ATOMIC(T, atomicXor, before ^ operand)
#define EMULATION_COMPARED(T)                                       \
    __forceinline__ T atomicCAS(T* address, T compare, T operand) { \
        T before;                                                   \
        emulation::fetch(address, &before, sizeof(T));              \
        T after = before == compare ? operand : before;             \
        emulation::store(address, &after, sizeof(T));               \
        return before;                                              \
    }
EMULATION_ATOMICS(int)
EMULATION_ATOMICS(unsigned)
EMULATION_ATOMICS(long long)
EMULATION_ATOMICS(unsigned long long)
EMULATION_COMPARED(int)
EMULATION_COMPARED(unsigned)
EMULATION_COMPARED(unsigned short)
EMULATION_COMPARED(unsigned long long)
EMULATION_ATOMIC(int, atomicAdd, int(unsigned(before) + unsigned(operand)))
EMULATION_ATOMIC(unsigned, atomicAdd, before + operand)
EMULATION_ATOMIC(unsigned long long, atomicAdd, before + operand)
EMULATION_ATOMIC(float, atomicAdd, before + operand)
EMULATION_ATOMIC(double, atomicAdd, before + operand)
EMULATION_ATOMIC(int, atomicSub, int(unsigned(before) - unsigned(operand)))
EMULATION_ATOMIC(unsigned, atomicSub, before - operand)
EMULATION_ATOMIC(int, atomicExch, operand)
EMULATION_ATOMIC(unsigned, atomicExch, operand)
EMULATION_ATOMIC(unsigned long long, atomicExch, operand)
EMULATION_ATOMIC(float, atomicExch, operand)

// Arithmetic that is rounded step by step: nothing here is ever contracted.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1 / a; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return ::fma(a, b, c); }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float a) { return a > 0 ? (a < 1 ? a : 1) : 0; }
inline float rsqrtf(float a) { return 1 / sqrtf(a); }
inline double rsqrt(double a) { return 1 / sqrt(a); }

// Conversions to integers: a value out of range goes to the nearest end, NaN to 0 or, for 64 bits,
// to the lowest. A cast of such a value is a fault: C++ does not say what it gives.
namespace emulation {
template <class To, class From>
EMULATION_UNCHECKED inline To saturated(From x) {
    constexpr bool wide = sizeof(To) == 8;
    constexpr To low = std::is_signed_v<To> ? To(uint64_t(1) << (8 * sizeof(To) - 1)) : To(0);
    constexpr To high = std::is_signed_v<To> ? To(~low) : To(~To(0));
    if (x != x) return wide ? To(uint64_t(1) << 63) : To(0);
    if (x <= From(low)) return low;
    return x >= From(high) ? high : To(x);
}
}  // namespace emulation
#define EMULATION_CONVERSIONS(To, From, from, to)                                          \
    inline To __##from##2##to##_rn(From x) { return emulation::saturated<To>(rint(x)); }  \
    inline To __##from##2##to##_rz(From x) { return emulation::saturated<To>(trunc(x)); } \
    inline To __##from##2##to##_rd(From x) { return emulation::saturated<To>(floor(x)); } \
    inline To __##from##2##to##_ru(From x) { return emulation::saturated<To>(ceil(x)); }
EMULATION_CONVERSIONS(int, float, float, int)
EMULATION_CONVERSIONS(unsigned, float, float, uint)
EMULATION_CONVERSIONS(long long, float, float, ll)
EMULATION_CONVERSIONS(unsigned long long, float, float, ull)
EMULATION_CONVERSIONS(int, double, double, int)
EMULATION_CONVERSIONS(unsigned, double, double, uint)
EMULATION_CONVERSIONS(long long, double, double, ll)
EMULATION_CONVERSIONS(unsigned long long, double, double, ull)

inline float __int_as_float(int x) { return emulation::value<float>(emulation::bits(x)); }
inline float __uint_as_float(unsigned x) { return emulation::value<float>(x); }
inline int __float_as_int(float x) { return int(emulation::bits(x)); }
inline unsigned __float_as_uint(float x) { return unsigned(emulation::bits(x)); }
inline double __longlong_as_double(long long x) { return emulation::value<double>(x); }
inline long long __double_as_longlong(double x) { return (long long)emulation::bits(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }

template <class T>
T __ldg(const T* address) {
    return *address;
}

// As CUDA has them: of a number and NaN, the number; of signed and unsigned, unsigned.
using EMULATION_ULONG = unsigned long;
using EMULATION_LLONG = long long;
using EMULATION_ULLONG = unsigned long long;
#define EMULATION_LEAST(T, A, B)                                 \
    inline T min(A a, B b) { return T(a) < T(b) ? T(a) : T(b); } \
    inline T max(A a, B b) { return T(a) < T(b) ? T(b) : T(a); }
#define EMULATION_LEASTS(T, U) \
    EMULATION_LEAST(T, T, T)   \
    EMULATION_LEAST(U, U, U)   \
    EMULATION_LEAST(U, T, U)   \
    EMULATION_LEAST(U, U, T)
EMULATION_LEASTS(int, unsigned)
EMULATION_LEASTS(long, EMULATION_ULONG)
EMULATION_LEASTS(EMULATION_LLONG, EMULATION_ULLONG)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

#define __noinline__ __attribute__((noinline))  // last: headers have an attribute of that name
