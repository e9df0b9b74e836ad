// Reads of memory that nothing has written: each kernel that is wrong has a right twin.
#include "test_args.h"

KERNEL(test_unwritten_right, TestArgs) {
    SHARED_ARRAY(float, values, 32);
    values[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x ^ 1];
}
EXPORT_KERNEL(test_unwritten_right, TestArgs);

// Thread 0 writes nothing.
KERNEL(test_unwritten_shared, TestArgs) {
    SHARED_ARRAY(float, values, 32);
    if (threadIdx.x != 0) values[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x ^ 1];
}
EXPORT_KERNEL(test_unwritten_shared, TestArgs);

// What the block before has left in shared memory is no value.
KERNEL(test_unwritten_since_last_block, TestArgs) {
    SHARED_ARRAY(float, values, 32);
    if (blockIdx.x == 0) values[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[blockIdx.x * blockDim.x + threadIdx.x] = values[threadIdx.x];
}
EXPORT_KERNEL(test_unwritten_since_last_block, TestArgs);

// Adds to an output that holds nothing yet.
KERNEL(test_unwritten_global, TestArgs) { args.output[threadIdx.x] += args.input[threadIdx.x]; }
EXPORT_KERNEL(test_unwritten_global, TestArgs);

// Leaves out the last output, which the host then reads.
KERNEL(test_unwritten_output, TestArgs) {
    if (threadIdx.x + 1 < args.count) args.output[threadIdx.x] = args.input[threadIdx.x];
}
EXPORT_KERNEL(test_unwritten_output, TestArgs);
