// A matrix in another storage type, rounded to nearest even: inputs of the tensor-core product.
//
// Occupancy: 256 threads: at least 4 blocks per multiprocessor.
#include "common.cuh"

#define CONVERT_THREADS 256

KERNEL_BOUNDS(mk_convert, ConvertArgs, CONVERT_THREADS, 4) {
    const int64_t i = (static_cast<int64_t>(blockIdx.x) * CONVERT_THREADS + threadIdx.x) * 4;
    if (i >= args.columns) return;
    for (int64_t row = blockIdx.y; row < args.rows; row += gridDim.y) {
        const int64_t source = row * args.input_stride + i, target = row * args.output_stride + i;
        if (i + 4 <= args.columns && four_aligned(args.input, source, args.input_type) &&
            four_aligned(args.output, target, args.output_type)) {
            store_four(args.output, target, args.output_type, load_four(args.input, source, args.input_type));
        } else {
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (i + k < args.columns) {
                    const float value = load_element(args.input, source + k, args.input_type);
                    store_element(args.output, target + k, args.output_type, value);
                }
            }
        }
    }
}
EXPORT_KERNEL(mk_convert, ConvertArgs);
