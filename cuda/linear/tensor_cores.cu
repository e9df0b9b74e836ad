// The matrix product on tensor cores, inexact: f16 or bf16 weights and inputs, f32 sums.
//
//   output = epilogue(input * weight^T + bias), the sum in the order and with the rounding of the hardware
//
// 1. A block makes a tile of 128 tokens by 128 outputs, each of its eight warps 64 by 32 by mma.sync.m16n8k16.
// 2. Inputs and weights come by asynchronous copies of 16 bytes, 32 k a stage, three stages.
// 3. A row of a stage is 64 bytes, four segments of 16, those of row p permuted by (p / 2) mod 4: the eight rows that
//    an ldmatrix reads, and the two that eight threads write, use all 32 banks.
// 4. The sums go through shared memory, so whole rows are stored.
// Needs sm_80. Products are exact. How the hardware rounds a sum is not documented; each of k additions loses at most
// 2^-22 of the largest partial sum, so |error| <= k 2^-22 sum of |input * weight|, plus the rounding of mk_convert.
//
// Occupancy: 256 threads, at most 128 registers, 48 KiB of shared memory: 2 blocks per multiprocessor.
#include "linear/epilogue.cuh"
#include "ptx.cuh"

#define TENSOR_THREADS 256
#define TENSOR_TILE 128
#define TENSOR_DEPTH 32 // k of a stage
#define TENSOR_STAGES 3
#define TENSOR_OPERAND (TENSOR_TILE * TENSOR_DEPTH) // elements of an operand in a stage

// Where a segment (eight elements) of a row begins.
DEVICE int tensor_at(int row, int segment) { return row * TENSOR_DEPTH + ((segment ^ (row >> 1 & 3)) << 3); }

template <class T> DEVICE void linear_tensor_cores(const LinearArgs& args, uint16_t* shared) {
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
    const int warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
    const int64_t first_token = static_cast<int64_t>(blockIdx.x) * TENSOR_TILE;
    const int64_t first_output = static_cast<int64_t>(blockIdx.y) * TENSOR_TILE;
    const int in_features = static_cast<int>(args.in_features);
    const int stages = (in_features + TENSOR_DEPTH - 1) / TENSOR_DEPTH;

    // a thread copies one segment of two rows of each operand; rows past the end repeat the last, and are not stored
    const int segment = thread % 4, place = thread / 4;
    const uint16_t* input[2];
    const uint16_t* weight[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t token = first_token + place + i * 64, output = first_output + place + i * 64;
        token = token < args.tokens ? token : args.tokens - 1;
        output = output < args.out_features ? output : args.out_features - 1;
        input[i] = static_cast<const uint16_t*>(args.input) + token * args.input_stride + segment * 8;
        weight[i] = static_cast<const uint16_t*>(args.weight) + output * args.weight_stride + segment * 8;
    }
    const auto load = [&](int k, int stage) {
        const int left = in_features - k - segment * 8;
        const uint32_t bytes = left >= 8 ? 16u : left > 0 ? static_cast<uint32_t>(left) * 2u : 0u;
        uint16_t* const to = shared + stage * 2 * TENSOR_OPERAND + tensor_at(place, segment);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            copy_async_16(to + i * 64 * TENSOR_DEPTH, bytes ? input[i] + k : input[i], bytes);
            copy_async_16(to + TENSOR_OPERAND + i * 64 * TENSOR_DEPTH, bytes ? weight[i] + k : weight[i], bytes);
        }
    };

    float sums[4][4][4]; // [16 rows][8 columns][of a lane]
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][j][k] = 0.0f;
        }
    }
#pragma unroll
    for (int stage = 0; stage < TENSOR_STAGES - 1; stage++) {
        if (stage < stages) load(stage * TENSOR_DEPTH, stage);
        copy_async_commit();
    }
    // the rows that this lane names to ldmatrix: of 16 x 16 inputs, of 16 outputs x 16 k of weights
    const int input_row = warp_row + lane % 16, weight_row = warp_column + lane / 16 * 8 + lane % 8;
    int present = 0;
#pragma unroll 1
    for (int stage = 0; stage < stages; stage++) {
        copy_async_wait<TENSOR_STAGES - 2>();
        __syncthreads(); // all threads have this stage, and are done with the one before, which is loaded next
        const int next = stage + TENSOR_STAGES - 1;
        if (next < stages) load(next * TENSOR_DEPTH, present == 0 ? TENSOR_STAGES - 1 : present - 1);
        copy_async_commit();
        const uint16_t* const inputs = shared + present * 2 * TENSOR_OPERAND;
        const uint16_t* const weights = inputs + TENSOR_OPERAND;
#pragma unroll
        for (int half = 0; half < TENSOR_DEPTH / 16; half++) {
            uint32_t a[4][4], b[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                load_matrix_x4(a[i], inputs + tensor_at(input_row + i * 16, half * 2 + lane / 16));
            }
#pragma unroll
            for (int j = 0; j < 4; j += 2) {
                uint32_t two[4];
                load_matrix_x4(two, weights + tensor_at(weight_row + j * 8, half * 2 + lane / 8 % 2));
                b[j][0] = two[0];
                b[j][1] = two[1];
                b[j + 1][0] = two[2];
                b[j + 1][1] = two[3];
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) matrix_product(T{}, sums[i][j], a[i], b[j]);
            }
        }
        present = present == TENSOR_STAGES - 1 ? 0 : present + 1;
    }
    copy_async_wait<0>();

    float* const tile = reinterpret_cast<float*>(shared); // [64][128]
#pragma unroll 1
    for (int half = 0; half < 2; half++) {
        __syncthreads();
        if (warp / 4 == half) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int row = i * 16 + lane / 4, column = warp_column + j * 8 + lane % 4 * 2;
                    *reinterpret_cast<float2*>(tile + sum_at<TENSOR_TILE>(row, column)) =
                        make_float2(sums[i][j][0], sums[i][j][1]);
                    *reinterpret_cast<float2*>(tile + sum_at<TENSOR_TILE>(row + 8, column)) =
                        make_float2(sums[i][j][2], sums[i][j][3]);
                }
            }
        }
        __syncthreads();
        store_tile<64, TENSOR_TILE, TENSOR_THREADS>(args, tile, first_token + half * 64, first_output);
    }
}

KERNEL_BOUNDS(mk_linear_tensor_cores_f16, LinearArgs, TENSOR_THREADS, 2) {
    DYNAMIC_SHARED(uint16_t, stages_f16); // [3 stages][2 operands][128][32]
    linear_tensor_cores<F16>(args, stages_f16);
}
EXPORT_KERNEL(mk_linear_tensor_cores_f16, LinearArgs);

KERNEL_BOUNDS(mk_linear_tensor_cores_bf16, LinearArgs, TENSOR_THREADS, 2) {
    DYNAMIC_SHARED(uint16_t, stages_bf16); // [3 stages][2 operands][128][32]
    linear_tensor_cores<BF16>(args, stages_bf16);
}
EXPORT_KERNEL(mk_linear_tensor_cores_bf16, LinearArgs);
