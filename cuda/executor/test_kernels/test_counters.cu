// Accesses whose cost is known.
#include "test_args.h"

// One load and one store of 32 neighbours: 4 sectors each.
KERNEL(test_count_coalesced, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    args.output[i] = args.input[i];
}
EXPORT_KERNEL(test_count_coalesced, TestArgs);

// Loads every eighth number: a sector for each lane.
KERNEL(test_count_strided, TestArgs) { args.output[threadIdx.x] = args.input[8 * threadIdx.x]; }
EXPORT_KERNEL(test_count_strided, TestArgs);

// 32 neighbours that begin in the middle of a sector: 5 sectors.
KERNEL(test_count_shifted, TestArgs) { args.output[threadIdx.x] = args.input[threadIdx.x + 4]; }
EXPORT_KERNEL(test_count_shifted, TestArgs);

// All lanes load one number: a sector.
KERNEL(test_count_broadcast, TestArgs) { args.output[threadIdx.x] = args.input[3]; }
EXPORT_KERNEL(test_count_broadcast, TestArgs);

// 16 bytes a lane: 16 sectors.
KERNEL(test_count_vectors, TestArgs) {
    const float4 value = reinterpret_cast<const float4*>(args.input)[threadIdx.x];
    reinterpret_cast<float4*>(args.output)[threadIdx.x] = value;
}
EXPORT_KERNEL(test_count_vectors, TestArgs);

// A loop of four loads, and only the first 8 lanes of a warp: 1 sector each.
KERNEL(test_count_some_lanes, TestArgs) {
    float sum = 0.0f;
    if (threadIdx.x % 32 < 8) {
        for (unsigned row = 0; row < args.count / 32; row++) {
            sum += args.input[32 * row + threadIdx.x % 32];
        }
    }
    args.output[threadIdx.x] = sum;
}
EXPORT_KERNEL(test_count_some_lanes, TestArgs);

// A transposition of 32 x 32 numbers in shared memory, one warp: 32 rows are written, 32 columns read. Each
// row has `pitch` numbers; without the padding a column is in one bank.
template <unsigned pitch>
__device__ void transpose(const TestArgs& args) {
    SHARED_ARRAY(float, tile, 32 * pitch);
    const unsigned lane = threadIdx.x;
    for (unsigned row = 0; row < 32; row++) tile[row * pitch + lane] = args.input[row * 32 + lane];
    __syncthreads();
    for (unsigned row = 0; row < 32; row++) args.output[row * 32 + lane] = tile[lane * pitch + row];
}
KERNEL(test_count_column, TestArgs) { transpose<32>(args); }
EXPORT_KERNEL(test_count_column, TestArgs);
KERNEL(test_count_padded_column, TestArgs) { transpose<33>(args); }
EXPORT_KERNEL(test_count_padded_column, TestArgs);

// All lanes read one word of shared memory, then two words of one bank.
KERNEL(test_count_shared_broadcast, TestArgs) {
    SHARED_ARRAY(float, values, 64);
    const unsigned lane = threadIdx.x;
    values[lane] = args.input[lane];
    values[lane + 32] = args.input[lane];
    __syncthreads();
    args.output[lane] = values[5] + values[lane % 2 * 32];
}
EXPORT_KERNEL(test_count_shared_broadcast, TestArgs);

// 16 bytes a lane in shared memory, in four turns of 8 lanes; the reads are 32 bytes apart, so lanes i
// and i + 4 meet in a bank.
KERNEL(test_count_shared_vectors, TestArgs) {
    SHARED_ARRAY(float, values, 256);
    const unsigned lane = threadIdx.x;
    float4* vectors = reinterpret_cast<float4*>(values);
    const float4 value = reinterpret_cast<const float4*>(args.input)[lane];
    vectors[lane] = value;
    vectors[lane + 32] = value;
    __syncthreads();
    const float4 read = vectors[2 * lane];
    args.output[lane] = read.x;
}
EXPORT_KERNEL(test_count_shared_vectors, TestArgs);

// As many barriers as `count`, and an atomic operation per thread.
KERNEL(test_count_barriers, TestArgs) {
    for (uint64_t i = 0; i < args.count; i++) __syncthreads();
    if (threadIdx.x == 0 && blockIdx.x == 0) args.output[0] = 0.0f;
    atomicMax(reinterpret_cast<int*>(const_cast<float*>(args.input)), 1);
}
EXPORT_KERNEL(test_count_barriers, TestArgs);
