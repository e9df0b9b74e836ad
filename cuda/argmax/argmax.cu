// The first column of the largest value of each row, or 0xffffffff if the row has a NaN or +infinity.
//
// A block has one row. Each thread goes through its columns in ascending order and keeps the first of its largest; of
// two threads with the same value, the smaller column wins. The order of the comparisons changes no result.
//
// Occupancy: 256 threads: at least 4 blocks per multiprocessor.
#include "common.cuh"

#define ARGMAX_THREADS 256

KERNEL_BOUNDS(mk_argmax, ArgmaxArgs, ARGMAX_THREADS, 4) {
    SHARED_ARRAY(float, values, ARGMAX_THREADS / 32);
    SHARED_ARRAY(uint32_t, columns, ARGMAX_THREADS / 32);
    const int64_t row = blockIdx.x;
    const float infinity = __uint_as_float(0x7f800000u);
    float best = -infinity;
    uint32_t column = 0xffffffffu;
    int refused = 0;
    for (int64_t i = threadIdx.x; i < args.columns; i += ARGMAX_THREADS) {
        const float value = load_element(args.input, row * args.stride + i, args.type);
        if (!(value < infinity)) refused = 1;
        if (value > best || column == 0xffffffffu) {
            best = value;
            column = static_cast<uint32_t>(i);
        }
    }
    const int any_refused = __syncthreads_or(refused);
#pragma unroll
    for (int distance = 16; distance > 0; distance >>= 1) {
        const float other = __shfl_down_sync(0xffffffffu, best, distance);
        const uint32_t other_column = __shfl_down_sync(0xffffffffu, column, distance);
        if (other > best || (other == best && other_column < column)) {
            best = other;
            column = other_column;
        }
    }
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = best;
        columns[threadIdx.x / 32] = column;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < ARGMAX_THREADS / 32; warp++) {
            if (values[warp] > best || (values[warp] == best && columns[warp] < column)) {
                best = values[warp];
                column = columns[warp];
            }
        }
        args.output[row] = any_refused ? 0xffffffffu : column;
    }
}
EXPORT_KERNEL(mk_argmax, ArgmaxArgs);
