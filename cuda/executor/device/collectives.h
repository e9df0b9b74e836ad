// Barriers, shuffles and votes. Each passes the place of the call, which reports name.
#pragma once

#define EXECUTOR_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define EXECUTOR_AT \
    executor::Location { file, line }

namespace executor {
namespace {

template <class T>
inline T shuffle(WarpOperation operation, uint32_t mask, T value, uint32_t parameter, int width,
                 Location at) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    const uint64_t bits = bit_cast<uint64_t>(value);
    return bit_cast<T>(
        warp_collective({operation, mask, bits, parameter, static_cast<uint32_t>(width), nullptr, at}));
}

}  // namespace
}  // namespace executor

namespace {

inline void __syncthreads(EXECUTOR_PLACE) {
    executor::block_collective(executor::BlockOperation::sync, 0, EXECUTOR_AT);
}
inline int __syncthreads_count(int predicate, EXECUTOR_PLACE) {
    return executor::block_collective(executor::BlockOperation::count, predicate != 0, EXECUTOR_AT);
}
inline int __syncthreads_or(int predicate, EXECUTOR_PLACE) {
    return executor::block_collective(executor::BlockOperation::count, predicate != 0, EXECUTOR_AT) != 0;
}
inline int __syncthreads_and(int predicate, EXECUTOR_PLACE) {
    return executor::block_collective(executor::BlockOperation::count, predicate == 0, EXECUTOR_AT) == 0;
}

inline void __syncwarp(uint32_t mask = 0xffffffff, EXECUTOR_PLACE) {
    executor::warp_collective({executor::WarpOperation::sync, mask, 0, 0, 32, nullptr, EXECUTOR_AT});
}

template <class T>
inline T __shfl_sync(uint32_t mask, T value, int source, int width = 32, EXECUTOR_PLACE) {
    return executor::shuffle(executor::WarpOperation::shuffle, mask, value, source, width, EXECUTOR_AT);
}
template <class T>
inline T __shfl_up_sync(uint32_t mask, T value, unsigned distance, int width = 32, EXECUTOR_PLACE) {
    return executor::shuffle(executor::WarpOperation::shuffle_up, mask, value, distance, width, EXECUTOR_AT);
}
template <class T>
inline T __shfl_down_sync(uint32_t mask, T value, unsigned distance, int width = 32, EXECUTOR_PLACE) {
    return executor::shuffle(executor::WarpOperation::shuffle_down, mask, value, distance, width,
                             EXECUTOR_AT);
}
template <class T>
inline T __shfl_xor_sync(uint32_t mask, T value, int pattern, int width = 32, EXECUTOR_PLACE) {
    return executor::shuffle(executor::WarpOperation::shuffle_xor, mask, value, pattern, width, EXECUTOR_AT);
}

inline uint32_t __ballot_sync(uint32_t mask, int predicate, EXECUTOR_PLACE) {
    return static_cast<uint32_t>(executor::warp_collective(
        {executor::WarpOperation::ballot, mask, predicate != 0, 0, 32, nullptr, EXECUTOR_AT}));
}
inline int __any_sync(uint32_t mask, int predicate, EXECUTOR_PLACE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, EXECUTOR_PLACE) {
    return __ballot_sync(mask, predicate == 0, file, line) == 0;
}

// Blocks run one after another and the memory of the host is in order, so fences have nothing to do.
inline void __threadfence() {}
inline void __threadfence_block() {}

inline void __trap(EXECUTOR_PLACE) { executor::trap(EXECUTOR_AT); }

}  // namespace
