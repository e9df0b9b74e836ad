// The exact matrix product, for many tokens.
//
//   sum = 2^-100; for k ascending: sum = fma(input[t, k], weight[j, k], sum); sum - 2^-100; then bias and epilogue
//   subnormal inputs count as zero, as packed weights do
//
// What the kernel does differently, and why the bits stay the same:
// 1. A block makes a tile of TILE tokens by TILE outputs, a thread REG x REG of its sums in registers. Tiles decide
//    which sums are computed together, never the order within one: k is never split.
// 2. Inputs and weights pass through shared memory, sixteen k at a time, widened to f32 on the way: each is widened
//    once per block. Two buffers: while one is used, the next inputs and weights go through registers to the other.
// 3. Beyond the last k, inputs are +0.0 and weights are -0.0. Their product is -0.0; adding it changes no number
//    and no zero's sign, so the inner loop needs no end condition.
// 4. Rows beyond the last token or output are +0.0 times -0.0 too, and are not stored.
//
// Shared memory holds rows of sixteen floats, four segments of 16 bytes, those of row p permuted by (p / 2) mod 4:
// eight threads that store two rows, or load one segment of eight rows, use all 32 banks. Weight rows are placed so
// that a thread's sums are four neighbouring columns, which are stored at once.
//
// Occupancy: 256 threads. TILE 128: at most 128 registers, 32 KiB: 2 blocks per multiprocessor. TILE 64: at most 80
// registers, 16 KiB: 3 blocks.
#include "linear/epilogue.cuh"

#define LINEAR_THREADS 256
#define LINEAR_DEPTH 16 // k at a time

// Where a segment of row `place` begins.
DEVICE int tile_at(int place, int segment) { return place * LINEAR_DEPTH + ((segment ^ (place >> 1 & 3)) << 2); }

DEVICE int at_most(int64_t value, int most) { return value < most ? static_cast<int>(value) : most; }

// Four elements at `data`, as they are stored; `left` of them are in the matrix. Weight rows are padded: they are
// loaded whole.
DEVICE uint4 load_weights(const char* data, int left, uint32_t type) {
    if (left > 0) return load_four_bits(data, 0, type);
    const uint32_t fill = type == MK_F32 ? 0x80000000u : 0x80008000u; // -0.0
    return make_uint4(fill, fill, fill, fill);
}

DEVICE uint4 load_inputs(const char* data, int left, bool aligned, uint32_t type) {
    if (aligned && left >= 4) return load_four_bits(data, 0, type);
    uint32_t bits[4];
#pragma unroll
    for (int i = 0; i < 4; i++) bits[i] = i < left ? load_bits(data, i, type) : 0u; // +0.0
    if (type == MK_F32) return make_uint4(bits[0], bits[1], bits[2], bits[3]);
    return make_uint4(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16, 0, 0);
}

template <int TILE, int REG> DEVICE void linear_exact(const LinearArgs& args, float* shared) {
    constexpr int VECTORS = TILE * 4 / LINEAR_THREADS; // of 4 elements each, that a thread loads of one operand
    constexpr int OPERAND = TILE * LINEAR_DEPTH;     // floats of one operand in one buffer
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    // A warp is 4 rows by 8 columns of threads. Neighbouring lanes share a column, lanes two apart a row: the hardware
    // serves such pairs of a 16-byte load together.
    const int ty = warp / 2 * 4 + lane / 16 * 2 + lane % 2, tx = warp % 2 * 8 + lane / 2 % 8;
    const int64_t first_token = static_cast<int64_t>(blockIdx.x) * TILE;
    const int64_t first_output = static_cast<int64_t>(blockIdx.y) * TILE;
    const bool aligned = four_aligned(args.input, 0, args.input_type) && args.input_stride % 4 == 0;

    // This thread loads 4 elements of row `place` and, 64 rows further, of the other half of a large tile.
    // Place p of the weights holds output (p / 64) * 64 + (p mod 16) * 4 + (p / 16) mod 4.
    const int segment = thread % 4, place = thread / 4;
    const int64_t token = first_token + place, output = first_output + place % 16 * 4 + place / 16;
    const uint32_t input_bytes = element_bytes(args.input_type), weight_bytes = element_bytes(args.weight_type);
    const char* input = static_cast<const char*>(args.input) + (token * args.input_stride + segment * 4) * input_bytes;
    const char* weight =
        static_cast<const char*>(args.weight) + (output * args.weight_stride + segment * 4) * weight_bytes;
    int left = static_cast<int>(args.in_features) - segment * 4;
    const int tokens_left = at_most(args.tokens - token, TILE);
    const int outputs_left = at_most(args.out_features - output, TILE);

    // the elements that store_vector(.., i, ..) stores: first the inputs, then the weights
    const auto load_vector = [&](int i) {
        const int row = i % VECTORS * 64;
        if (i < VECTORS) {
            const char* const at = input + row * args.input_stride * input_bytes;
            return load_inputs(at, tokens_left > row ? left : 0, aligned, args.input_type);
        }
        const char* const at = weight + row * args.weight_stride * weight_bytes;
        return load_weights(at, outputs_left > row ? left : 0, args.weight_type);
    };
    const auto store_vector = [&](float* buffer, int i, uint4 bits) {
        const uint32_t type = i < VECTORS ? args.input_type : args.weight_type;
        float4 four = widen_four(bits, type);
        if (i < VECTORS) four = make_float4(flush(four.x), flush(four.y), flush(four.z), flush(four.w));
        *reinterpret_cast<float4*>(buffer + i * 64 * LINEAR_DEPTH + tile_at(place, segment)) = four;
    };
    const auto next_vectors = [&]() {
        input += LINEAR_DEPTH * input_bytes;
        weight += LINEAR_DEPTH * weight_bytes;
        left -= LINEAR_DEPTH;
    };
    float sums[REG][REG];
#pragma unroll
    for (int i = 0; i < REG; i++) {
#pragma unroll
        for (int j = 0; j < REG; j++) sums[i][j] = MK_FIRST;
    }
#pragma unroll 1
    for (int i = 0; i < 2 * VECTORS; i++) store_vector(shared, i, load_vector(i));
    next_vectors();
    int present = 0; // where the buffer in use begins
    for (int k = static_cast<int>(args.in_features); k > 0; k -= LINEAR_DEPTH) {
        // one barrier is enough: a thread that stores to a buffer has passed the barrier after the last loads from it
        __syncthreads();
        // four k at a time; each step also loads one vector of the next tile
#pragma unroll 1
        for (int step = 0; step < LINEAR_DEPTH / 4; step++) {
            const bool more = k > LINEAR_DEPTH && step < 2 * VECTORS;
            uint4 bits = make_uint4(0, 0, 0, 0);
            if (more) bits = load_vector(step);
            // rows 16 further on have the same permutation
            const float* const x_at = shared + present + tile_at(ty, step);
            const float* const w_at = shared + present + OPERAND + tile_at(tx, step);
            float4 x[REG];
#pragma unroll
            for (int i = 0; i < REG; i++) x[i] = *reinterpret_cast<const float4*>(x_at + i * 16 * LINEAR_DEPTH);
#pragma unroll
            for (int j = 0; j < REG; j++) {
                const float4 w = *reinterpret_cast<const float4*>(w_at + j * 16 * LINEAR_DEPTH);
#pragma unroll
                for (int i = 0; i < REG; i++) sums[i][j] = __fmaf_rn(x[i].x, w.x, sums[i][j]);
#pragma unroll
                for (int i = 0; i < REG; i++) sums[i][j] = __fmaf_rn(x[i].y, w.y, sums[i][j]);
#pragma unroll
                for (int i = 0; i < REG; i++) sums[i][j] = __fmaf_rn(x[i].z, w.z, sums[i][j]);
#pragma unroll
                for (int i = 0; i < REG; i++) sums[i][j] = __fmaf_rn(x[i].w, w.w, sums[i][j]);
            }
            if (more) store_vector(shared + (present ^ 2 * OPERAND), step, bits);
        }
        next_vectors();
        present ^= 2 * OPERAND;
    }
    // through shared memory, 64 rows at a time, so whole rows are stored
#pragma unroll
    for (int half = 0; half < TILE / 64; half++) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int j = 0; j < REG; j += 4) {
                const float* const four = &sums[half * 4 + i][j];
                *reinterpret_cast<float4*>(shared + sum_at<TILE>(i * 16 + ty, j / 4 * 64 + tx * 4)) =
                    make_float4(__fadd_rn(four[0], -MK_FIRST), __fadd_rn(four[1], -MK_FIRST),
                                __fadd_rn(four[2], -MK_FIRST), __fadd_rn(four[3], -MK_FIRST));
            }
        }
        __syncthreads();
        store_tile<64, TILE, LINEAR_THREADS>(args, shared, first_token + half * 64, first_output);
    }
}

KERNEL_BOUNDS(mk_linear_exact_128, LinearArgs, LINEAR_THREADS, 2) {
    DYNAMIC_SHARED(float, shared_128); // [2 buffers][2 operands][128][16]
    linear_exact<128, 8>(args, shared_128);
}
EXPORT_KERNEL(mk_linear_exact_128, LinearArgs);

KERNEL_BOUNDS(mk_linear_exact_64, LinearArgs, LINEAR_THREADS, 3) {
    DYNAMIC_SHARED(float, shared_64); // [2 buffers][2 operands][64][16]
    linear_exact<64, 4>(args, shared_64);
}
EXPORT_KERNEL(mk_linear_exact_64, LinearArgs);
