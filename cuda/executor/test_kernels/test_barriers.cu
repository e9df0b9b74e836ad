// Barriers and warp collectives: each kernel that is wrong has a right twin.
#include "test_args.h"

// The sum of 128 numbers in shared memory, which all threads then read.
KERNEL(test_barrier_right, TestArgs) {
    SHARED_ARRAY(float, values, 128);
    values[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = values[127 - threadIdx.x];
}
EXPORT_KERNEL(test_barrier_right, TestArgs);

// Half of the threads leave before the barrier.
KERNEL(test_barrier_after_exit, TestArgs) {
    if (threadIdx.x >= 64) return;
    __syncthreads();
    args.output[threadIdx.x] = args.input[threadIdx.x];
}
EXPORT_KERNEL(test_barrier_after_exit, TestArgs);

// The two halves of the block come to two barriers.
KERNEL(test_barrier_in_branches, TestArgs) {
    if (threadIdx.x < 64) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    args.output[threadIdx.x] = args.input[threadIdx.x];
}
EXPORT_KERNEL(test_barrier_in_branches, TestArgs);

// How many, whether any and whether all of the inputs are above zero.
KERNEL(test_barrier_counts, TestArgs) {
    const bool above = args.input[threadIdx.x] > 0.0f;
    const int count = __syncthreads_count(above);
    const int any = __syncthreads_or(above);
    const int all = __syncthreads_and(above);
    args.output[threadIdx.x] = static_cast<float>(count + 1000 * any + 2000 * all);
}
EXPORT_KERNEL(test_barrier_counts, TestArgs);
