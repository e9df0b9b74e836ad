// Asynchronous copies: each kernel that is wrong has a right twin.
#include "test_args.h"

// 32 threads copy 128 numbers to shared memory in two groups, and read what others copied.
KERNEL(test_async_right, TestArgs) {
    SHARED_ARRAY(float, first, 128);
    SHARED_ARRAY(float, second, 128);
    const unsigned i = threadIdx.x;
    executor::cp_async_16(first + 4 * i, args.input + 4 * i);
    executor::cp_async_commit();
    executor::cp_async_16(second + 4 * i, args.input + 128 + 4 * i);
    executor::cp_async_commit();
    executor::cp_async_wait<1>();
    __syncthreads();
    float sum = first[127 - i];
    executor::cp_async_wait<0>();
    __syncthreads();
    sum += second[127 - i];
    args.output[i] = sum;
}
EXPORT_KERNEL(test_async_right, TestArgs);

// Reads without a wait.
KERNEL(test_async_no_wait, TestArgs) {
    SHARED_ARRAY(float, values, 128);
    const unsigned i = threadIdx.x;
    executor::cp_async_16(values + 4 * i, args.input + 4 * i);
    executor::cp_async_commit();
    __syncthreads();
    args.output[i] = values[4 * i];
}
EXPORT_KERNEL(test_async_no_wait, TestArgs);

// Waits for all groups but the last, and reads the last.
KERNEL(test_async_wait_for_too_few, TestArgs) {
    SHARED_ARRAY(float, values, 256);
    const unsigned i = threadIdx.x;
    for (unsigned group = 0; group < 2; group++) {
        executor::cp_async_16(values + 128 * group + 4 * i, args.input + 128 * group + 4 * i);
        executor::cp_async_commit();
    }
    executor::cp_async_wait<1>();
    __syncthreads();
    args.output[i] = values[4 * i] + values[128 + 4 * i];
}
EXPORT_KERNEL(test_async_wait_for_too_few, TestArgs);

// Waits, but reads what another thread copied without a barrier after its wait.
KERNEL(test_async_no_barrier, TestArgs) {
    SHARED_ARRAY(float, values, 128);
    const unsigned i = threadIdx.x;
    executor::cp_async_16(values + 4 * i, args.input + 4 * i);
    executor::cp_async_commit();
    executor::cp_async_wait<0>();
    args.output[i] = values[(4 * i + 4) % 128];
}
EXPORT_KERNEL(test_async_no_barrier, TestArgs);

// Issues a copy over what other threads may still be reading.
KERNEL(test_async_over_readers, TestArgs) {
    SHARED_ARRAY(float, values, 128);
    const unsigned i = threadIdx.x;
    reinterpret_cast<float4*>(values)[i] = reinterpret_cast<const float4*>(args.input)[i];
    __syncthreads();
    const float read = i < 16 ? values[4 * i + 64] : 0.0f;
    executor::cp_async_16(values + 4 * i, args.input + 128 + 4 * i);
    executor::cp_async_wait_all();
    __syncthreads();
    args.output[i] = read + values[4 * i];
}
EXPORT_KERNEL(test_async_over_readers, TestArgs);

// Copies 12 of 16 bytes at the end of the input: the rest becomes zeros, and nothing past the end is read.
KERNEL(test_async_zero_fill, TestArgs) {
    SHARED_ARRAY(float, values, 4);
    if (threadIdx.x == 0) {
        executor::cp_async_16(values, args.input + args.count - 3, 12);
        executor::cp_async_wait_all();
    }
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x];
}
EXPORT_KERNEL(test_async_zero_fill, TestArgs);

// The same with all 16 bytes.
KERNEL(test_async_past_end, TestArgs) {
    SHARED_ARRAY(float, values, 4);
    if (threadIdx.x == 0) {
        executor::cp_async_16(values, args.input + args.count - 3);
        executor::cp_async_wait_all();
    }
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x];
}
EXPORT_KERNEL(test_async_past_end, TestArgs);

KERNEL(test_async_misaligned, TestArgs) {
    SHARED_ARRAY(float, values, 8);
    executor::cp_async_16(values + 1, args.input);
    executor::cp_async_wait_all();
    args.output[0] = values[1];
}
EXPORT_KERNEL(test_async_misaligned, TestArgs);
