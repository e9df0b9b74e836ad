// What compiled kernels and the runtime of the executor know of each other.
//
// Kernels are compiled twice, plain and checked, and both call the one runtime through these functions. They
// are ordinary functions, never inline: a definition in a header would be compiled with and without checks,
// and the linker would keep one of the two.
#pragma once
#include <cstddef>
#include <cstdint>

namespace executor {

struct Dim3 {
    unsigned x, y, z;
};

// The place of a collective operation in the source.
struct Location {
    const char* file;
    int line;
};

// One compiled kernel. `run` calls it with a copy of the argument struct at `args`.
struct Kernel {
    const char* name;
    size_t args_size;
    bool checked;
    void (*run)(const void* args);
    Kernel* next;
};

// Called once per kernel and build, by static constructors.
void register_kernel(Kernel* kernel);

// The built-in variables of the running thread. They do not change while a kernel runs.
__attribute__((const)) Dim3 thread_index();
__attribute__((const)) Dim3 block_index();
__attribute__((const)) Dim3 block_size();
__attribute__((const)) Dim3 grid_size();

enum class BlockOperation : uint8_t { sync, count };

// Waits for all threads of the block. `count` returns how many of them passed a value other than zero.
unsigned block_collective(BlockOperation operation, unsigned value, Location at);

enum class WarpOperation : uint8_t {
    sync,
    shuffle,
    shuffle_up,
    shuffle_down,
    shuffle_xor,
    ballot,
    mma,
    ldmatrix
};

// One lane's part of an operation of its warp.
struct WarpCall {
    WarpOperation operation;
    uint32_t mask;       // the lanes that take part
    uint64_t value;      // shuffle, ballot: this lane's value
    uint32_t parameter;  // shuffle: source lane, distance or pattern
    uint32_t width;      // shuffle: lanes of a segment
    void* data;          // mma: MmaOperands; ldmatrix: MatrixRows
    Location at;
};

// Waits for the lanes of the mask; returns this lane's result.
uint64_t warp_collective(const WarpCall& call);

enum class HalfType : uint8_t { f16, bf16 };

// d += a * b on m16n8k16; fragments as the PTX ISA lays them out over the warp.
struct MmaOperands {
    HalfType type;
    float* d;
    const uint32_t* a;
    const uint32_t* b;
};

// ldmatrix: `count` 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
struct MatrixRows {
    int count;
    bool transposed;
    const void* row;
    uint32_t* out;
};

// Shared memory: one array per place of declaration and block, or the array whose size the launch gives.
struct SharedSite {
    const char* name;
};
void* static_shared(const SharedSite* site, size_t bytes);
void* dynamic_shared();

// Asynchronous copies into shared memory. `source_bytes` of `bytes` are read, the rest is zeros.
void async_copy(void* shared, const void* global, unsigned bytes, unsigned source_bytes);
void async_commit();
void async_wait(unsigned groups_left);

// Tells the checks of an atomic operation at `address`, before it is done, and does its load and its store.
void note_atomic(void* address, unsigned bytes);
uint64_t load_atomic(const void* address, unsigned bytes);
void store_atomic(void* address, uint64_t bits, unsigned bytes);

// Checked accesses of whole vectors: what a GPU does with one instruction is one access here.
typedef uint32_t Register16 __attribute__((vector_size(16)));
uint32_t load_vector4(const void* address);
uint64_t load_vector8(const void* address);
Register16 load_vector16(const void* address);
void store_vector4(void* address, uint32_t bits);
void store_vector8(void* address, uint64_t bits);
void store_vector16(void* address, Register16 bits);

// `__trap()`.
[[noreturn]] void trap(Location at);

}  // namespace executor
