// The calls that -fsanitize=thread puts before each access of memory, and the accesses of whole vectors.
//
// Kernels are compiled with that option and never linked with the library that it is for: these functions
// stand in for it. They are hidden, so a shared library of this code does not export them.
#include <cstring>

#include "shadow.h"

using executor::Access;
using executor::observe_access;

#define HOOK extern "C" __attribute__((visibility("hidden"), used))
#define OBSERVE(access, bytes) \
    observe_access(reinterpret_cast<uintptr_t>(address), bytes, Access::access, __builtin_return_address(0))

#define HOOKS_OF_SIZE(bytes)                                                          \
    HOOK void __tsan_read##bytes(void* address) { OBSERVE(read, bytes); }             \
    HOOK void __tsan_write##bytes(void* address) { OBSERVE(write, bytes); }           \
    HOOK void __tsan_unaligned_read##bytes(void* address) { OBSERVE(read, bytes); }   \
    HOOK void __tsan_unaligned_write##bytes(void* address) { OBSERVE(write, bytes); } \
    HOOK void __tsan_volatile_read##bytes(void* address) { OBSERVE(read, bytes); }    \
    HOOK void __tsan_volatile_write##bytes(void* address) { OBSERVE(write, bytes); }

HOOKS_OF_SIZE(1)
HOOKS_OF_SIZE(2)
HOOKS_OF_SIZE(4)
HOOKS_OF_SIZE(8)
HOOKS_OF_SIZE(16)

HOOK void __tsan_init() {}
HOOK void __tsan_func_entry(void*) {}
HOOK void __tsan_func_exit() {}

// The copy of a struct: as many accesses of up to 8 bytes as a GPU would make.
static void observe_range(void* address, size_t bytes, Access access, const void* pc) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(address);
    for (size_t done = 0; done < bytes;) {
        size_t piece = 8;
        while (piece > bytes - done || (begin + done) % piece != 0) {
            piece /= 2;
        }
        observe_access(begin + done, static_cast<unsigned>(piece), access,
                       static_cast<const char*>(pc) + done);
        done += piece;
    }
}

HOOK void __tsan_read_range(void* address, size_t bytes) {
    observe_range(address, bytes, Access::read, __builtin_return_address(0));
}
HOOK void __tsan_write_range(void* address, size_t bytes) {
    observe_range(address, bytes, Access::write, __builtin_return_address(0));
}
HOOK void* __tsan_memcpy(void* target, const void* source, size_t bytes) {
    __tsan_read_range(const_cast<void*>(source), bytes);
    __tsan_write_range(target, bytes);
    return std::memcpy(target, source, bytes);
}
HOOK void* __tsan_memset(void* target, int value, size_t bytes) {
    __tsan_write_range(target, bytes);
    return std::memset(target, value, bytes);
}

namespace executor {

namespace {

template <class T>
T read_bits(const void* address) {
    T bits;
    std::memcpy(&bits, address, sizeof bits);
    return bits;
}

}  // namespace

void note_atomic(void* address, unsigned bytes) { OBSERVE(atomic, bytes); }

uint64_t load_atomic(const void* address, unsigned bytes) {
    uint64_t bits = 0;
    std::memcpy(&bits, address, bytes);
    return bits;
}
void store_atomic(void* address, uint64_t bits, unsigned bytes) { std::memcpy(address, &bits, bytes); }

uint32_t load_vector4(const void* address) {
    OBSERVE(read, 4);
    return read_bits<uint32_t>(address);
}
uint64_t load_vector8(const void* address) {
    OBSERVE(read, 8);
    return read_bits<uint64_t>(address);
}
Register16 load_vector16(const void* address) {
    OBSERVE(read, 16);
    return read_bits<Register16>(address);
}
void store_vector4(void* address, uint32_t bits) {
    OBSERVE(write, 4);
    std::memcpy(address, &bits, sizeof bits);
}
void store_vector8(void* address, uint64_t bits) {
    OBSERVE(write, 8);
    std::memcpy(address, &bits, sizeof bits);
}
void store_vector16(void* address, Register16 bits) {
    OBSERVE(write, 16);
    std::memcpy(address, &bits, sizeof bits);
}

}  // namespace executor
