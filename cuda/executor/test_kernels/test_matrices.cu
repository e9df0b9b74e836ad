// Products of 16 x 16 and 16 x 8 matrices by one warp. The input is a, row by row, then b, row by row; both
// hold numbers that are exact in 16 bits. The output is the product, row by row.
#include "test_args.h"

__device__ uint32_t pack(bool bf16, float low, float high) {
    const uint32_t low_bits = bf16 ? executor::f32_to_bf16(low) : executor::f32_to_f16(low);
    const uint32_t high_bits = bf16 ? executor::f32_to_bf16(high) : executor::f32_to_f16(high);
    return low_bits | high_bits << 16;
}

__device__ void store_fragment(float* output, const float (&d)[4]) {
    const unsigned group = threadIdx.x / 4;
    const unsigned pair = threadIdx.x % 4 * 2;
    for (unsigned i = 0; i < 4; i++) output[(group + i / 2 * 8) * 8 + pair + i % 2] = d[i];
}

__device__ void multiply(bool bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    if (bf16) {
        executor::mma_m16n8k16_bf16(d, a, b);
    } else {
        executor::mma_m16n8k16_f16(d, a, b);
    }
}

// Fragments from the layout that the PTX ISA documents.
__device__ void product_of_fragments(bool bf16, const TestArgs& args) {
    const unsigned group = threadIdx.x / 4;
    const unsigned pair = threadIdx.x % 4 * 2;
    const float* in_a = args.input;
    const float* in_b = args.input + 16 * 16;
    uint32_t a[4];
    uint32_t b[2];
    for (unsigned i = 0; i < 4; i++) {
        const float* at = in_a + (group + i % 2 * 8) * 16 + pair + i / 2 * 8;
        a[i] = pack(bf16, at[0], at[1]);
    }
    for (unsigned i = 0; i < 2; i++) {
        const float* at = in_b + (pair + i * 8) * 8 + group;
        b[i] = pack(bf16, at[0], at[8]);
    }
    float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    multiply(bf16, d, a, b);
    store_fragment(args.output, d);
}
KERNEL(test_mma_f16, TestArgs) { product_of_fragments(false, args); }
EXPORT_KERNEL(test_mma_f16, TestArgs);
KERNEL(test_mma_bf16, TestArgs) { product_of_fragments(true, args); }
EXPORT_KERNEL(test_mma_bf16, TestArgs);

// Fragments by ldmatrix from shared memory. b is stored row by row, so it is loaded transposed.
KERNEL(test_ldmatrix, TestArgs) {
    SHARED_ARRAY(uint16_t, a_rows, 16 * 16);
    SHARED_ARRAY(uint16_t, b_rows, 16 * 8);
    const unsigned lane = threadIdx.x;
    for (unsigned i = lane; i < 16 * 16; i += 32) a_rows[i] = executor::f32_to_f16(args.input[i]);
    for (unsigned i = lane; i < 16 * 8; i += 32) b_rows[i] = executor::f32_to_f16(args.input[16 * 16 + i]);
    __syncthreads();
    uint32_t a[4];
    uint32_t b[2];
    executor::ldmatrix_x4(a, a_rows + lane % 16 * 16 + lane / 16 * 8);
    executor::ldmatrix_x2_trans(b, b_rows + lane % 16 * 8);
    float d[4] = {1.0f, 1.0f, 1.0f, 1.0f};
    executor::mma_m16n8k16_f16(d, a, b);
    store_fragment(args.output, d);
}
EXPORT_KERNEL(test_ldmatrix, TestArgs);

// Row 5 of the first matrix is 2 bytes off.
KERNEL(test_ldmatrix_misaligned, TestArgs) {
    SHARED_ARRAY(uint16_t, rows, 16 * 16);
    const unsigned lane = threadIdx.x;
    for (unsigned i = lane; i < 16 * 16; i += 32) rows[i] = 0;
    __syncthreads();
    uint32_t a[4];
    executor::ldmatrix_x4(a, rows + lane % 16 * 16 + lane / 16 * 8 - (lane == 5 ? 1 : 0));
    args.output[lane] = static_cast<float>(a[0]);
}
EXPORT_KERNEL(test_ldmatrix_misaligned, TestArgs);

// Half of the warp has left.
KERNEL(test_mma_half_warp, TestArgs) {
    if (threadIdx.x >= 16) return;
    const uint32_t a[4] = {};
    const uint32_t b[2] = {};
    float d[4] = {};
    executor::mma_m16n8k16_f16(d, a, b);
    args.output[threadIdx.x] = d[0];
}
EXPORT_KERNEL(test_mma_half_warp, TestArgs);

// Every f16 widened; inputs rounded to f16 and to bf16 and widened again.
KERNEL(test_widen_f16, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    args.output[i] = executor::f16_to_f32(static_cast<uint16_t>(i));
}
EXPORT_KERNEL(test_widen_f16, TestArgs);
KERNEL(test_round_f16, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.output[i] = executor::f16_to_f32(executor::f32_to_f16(args.input[i]));
}
EXPORT_KERNEL(test_round_f16, TestArgs);
KERNEL(test_round_bf16, TestArgs) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < args.count) args.output[i] = executor::bf16_to_f32(executor::f32_to_bf16(args.input[i]));
}
EXPORT_KERNEL(test_round_bf16, TestArgs);
