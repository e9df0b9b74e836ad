// RMSNorm with the residual add fused.
//
//   r = input + residual; residual = r
//   s[j] = 2^-100 + sum of r[i]^2 over i with i mod 16 = j, ascending, one fma each, for j in 0..16
//   scale = 1 / sqrt((tree(s) - 16 * 2^-100) / channels + eps); output = (r * scale) * weight
//
// What the kernel does differently, and why the bits stay the same:
// 1. A block has one row. All threads load it, four channels at a time, and keep r in shared memory.
// 2. Sixteen threads make the sixteen sums from there. Many blocks per multiprocessor hide the latency of their chains.
// 3. The row is read once from global memory, unless it is longer than the tile: then r is read again.
//
// Occupancy: 128 threads and 4 bytes of shared memory per channel: at least 8 blocks per multiprocessor.
#include "math.cuh"

#define NORM_THREADS 128

// r of four channels from `i` on, the residual stream updated. Channels from `count` on are zeros.
DEVICE float4 norm_input(const NormArgs& args, int64_t row, int64_t i, int64_t count, bool vector) {
    const int64_t at = row * args.input_stride + i;
    float* const residual = args.residual == nullptr ? nullptr : args.residual + row * args.residual_stride + i;
    if (vector) {
        float4 r = load_four(args.input, at, args.input_type);
        if (residual != nullptr) {
            const float4 old = *reinterpret_cast<const float4*>(residual);
            r = make_float4(__fadd_rn(r.x, old.x), __fadd_rn(r.y, old.y), __fadd_rn(r.z, old.z), __fadd_rn(r.w, old.w));
            *reinterpret_cast<float4*>(residual) = r;
        }
        return r;
    }
    float r[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int k = 0; k < 4; k++) {
        if (i + k < count) {
            r[k] = load_element(args.input, at + k, args.input_type);
            if (residual != nullptr) residual[k] = r[k] = __fadd_rn(r[k], residual[k]);
        }
    }
    return make_float4(r[0], r[1], r[2], r[3]);
}

// r again, for rows that are longer than the tile.
DEVICE float norm_again(const NormArgs& args, int64_t row, int64_t i) {
    if (args.residual != nullptr) return args.residual[row * args.residual_stride + i];
    return load_element(args.input, row * args.input_stride + i, args.input_type);
}

KERNEL_BOUNDS(mk_rms_norm, NormArgs, NORM_THREADS, 8) {
    DYNAMIC_SHARED(float, row_r); // [tile]
    SHARED_ARRAY(float, shared_scale, 1);
    const int64_t row = blockIdx.x, channels = args.channels;
    const int thread = static_cast<int>(threadIdx.x);
    const int64_t tile = args.tile;
    const int64_t output_at = row * args.output_stride;
    const bool vector = channels % 4 == 0 && four_aligned(args.input, row * args.input_stride, args.input_type) &&
                        (args.residual == nullptr || four_aligned(args.residual, row * args.residual_stride, MK_F32)) &&
                        four_aligned(args.weight, 0, MK_F32) && four_aligned(args.output, output_at, args.output_type);

    float sum = MK_FIRST; // a thread's own of sixteen
    for (int64_t start = 0; start < channels; start += tile) {
        const int count = static_cast<int>(channels - start < tile ? channels - start : tile);
        if (start != 0) __syncthreads(); // the sums of the tile before are made
        for (int i = thread * 4; i < count; i += NORM_THREADS * 4) {
            const float4 r = norm_input(args, row, start + i, channels, vector);
            *reinterpret_cast<float4*>(row_r + i) = r; // the tile is a multiple of 16 channels
        }
        __syncthreads();
        if (thread < 16) {
#pragma unroll 8
            for (int i = thread; i < count; i += 16) sum = __fmaf_rn(row_r[i], row_r[i], sum);
        }
    }
    if (thread < 32) {
#pragma unroll
        for (int width = 8; width > 0; width >>= 1) sum = __fadd_rn(sum, __shfl_down_sync(0xffffffffu, sum, width));
        if (thread == 0) {
            const float mean = __fdiv_rn(__fadd_rn(sum, -16.0f * MK_FIRST), static_cast<float>(channels));
            shared_scale[0] = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, args.eps)));
        }
    }
    __syncthreads();

    const float scale = shared_scale[0];
    const bool kept = channels <= tile;
    for (int64_t i = thread * 4; i < channels; i += NORM_THREADS * 4) {
        float4 r4 = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (kept) r4 = *reinterpret_cast<const float4*>(row_r + i);
        float r[4] = {r4.x, r4.y, r4.z, r4.w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (!kept && i + k < channels) r[k] = norm_again(args, row, i + k);
            r[k] = __fmul_rn(r[k], scale);
        }
        if (vector) {
            if (args.weight != nullptr) {
                const float4 weight = *reinterpret_cast<const float4*>(args.weight + i);
                r[0] = __fmul_rn(r[0], weight.x);
                r[1] = __fmul_rn(r[1], weight.y);
                r[2] = __fmul_rn(r[2], weight.z);
                r[3] = __fmul_rn(r[3], weight.w);
            }
            store_four(args.output, output_at + i, args.output_type, make_float4(r[0], r[1], r[2], r[3]));
        } else {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (i + k < channels) {
                    if (args.weight != nullptr) r[k] = __fmul_rn(r[k], args.weight[i + k]);
                    store_element(args.output, output_at + i + k, args.output_type, r[k]);
                }
            }
        }
    }
}
EXPORT_KERNEL(mk_rms_norm, NormArgs);
