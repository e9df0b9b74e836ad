// Arithmetic intrinsics, bit casts, and conversions of 16-bit floating-point types.
//
// Built with -ffp-contract=off, so a multiplication and an addition are two roundings unless the source
// says fma.
#pragma once

namespace {

inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float a) { return 1.0f / __builtin_sqrtf(a); }
inline float __expf(float a) { return __builtin_exp2f(a * 1.4426950408889634f); }
inline float __logf(float a) { return __builtin_log2f(a) * 0.69314718055994531f; }
inline float __log2f(float a) { return __builtin_log2f(a); }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }

inline uint32_t __float_as_uint(float a) { return executor::bit_cast<uint32_t>(a); }
inline int32_t __float_as_int(float a) { return executor::bit_cast<int32_t>(a); }
inline float __uint_as_float(uint32_t a) { return executor::bit_cast<float>(a); }
inline float __int_as_float(int32_t a) { return executor::bit_cast<float>(a); }
inline int32_t __float2int_rn(float a) { return static_cast<int32_t>(__builtin_rintf(a)); }
inline int32_t __float2int_rz(float a) { return static_cast<int32_t>(a); }
inline float __int2float_rn(int32_t a) { return static_cast<float>(a); }
inline float __uint2float_rn(uint32_t a) { return static_cast<float>(a); }

inline int __popc(uint32_t a) { return __builtin_popcount(a); }
inline int __clz(int32_t a) { return a == 0 ? 32 : __builtin_clz(static_cast<uint32_t>(a)); }
inline int __ffs(int32_t a) { return __builtin_ffs(a); }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }

// min and max of two values, by value: std::min would be one function for both builds.
template <class T>
inline T min(T a, T b) {
    return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
    return a < b ? b : a;
}
inline float min(float a, float b) { return __builtin_fminf(a, b); }
inline float max(float a, float b) { return __builtin_fmaxf(a, b); }

// Loads and stores with a cache hint.
template <class T>
inline T __ldg(const T* address) {
    return *address;
}
template <class T>
inline T __ldcs(const T* address) {
    return *address;
}
template <class T>
inline T __ldcg(const T* address) {
    return *address;
}
template <class T>
inline void __stcs(T* address, T value) {
    *address = value;
}

}  // namespace

namespace executor {
namespace {

// Every f16 is an f32. A NaN keeps its payload.
inline float f16_to_f32(uint16_t half) {
    const uint32_t sign = uint32_t{half} >> 15 << 31;
    const uint32_t rest = half & 0x7fff;
    if (rest >= 0x7c00) {
        return bit_cast<float>(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    }
    if (rest >= 0x400) {
        return bit_cast<float>(sign | ((rest << 13) + (112u << 23)));
    }
    const float magnitude = static_cast<float>(rest) * 0x1p-24f;  // zero or subnormal: exact
    return bit_cast<float>(sign | bit_cast<uint32_t>(magnitude));
}

// To the nearest f16, ties to even; a NaN becomes the one that the GPU's conversion gives.
inline uint16_t f32_to_f16(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) {
        return 0x7fff;
    }
    if (rest >= 0x47800000) {  // 2^16 and more, infinity
        return static_cast<uint16_t>(sign | 0x7c00);
    }
    if (rest < 0x38800000) {  // below 2^-14: adding 0.5 rounds to a multiple of 2^-24
        const float shifted = bit_cast<float>(rest) + 0.5f;
        return static_cast<uint16_t>(sign | (bit_cast<uint32_t>(shifted) - 0x3f000000));
    }
    const uint32_t odd = rest >> 13 & 1;
    return static_cast<uint16_t>(sign | (rest - (112u << 23) + 0xfff + odd) >> 13);
}

inline float bf16_to_f32(uint16_t half) { return bit_cast<float>(uint32_t{half} << 16); }

// To the nearest bf16, ties to even; a NaN becomes the one that the GPU's conversion gives.
inline uint16_t f32_to_bf16(float value) {
    const uint32_t bits = bit_cast<uint32_t>(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return 0x7fff;
    }
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace
}  // namespace executor
