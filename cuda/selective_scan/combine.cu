// The start states of the chunks of each sequence, from their end states: the second launch of the chunked scan.
//
//   start[0] = state_in; start[1] = end[0]
//   start[i + 1] = fma(exp2(sum of delta[i] * (a * log2 e)), start[i], end[i])
//
// Where a is positive, the power may be infinite though its product with a state is not, as with a state of 0: beyond
// 2^128 it is three factors.
//
// A thread has one state of one sequence. It loads COMBINE_AHEAD chunks together, since each step of the recurrence
// waits for the one before.
//
// Occupancy: 128 threads: 8 blocks per multiprocessor.
#include "math.cuh"

#define COMBINE_THREADS 128
#define COMBINE_AHEAD 8 // chunks loaded together
#define COMBINE_LARGEST coefficient(0x42ffffffu) // the largest exponent below 128: its power of two is finite

// fma(2^x, h, end), the power in three factors; those of an ordinary chunk are 2^x, 1 and 1.
DEVICE float combine(float x, float h, float end) {
    float second = __fsub_rn(x, COMBINE_LARGEST);
    second = second > 0.0f ? second : 0.0f;
    float third = __fsub_rn(second, COMBINE_LARGEST);
    third = third > 0.0f ? third : 0.0f;
    const float first = COMBINE_LARGEST < x ? COMBINE_LARGEST : x;
    second = COMBINE_LARGEST < second ? COMBINE_LARGEST : second;
    third = COMBINE_LARGEST < third ? COMBINE_LARGEST : third;
    h = __fmul_rn(__fmul_rn(h, exp2_exact(second)), exp2_exact(third));
    return __fmaf_rn(exp2_exact(first), h, end);
}

KERNEL_BOUNDS(mk_scan_combine, ScanArgs, COMBINE_THREADS, 8) {
    const int64_t c = static_cast<int64_t>(blockIdx.y) * COMBINE_THREADS + threadIdx.x;
    const int64_t n = blockIdx.z, first = blockIdx.x;
    const Span span = args.spans[first];
    if (c >= args.channels || span.begin != span.sequence_begin || span.slot == MK_PADDING) return;
    const int64_t chunks = (span.sequence_end - span.sequence_begin + MK_CHUNK_CUT - 1) / MK_CHUNK_CUT;
    const int64_t states = static_cast<int64_t>(args.d_state) * args.channels, at = n * args.channels + c;
    const float a_log2e = __fmul_rn(args.a[at], MK_LOG2_E);
    float h = args.state_in == nullptr ? 0.0f : args.state_in[span.slot * states + at];
    for (int64_t start = 0; start < chunks; start += COMBINE_AHEAD) {
        float end[COMBINE_AHEAD], delta[COMBINE_AHEAD];
#pragma unroll
        for (int i = 0; i < COMBINE_AHEAD; i++) {
            if (start + i < chunks - 1) {
                end[i] = args.chunk_state[(first + start + i) * states + at];
                delta[i] = args.chunk_delta[(first + start + i) * args.channels + c];
            }
        }
#pragma unroll
        for (int i = 0; i < COMBINE_AHEAD; i++) {
            if (start + i < chunks) args.chunk_state[(first + start + i) * states + at] = h;
            if (start + i < chunks - 1) {
                h = start + i == 0 ? end[i] : combine(__fmul_rn(delta[i], a_log2e), h, end[i]);
            }
        }
    }
}
EXPORT_KERNEL(mk_scan_combine, ScanArgs);
