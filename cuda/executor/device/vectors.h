// Vector types. Copying one whole is one access of the GPU, and of the checks and counters.
//
// A plain build has plain structs. In a checked build the compiler would be free to copy a struct member by
// member, each a small access of its own; copies there go through the functions load_vector* and
// store_vector*.
#pragma once

namespace executor {
namespace {

#ifdef MAMBA_EXECUTOR_CHECKED

template <unsigned bytes>
struct VectorAccess;

template <>
struct VectorAccess<4> {
    static uint32_t load(const void* address) { return load_vector4(address); }
    static void store(void* address, uint32_t bits) { store_vector4(address, bits); }
};
template <>
struct VectorAccess<8> {
    static uint64_t load(const void* address) { return load_vector8(address); }
    static void store(void* address, uint64_t bits) { store_vector8(address, bits); }
};
template <>
struct VectorAccess<16> {
    static Register16 load(const void* address) { return load_vector16(address); }
    static void store(void* address, Register16 bits) { store_vector16(address, bits); }
};

#define EXECUTOR_VECTOR_COPIES(Name)                                           \
    Name() = default;                                                          \
    inline __attribute__((always_inline)) Name(const Name& other) {            \
        const auto bits = executor::VectorAccess<sizeof(Name)>::load(&other);  \
        __builtin_memcpy(static_cast<void*>(this), &bits, sizeof(Name));       \
    }                                                                          \
    inline __attribute__((always_inline)) Name& operator=(const Name& other) { \
        const auto bits = executor::VectorAccess<sizeof(Name)>::load(&other);  \
        executor::VectorAccess<sizeof(Name)>::store(this, bits);               \
        return *this;                                                          \
    }

#else
#define EXECUTOR_VECTOR_COPIES(Name) Name() = default;
#endif

}  // namespace
}  // namespace executor

#define EXECUTOR_VECTOR2(Name, Element)            \
    struct alignas(2 * sizeof(Element)) Name {     \
        Element x, y;                              \
        Name(Element x, Element y) : x(x), y(y) {} \
        EXECUTOR_VECTOR_COPIES(Name)               \
    };                                             \
    inline Name make_##Name(Element x, Element y) { return Name(x, y); }

#define EXECUTOR_VECTOR4(Name, Element)                                              \
    struct alignas(4 * sizeof(Element)) Name {                                       \
        Element x, y, z, w;                                                          \
        Name(Element x, Element y, Element z, Element w) : x(x), y(y), z(z), w(w) {} \
        EXECUTOR_VECTOR_COPIES(Name)                                                 \
    };                                                                               \
    inline Name make_##Name(Element x, Element y, Element z, Element w) { return Name(x, y, z, w); }

namespace {

EXECUTOR_VECTOR4(uchar4, uint8_t)
EXECUTOR_VECTOR2(short2, int16_t)
EXECUTOR_VECTOR4(short4, int16_t)
EXECUTOR_VECTOR2(ushort2, uint16_t)
EXECUTOR_VECTOR4(ushort4, uint16_t)
EXECUTOR_VECTOR2(int2, int32_t)
EXECUTOR_VECTOR4(int4, int32_t)
EXECUTOR_VECTOR2(uint2, uint32_t)
EXECUTOR_VECTOR4(uint4, uint32_t)
EXECUTOR_VECTOR2(float2, float)
EXECUTOR_VECTOR4(float4, float)
EXECUTOR_VECTOR2(double2, double)

}  // namespace
