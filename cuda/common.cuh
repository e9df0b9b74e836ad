// What every kernel includes: how a kernel is declared, the storage types, loads and stores of one or four elements.
//
// nvcc or NVRTC compile these sources for a device, and a C++17 compiler for the executor, whose header then comes
// first and defines MAMBA_EXECUTOR, the CUDA keywords and the macros below. No CUDA header is included: f16
// and bf16 are their bits.
#ifndef MAMBA_KERNELS_COMMON_CUH
#define MAMBA_KERNELS_COMMON_CUH

#include "args.h"

#ifndef MAMBA_EXECUTOR
// A kernel: its symbol is the name, its one argument is called `args`. A statement EXPORT_KERNEL follows; the executor
// registers the kernel there.
#define KERNEL_BOUNDS(name, Args, threads, blocks)                                                                     \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const Args args)
#define EXPORT_KERNEL(name, Args) static_assert(sizeof(Args) % 8 == 0, "no padding at the end")
// `type name[count]` in shared memory.
#define SHARED_ARRAY(type, name, count) __shared__ __align__(16) type name[count]
// `type* name`: the dynamic shared memory of the launch, aligned to 16 bytes.
#define DYNAMIC_SHARED(type, name)                                                                                     \
    extern __shared__ __align__(16) unsigned char name##_bytes[];                                                      \
    type* const name = reinterpret_cast<type*>(name##_bytes)
#endif

#define DEVICE static __device__ __forceinline__

// f16 widens exactly.
DEVICE float f16_to_f32(uint16_t bits) {
#ifdef MAMBA_EXECUTOR
    return executor::f16_to_f32(bits);
#else
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#endif
}

// To nearest even.
DEVICE uint16_t f32_to_f16(float value) {
#ifdef MAMBA_EXECUTOR
    return executor::f32_to_f16(value);
#else
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#endif
}

// bf16 is the upper half of a f32.
DEVICE float bf16_to_f32(uint16_t bits) { return __uint_as_float(static_cast<uint32_t>(bits) << 16); }

// To nearest even.
DEVICE uint16_t f32_to_bf16(float value) {
#if !defined(MAMBA_EXECUTOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu; // a NaN stays one
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
#endif
}

// The storage types, for kernels that are compiled once per type.
struct F32 {
    using Bits = uint32_t;
    static __device__ __forceinline__ float widen(uint32_t bits) { return __uint_as_float(bits); }
    static __device__ __forceinline__ uint32_t narrow(float value) { return __float_as_uint(value); }
};
struct F16 {
    using Bits = uint16_t;
    static __device__ __forceinline__ float widen(uint32_t bits) { return f16_to_f32(static_cast<uint16_t>(bits)); }
    static __device__ __forceinline__ uint16_t narrow(float value) { return f32_to_f16(value); }
};
struct BF16 {
    using Bits = uint16_t;
    static __device__ __forceinline__ float widen(uint32_t bits) { return __uint_as_float(bits << 16); }
    static __device__ __forceinline__ uint16_t narrow(float value) { return f32_to_bf16(value); }
};

// Zero, of the same sign, for what is subnormal.
DEVICE float flush(float value) {
#ifdef MAMBA_EXECUTOR
    const uint32_t bits = __float_as_uint(value);
    return (bits & 0x7f800000u) == 0 ? __uint_as_float(bits & 0x80000000u) : value;
#else
    float flushed;
    asm("mul.rn.ftz.f32 %0, %1, 0f3F800000;" : "=f"(flushed) : "f"(value));
    return flushed;
#endif
}

// What a sum of products starts from, and what is subtracted from it at the end: 2^-100.
#define MK_FIRST 7.888609052210118e-31f

// The storage types as a value, the same for all threads of a launch.
DEVICE uint32_t element_bytes(uint32_t type) { return type == MK_F32 ? 4u : 2u; }

// The element at `index` as it is stored, in the low bits.
DEVICE uint32_t load_bits(const void* data, int64_t index, uint32_t type) {
    if (type == MK_F32) return static_cast<const uint32_t*>(data)[index];
    return static_cast<const uint16_t*>(data)[index];
}

DEVICE float widen(uint32_t bits, uint32_t type) {
    if (type == MK_F32) return __uint_as_float(bits);
    return type == MK_F16 ? f16_to_f32(static_cast<uint16_t>(bits)) : __uint_as_float(bits << 16);
}

DEVICE float load_element(const void* data, int64_t index, uint32_t type) {
    return widen(load_bits(data, index, type), type);
}

DEVICE uint16_t narrow_half(float value, uint32_t type) {
    return type == MK_F16 ? f32_to_f16(value) : f32_to_bf16(value);
}

DEVICE void store_element(void* data, int64_t index, uint32_t type, float value) {
    if (type == MK_F32) static_cast<float*>(data)[index] = value;
    else static_cast<uint16_t*>(data)[index] = narrow_half(value, type);
}

// Whether four elements from `index` on may be loaded or stored at once.
DEVICE bool four_aligned(const void* data, int64_t index, uint32_t type) {
    const uint64_t address = reinterpret_cast<uint64_t>(data) + static_cast<uint64_t>(index) * element_bytes(type);
    return address % (4u * element_bytes(type)) == 0;
}

// Four elements as they are stored: all of x, y, z, w, or x and y if they have two bytes each.
DEVICE uint4 load_four_bits(const void* data, int64_t index, uint32_t type) {
    if (type == MK_F32) return *reinterpret_cast<const uint4*>(static_cast<const uint32_t*>(data) + index);
    const uint2 pairs = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + index);
    return make_uint4(pairs.x, pairs.y, 0, 0);
}

DEVICE float4 widen_four(uint4 bits, uint32_t type) {
    if (type == MK_F32) {
        return make_float4(__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z),
                           __uint_as_float(bits.w));
    }
    return make_float4(widen(bits.x & 0xffffu, type), widen(bits.x >> 16, type), widen(bits.y & 0xffffu, type),
                       widen(bits.y >> 16, type));
}

DEVICE float4 load_four(const void* data, int64_t index, uint32_t type) {
    return widen_four(load_four_bits(data, index, type), type);
}

DEVICE uint32_t pair(uint16_t low, uint16_t high) {
    return static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16;
}

DEVICE void store_four(void* data, int64_t index, uint32_t type, float4 value) {
    if (type == MK_F32) {
        *reinterpret_cast<float4*>(static_cast<float*>(data) + index) = value;
        return;
    }
    const uint32_t low = pair(narrow_half(value.x, type), narrow_half(value.y, type));
    const uint32_t high = pair(narrow_half(value.z, type), narrow_half(value.w, type));
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(data) + index) = make_uint2(low, high);
}

#endif
