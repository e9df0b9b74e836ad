// What happens to the sums of a matrix product on their way to memory: bias, epilogue, the two outputs of in_proj.
#ifndef MAMBA_KERNELS_EPILOGUE_CUH
#define MAMBA_KERNELS_EPILOGUE_CUH

#include "math.cuh"

// One finished element of the product.
DEVICE void store_product(const LinearArgs& args, int64_t row, int64_t column, float sum) {
    if (args.bias != nullptr) sum = __fadd_rn(sum, args.bias[column]);
    void* output = args.output;
    int64_t at = row * args.output_stride + column;
    if (column >= args.split) {
        output = args.output_high;
        at = row * args.output_high_stride + column - args.split;
    }
    if (args.epilogue == MK_EPILOGUE_SOFTPLUS) sum = softplus(sum);
    if (args.epilogue == MK_EPILOGUE_RESIDUAL) sum = __fadd_rn(sum, load_element(output, at, args.output_type));
    store_element(output, at, args.output_type, sum);
}

// Where four sums from `column` on lie in shared memory: permuted by the row, so threads of up to four rows use all
// banks.
template <int WIDTH> DEVICE int sum_at(int row, int column) {
    return row * WIDTH + (column ^ (row % 2 * 16) ^ (row / 2 % 2 * 8));
}

// All threads of the block store ROWS rows of WIDTH sums from shared memory, four neighbouring columns each.
// Row r goes to token first_token + r.
template <int ROWS, int WIDTH, int THREADS>
DEVICE void store_tile(const LinearArgs& args, const float* sums, int64_t first_token, int64_t first_output) {
#pragma unroll 1
    for (int four_at = static_cast<int>(threadIdx.x); four_at < ROWS * WIDTH / 4; four_at += THREADS) {
        const int row = four_at / (WIDTH / 4), offset = four_at % (WIDTH / 4) * 4;
        const int64_t token = first_token + row, column = first_output + offset;
        if (token >= args.tokens || column >= args.out_features) continue;
        const float4 four = *reinterpret_cast<const float4*>(sums + sum_at<WIDTH>(row, offset));
        float sum[4] = {four.x, four.y, four.z, four.w};
        const bool low = column + 4 <= args.split;
        const bool high = column >= args.split && column + 4 <= args.out_features;
        void* const output = low ? args.output : args.output_high;
        const int64_t at =
            low ? token * args.output_stride + column : token * args.output_high_stride + column - args.split;
        if ((low || high) && four_aligned(output, at, args.output_type)) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (args.bias != nullptr) sum[i] = __fadd_rn(sum[i], args.bias[column + i]);
                if (args.epilogue == MK_EPILOGUE_SOFTPLUS) sum[i] = softplus(sum[i]);
            }
            float4 result = make_float4(sum[0], sum[1], sum[2], sum[3]);
            if (args.epilogue == MK_EPILOGUE_RESIDUAL) {
                const float4 old = load_four(output, at, args.output_type);
                result.x = __fadd_rn(result.x, old.x);
                result.y = __fadd_rn(result.y, old.y);
                result.z = __fadd_rn(result.z, old.z);
                result.w = __fadd_rn(result.w, old.w);
            }
            store_four(output, at, args.output_type, result);
        } else {
#pragma unroll 1
            for (int i = 0; i < 4 && column + i < args.out_features; i++) {
                store_product(args, token, column + i, sums[sum_at<WIDTH>(row, offset) + i]);
            }
        }
    }
}

#endif
