// Races on shared and global memory: each kernel that is wrong has a right twin.
#include "test_args.h"

// No barrier between writes and the reads by other threads; `test_barrier_right` has it. Here each thread
// finds the value of the one before it, which is no more than the order in which the executor runs them.
KERNEL(test_race_read_after_write, TestArgs) {
    SHARED_ARRAY(float, values, 128);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    args.output[i] = values[i == 0 ? 0 : i - 1];
}
EXPORT_KERNEL(test_race_read_after_write, TestArgs);

// Rotates the numbers by one, in place, twice.
KERNEL(test_rotate_right, TestArgs) {
    SHARED_ARRAY(float, values, 64);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    for (int turn = 0; turn < 2; turn++) {
        __syncthreads();
        const float value = values[(i + 1) % 64];
        __syncthreads();
        values[i] = value;
    }
    args.output[i] = values[i];
}
EXPORT_KERNEL(test_rotate_right, TestArgs);

// The second barrier is missing: a thread writes what its neighbour may not have read yet.
KERNEL(test_race_write_after_read, TestArgs) {
    SHARED_ARRAY(float, values, 64);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    __syncthreads();
    const float value = values[(i + 1) % 64];
    values[i] = value;
    args.output[i] = value;
}
EXPORT_KERNEL(test_race_write_after_read, TestArgs);

// All threads write one place.
KERNEL(test_race_write_after_write, TestArgs) {
    SHARED_ARRAY(float, value, 1);
    value[0] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = value[0];
}
EXPORT_KERNEL(test_race_write_after_write, TestArgs);

// Lanes of one warp hand numbers to each other, with __syncwarp in between.
KERNEL(test_warp_exchange_right, TestArgs) {
    SHARED_ARRAY(float, values, 64);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    __syncwarp();
    const float value = values[i ^ 1];
    __syncwarp();
    values[i] = value;
    __syncwarp();
    args.output[i] = values[i ^ 3];
}
EXPORT_KERNEL(test_warp_exchange_right, TestArgs);

// A shuffle orders no memory.
KERNEL(test_race_within_warp, TestArgs) {
    SHARED_ARRAY(float, values, 32);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    const float same = __shfl_sync(0xffffffff, args.input[i], i);
    args.output[i] = values[i ^ 1] + same;
}
EXPORT_KERNEL(test_race_within_warp, TestArgs);

// __syncwarp, but the number comes from another warp.
KERNEL(test_race_between_warps, TestArgs) {
    SHARED_ARRAY(float, values, 64);
    const unsigned i = threadIdx.x;
    values[i] = args.input[i];
    __syncwarp();
    args.output[i] = values[i % 32];
}
EXPORT_KERNEL(test_race_between_warps, TestArgs);

// Threads of one half of a word each, of 16 bits: no race.
KERNEL(test_neighbours_right, TestArgs) {
    SHARED_ARRAY(uint16_t, values, 64);
    const unsigned i = threadIdx.x;
    values[i] = static_cast<uint16_t>(args.input[i]);
    __syncthreads();
    args.output[i] = static_cast<float>(values[i ^ 1]);
}
EXPORT_KERNEL(test_neighbours_right, TestArgs);

// The sum of all inputs of the grid, by atomic operations on a word that the host set to zero.
KERNEL(test_grid_sum_right, TestArgs) {
    float* sum = const_cast<float*>(args.input) + args.count - 1;
    atomicAdd(sum, args.input[threadIdx.x]);
    if (blockIdx.x == 0) args.output[threadIdx.x] = 1.0f;
}
EXPORT_KERNEL(test_grid_sum_right, TestArgs);

// The same without: one block after another adds to a word that all read.
KERNEL(test_race_between_blocks, TestArgs) {
    if (threadIdx.x == 0) {
        float* sum = const_cast<float*>(args.input) + args.count - 1;
        *sum = *sum + 1.0f;
    }
}
EXPORT_KERNEL(test_race_between_blocks, TestArgs);

// A block writes what the block before it has read.
KERNEL(test_race_with_earlier_reader, TestArgs) {
    float* shifted = const_cast<float*>(args.input);
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const float next = shifted[(i + blockDim.x) % args.count];
    args.output[i] = next;
    if (blockIdx.x == 1) shifted[i] = 0.0f;
}
EXPORT_KERNEL(test_race_with_earlier_reader, TestArgs);
