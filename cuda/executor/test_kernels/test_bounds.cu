// Accesses outside an array, and misaligned ones: each kernel that is wrong has a right twin.
#include "test_args.h"

KERNEL(test_global_right, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.output[i] = args.input[i];
}
EXPORT_KERNEL(test_global_right, TestArgs);

// One element too many.
KERNEL(test_global_read_past_end, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.output[i] = args.input[i + 1];
}
EXPORT_KERNEL(test_global_read_past_end, TestArgs);

KERNEL(test_global_write_past_end, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= args.count) args.output[i] = 1.0f;
}
EXPORT_KERNEL(test_global_write_past_end, TestArgs);

KERNEL(test_global_before_begin, TestArgs) { args.output[threadIdx.x] = args.input[int(threadIdx.x) - 1]; }
EXPORT_KERNEL(test_global_before_begin, TestArgs);

KERNEL(test_null_pointer, TestArgs) {
    const float* nothing = args.count == 0 ? args.input : nullptr;
    args.output[threadIdx.x] = nothing[threadIdx.x];
}
EXPORT_KERNEL(test_null_pointer, TestArgs);

KERNEL(test_dynamic_shared_right, TestArgs) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x ^ 1];
}
EXPORT_KERNEL(test_dynamic_shared_right, TestArgs);

KERNEL(test_dynamic_shared_past_end, TestArgs) {
    DYNAMIC_SHARED(float, values);
    values[threadIdx.x + 1] = args.input[threadIdx.x];
    __syncthreads();
    args.output[threadIdx.x] = values[threadIdx.x + 1];
}
EXPORT_KERNEL(test_dynamic_shared_past_end, TestArgs);

// Past the end of one shared array, where a GPU would have the other.
KERNEL(test_static_shared_past_end, TestArgs) {
    SHARED_ARRAY(float, first, 32);
    SHARED_ARRAY(float, second, 32);
    first[threadIdx.x] = 1.0f;
    second[threadIdx.x] = 2.0f;
    __syncthreads();
    args.output[threadIdx.x] = first[threadIdx.x + args.count] + second[threadIdx.x];
}
EXPORT_KERNEL(test_static_shared_past_end, TestArgs);

// Four numbers at a time.
KERNEL(test_vector_right, TestArgs) {
    const float4 value = reinterpret_cast<const float4*>(args.input)[threadIdx.x];
    reinterpret_cast<float4*>(args.output)[threadIdx.x] = make_float4(value.w, value.z, value.y, value.x);
}
EXPORT_KERNEL(test_vector_right, TestArgs);

KERNEL(test_vector_misaligned_read, TestArgs) {
    const float4 value = *reinterpret_cast<const float4*>(args.input + 1 + 4 * threadIdx.x);
    args.output[threadIdx.x] = value.x + value.w;
}
EXPORT_KERNEL(test_vector_misaligned_read, TestArgs);

KERNEL(test_vector_misaligned_write, TestArgs) {
    const float2 value = make_float2(1.0f, 2.0f);
    *reinterpret_cast<float2*>(args.output + 1 + 2 * threadIdx.x) = value;
}
EXPORT_KERNEL(test_vector_misaligned_write, TestArgs);

// A vector whose last element is outside.
KERNEL(test_vector_past_end, TestArgs) {
    const float4 value = reinterpret_cast<const float4*>(args.input)[threadIdx.x];
    args.output[threadIdx.x] = value.x;
}
EXPORT_KERNEL(test_vector_past_end, TestArgs);
