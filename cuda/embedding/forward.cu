// Rows of a weight matrix by token: output[t] = weight[tokens[t]], widened exactly, rounded if the output is narrower.
//
// Occupancy: 128 threads: at least 8 blocks per multiprocessor.
#include "common.cuh"

#define EMBEDDING_THREADS 128

KERNEL_BOUNDS(mk_embedding, EmbeddingArgs, EMBEDDING_THREADS, 8) {
    const int64_t row = blockIdx.x;
    const int64_t i = (static_cast<int64_t>(blockIdx.y) * EMBEDDING_THREADS + threadIdx.x) * 4;
    if (i >= args.d_model) return;
    const int64_t token = args.tokens[row];
    const bool known = token < args.vocab;
    const float nan = __uint_as_float(0x7fc00000u);
    const int64_t source = token * args.weight_stride + i, target = row * args.output_stride + i;
    // rows of the weight are padded, so four elements can always be read
    if (i + 4 <= args.d_model && four_aligned(args.output, target, args.output_type)) {
        float4 value = make_float4(nan, nan, nan, nan);
        if (known) value = load_four(args.weight, source, args.weight_type);
        store_four(args.output, target, args.output_type, value);
        return;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        if (i + k < args.d_model) {
            const float value = known ? load_element(args.weight, source + k, args.weight_type) : nan;
            store_element(args.output, target + k, args.output_type, value);
        }
    }
}
EXPORT_KERNEL(mk_embedding, EmbeddingArgs);
