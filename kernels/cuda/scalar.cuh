// Numbers of half the width, and wide loads: what kernels over maps of any dtype share.
//
// half_t and bfloat_t are the bits of float16 and bfloat16. They are only stored: widen(x) is a
// float, in which sums are taken, and narrow<T>(x) rounds to the nearest T, ties to even.
#pragma once

struct half_t {
    unsigned short bits;
};

struct bfloat_t {
    unsigned short bits;
};

// N numbers that are loaded or stored as one, up to 16 bytes at an address aligned to their size.
template <class T, int N>
struct alignas(sizeof(T) * N) vec {
    T at[N];
};

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(bfloat_t x) {
    return __uint_as_float(unsigned(x.bits) << 16);
}

#ifdef __CUDACC__

__device__ __forceinline__ float widen(half_t x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
    return wide;
}

__device__ __forceinline__ half_t narrowed(float x, half_t) {
    half_t narrow;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(x));
    return narrow;
}

#else

// Bits of a half: sign, 5 of the exponent (bias 15), 10 of the fraction; a float's: 1, 8 (127), 23.
__device__ inline float widen(half_t x) {
    unsigned sign = unsigned(x.bits & 0x8000) << 16, rest = x.bits & 0x7fff;
    if (rest >= 0x7c00) return __uint_as_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    // Moved into a float's place, the exponent is 112 too low: for subnormal numbers as well.
    float magnitude = __uint_as_float(rest << 13) * 0x1p112f;
    return __uint_as_float(sign | __float_as_uint(magnitude));
}

__device__ inline half_t narrowed(float x, half_t) {
    unsigned sign = __float_as_uint(x) >> 16 & 0x8000, rest = __float_as_uint(x) & 0x7fffffff;
    unsigned bits;
    if (rest > 0x7f800000) {
        bits = 0x7e00;  // not a number
    } else if (rest >= 0x477ff000) {
        bits = 0x7c00;  // 65520 and more round to infinity
    } else if (rest < 0x38800000) {
        // Below 2^-14 the last bit is worth 2^-24, as a float's between 0.5 and 1 is.
        bits = __float_as_uint(__uint_as_float(rest) + 0.5f) - 0x3f000000;
    } else {
        bits = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
    }
    return {(unsigned short)(sign | bits)};
}

#endif

__device__ __forceinline__ bfloat_t narrowed(float x, bfloat_t) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return {(unsigned short)0x7fc0};
    return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

__device__ __forceinline__ float narrowed(float x, float) { return x; }
__device__ __forceinline__ double narrowed(double x, double) { return x; }

template <class T, class Wide>
__device__ __forceinline__ T narrow(Wide x) {
    return narrowed(x, T());
}

// A product that is never fused with the sum it is part of, where another rounding would matter.
__device__ __forceinline__ float times(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double times(double a, double b) { return __dmul_rn(a, b); }

// a / b for numbers from 0 on, b not 0: in 32 bits where that is enough, for a GPU divides 64 slowly.
__device__ __forceinline__ long long quotient(long long a, long long b) {
    return (a | b) >> 32 ? a / b : (long long)(unsigned(a) / unsigned(b));
}

__device__ __forceinline__ void atomic_add(float* address, float x) { atomicAdd(address, x); }
__device__ __forceinline__ void atomic_add(double* address, double x) { atomicAdd(address, x); }
