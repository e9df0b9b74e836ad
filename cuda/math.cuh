// The elementary functions of the exact mode: the operations and coefficients of src/cpu/math, one number at a time.
//
// All multiply-adds are written as __fmaf_rn, and the compiler is told not to make others (-fmad=false). If a NaN
// must stay one, the comparison is written out: fminf and fmaxf would drop it.
#ifndef MAMBA_KERNELS_MATH_CUH
#define MAMBA_KERNELS_MATH_CUH

#include "common.cuh"

#define MK_LOG2_E 1.44269502f       // log2 e, rounded: 0x3fb8aa3b
#define MK_MAGIC 12582912.0f        // 1.5 * 2^23: a sum with it has no fraction bits
#define MK_MAGIC_BITS 0x4b400000u   // its bits; the low nine are 0
#define MK_LOWEST (-3.40282347e+38f)
#define MK_EXP_LOWEST coefficient(0xc2aeac4fu) // -87.33654: e^x is subnormal below
#define MK_LINEAR 5.96046448e-08f   // 2^-24

DEVICE float coefficient(uint32_t bits) { return __uint_as_float(bits); }

// p * 2^n, rounded once, for p in [0.5, 2] and n in [-126, 128]. `shifted` is n + MK_MAGIC. The first product is exact.
DEVICE float scale(float p, float shifted) {
    const int32_t n = static_cast<int32_t>(__float_as_uint(shifted) - MK_MAGIC_BITS);
    const int32_t half = n >> 1;
    const float low = __uint_as_float(static_cast<uint32_t>(half + 127) << 23);
    const float high = __uint_as_float(static_cast<uint32_t>(n - half + 127) << 23);
    return __fmul_rn(__fmul_rn(p, low), high);
}

// e^x for x not above 0; 0 where the result would be subnormal.
DEVICE float exp_negative(float x) {
    const bool lost = x < MK_EXP_LOWEST;
    x = lost ? MK_EXP_LOWEST : x;
    const float shifted = __fadd_rn(__fmul_rn(x, MK_LOG2_E), MK_MAGIC);
    const float n = __fadd_rn(shifted, -MK_MAGIC);
    x = __fmaf_rn(-n, coefficient(0x3f317200u), x); // ln 2 in two parts
    x = __fmaf_rn(-n, coefficient(0x35bfbe8eu), x);
    float p = coefficient(0x3ab4a669u);
    p = __fmaf_rn(p, x, coefficient(0x3c091cc4u));
    p = __fmaf_rn(p, x, coefficient(0x3d2aad13u));
    p = __fmaf_rn(p, x, coefficient(0x3e2aaa49u));
    p = __fmaf_rn(p, x, coefficient(0x3efffffdu));
    p = __fmaf_rn(p, x, 1.0f);
    p = scale(__fmaf_rn(p, x, 1.0f), shifted);
    return lost ? 0.0f : p;
}

// 2^r for |r| <= 1/2.
DEVICE float exp2_fraction(float r) {
    float p = coefficient(0x3aadfeacu);
    p = __fmaf_rn(p, r, coefficient(0x3c1e757cu));
    p = __fmaf_rn(p, r, coefficient(0x3d635b4du));
    p = __fmaf_rn(p, r, coefficient(0x3e75fcddu));
    p = __fmaf_rn(p, r, coefficient(0x3f317215u));
    return __fmaf_rn(p, r, 1.0f);
}

// 2^x, or 2^-126 for less: never a subnormal number.
DEVICE float exp2_exact(float x) {
    x = x < -126.0f ? -126.0f : x;
    x = x > 128.0f ? 128.0f : x;
    const float shifted = __fadd_rn(x, MK_MAGIC);
    return scale(exp2_fraction(__fsub_rn(x, __fadd_rn(shifted, -MK_MAGIC))), shifted);
}

// 2^x for x in [-125, 126]: the same bits as exp2_exact in fewer instructions. The result is a normal number, so one
// addition to the exponent field scales; the low bits of `shifted` are n, and its upper ones are shifted out.
DEVICE float exp2_inside(float x) {
    const float shifted = __fadd_rn(x, MK_MAGIC);
    const float p = exp2_fraction(__fsub_rn(x, __fadd_rn(shifted, -MK_MAGIC)));
    return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

DEVICE float neg_abs(float x) { return __uint_as_float(__float_as_uint(x) | 0x80000000u); }

// ln(1 + e) for e in [0, 1], as 2 atanh(e / (2 + e)); e itself below 2^-24, to which it rounds.
DEVICE float log1p_exact(float e) {
    const float above = e < MK_LINEAR ? MK_LINEAR : e; // the cube of less would be subnormal
    const float s = __fdiv_rn(above, __fadd_rn(above, 2.0f));
    const float w = __fmul_rn(s, s);
    float p = coefficient(0x3df090b0u);
    p = __fmaf_rn(p, w, coefficient(0x3ddd9892u));
    p = __fmaf_rn(p, w, coefficient(0x3e126bb7u));
    p = __fmaf_rn(p, w, coefficient(0x3e4ccc33u));
    p = __fmaf_rn(p, w, coefficient(0x3eaaaaabu));
    const float twice = __fadd_rn(s, s);
    p = __fmaf_rn(__fmul_rn(twice, w), p, twice);
    return e < MK_LINEAR ? e : p;
}

// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
DEVICE float softplus(float x) {
    const float tail = log1p_exact(exp_negative(neg_abs(x)));
    return __fadd_rn(0.0f > x ? 0.0f : x, tail);
}

// x / (1 + e^-x); its limit -0 at negative infinity.
DEVICE float silu(float x) {
    x = x < MK_LOWEST ? MK_LOWEST : x;
    const float e = exp_negative(neg_abs(x));
    return __fmul_rn(x, __fdiv_rn(x < 0.0f ? e : 1.0f, __fadd_rn(e, 1.0f)));
}

#endif
