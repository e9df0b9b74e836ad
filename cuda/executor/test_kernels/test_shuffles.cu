// Shuffles and votes: each kernel that is wrong has a right twin.
#include "test_args.h"

// The sum over each warp, by all of its lanes.
KERNEL(test_shuffle_right, TestArgs) {
    float sum = args.input[threadIdx.x];
    for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_down_sync(0xffffffff, sum, distance);
    }
    args.output[threadIdx.x] = __shfl_sync(0xffffffff, sum, 0);
}
EXPORT_KERNEL(test_shuffle_right, TestArgs);

// Only the lower half of the warp takes part, and its last lane reads from the first that does not.
KERNEL(test_shuffle_from_exited_lane, TestArgs) {
    if (threadIdx.x >= 16) return;
    args.output[threadIdx.x] = __shfl_down_sync(0xffffffff, args.input[threadIdx.x], 1);
}
EXPORT_KERNEL(test_shuffle_from_exited_lane, TestArgs);

// A lane that the mask does not name.
KERNEL(test_shuffle_from_unnamed_lane, TestArgs) {
    float value = args.input[threadIdx.x];
    if (threadIdx.x < 16) {
        value = __shfl_sync(0x0000ffff, value, 20);
    }
    args.output[threadIdx.x] = value;
}
EXPORT_KERNEL(test_shuffle_from_unnamed_lane, TestArgs);

// Half of the lanes that the mask names wait elsewhere.
KERNEL(test_shuffle_waits_for_ever, TestArgs) {
    float value = args.input[threadIdx.x];
    if (threadIdx.x < 16) {
        value = __shfl_xor_sync(0xffffffff, value, 1);
    }
    __syncthreads();
    args.output[threadIdx.x] = value;
}
EXPORT_KERNEL(test_shuffle_waits_for_ever, TestArgs);

// The lanes of one mask come to two shuffles.
KERNEL(test_shuffle_in_branches, TestArgs) {
    float value = args.input[threadIdx.x];
    if (threadIdx.x < 16) {
        value = __shfl_xor_sync(0xffffffff, value, 1);
    } else {
        value = __shfl_xor_sync(0xffffffff, value, 1);
    }
    args.output[threadIdx.x] = value;
}
EXPORT_KERNEL(test_shuffle_in_branches, TestArgs);

// A lane that is not in the mask that it passes.
KERNEL(test_shuffle_by_unnamed_lane, TestArgs) {
    args.output[threadIdx.x] = __shfl_sync(0x0000ffff, args.input[threadIdx.x], 0);
}
EXPORT_KERNEL(test_shuffle_by_unnamed_lane, TestArgs);

// Every kind of shuffle, within segments of 8 lanes, each on a line of 32 outputs.
KERNEL(test_shuffle_segments, TestArgs) {
    const unsigned lane = threadIdx.x;
    const float value = args.input[lane];
    args.output[lane] = __shfl_sync(0xffffffff, value, 10, 8);
    args.output[32 + lane] = __shfl_up_sync(0xffffffff, value, 3, 8);
    args.output[64 + lane] = __shfl_down_sync(0xffffffff, value, 3, 8);
    args.output[96 + lane] = __shfl_xor_sync(0xffffffff, value, 5, 8);
}
EXPORT_KERNEL(test_shuffle_segments, TestArgs);

// Votes of the lanes, and of the odd lanes alone.
KERNEL(test_votes, TestArgs) {
    const unsigned lane = threadIdx.x;
    const bool above = args.input[lane] > 0.0f;
    const uint32_t votes = __ballot_sync(0xffffffff, above);
    float result = static_cast<float>(votes & 0xffff);
    result += __any_sync(0xffffffff, above) ? 100000.0f : 0.0f;
    if (lane % 2 == 1) {
        result += __all_sync(0xaaaaaaaa, above) ? 200000.0f : 0.0f;
    }
    args.output[lane] = result;
}
EXPORT_KERNEL(test_votes, TestArgs);
