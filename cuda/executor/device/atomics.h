// Atomic operations. Threads take turns on one host thread, so plain code is atomic; the checks are told of
// it.
#pragma once

namespace executor {
namespace {

template <class T>
inline void announce_atomic(T* address) {
#ifdef MAMBA_EXECUTOR_CHECKED
    note_atomic(address, sizeof(T));
#else
    (void)address;
#endif
}

template <class T>
inline T peek(const T* address) {
    return bit_cast<T>(load_atomic(address, sizeof(T)));
}

// Sets *address to `value` and returns what was there.
template <class T>
inline T exchange(T* address, T value) {
    const T old = peek(address);
    store_atomic(address, bit_cast<uint64_t>(value), sizeof(T));
    return old;
}

}  // namespace
}  // namespace executor

namespace {

template <class T>
inline T atomicExch(T* address, T value) {
    executor::announce_atomic(address);
    return executor::exchange(address, value);
}
template <class T>
inline T atomicCAS(T* address, T compare, T value) {
    executor::announce_atomic(address);
    const T old = executor::peek(address);
    return old == compare ? executor::exchange(address, value) : old;
}
template <class T>
inline T atomicAdd(T* address, T value) {
    executor::announce_atomic(address);
    return executor::exchange(address, static_cast<T>(executor::peek(address) + value));
}
template <class T>
inline T atomicSub(T* address, T value) {
    executor::announce_atomic(address);
    return executor::exchange(address, static_cast<T>(executor::peek(address) - value));
}
template <class T>
inline T atomicMax(T* address, T value) {
    executor::announce_atomic(address);
    const T old = executor::peek(address);
    return executor::exchange(address, old < value ? value : old);
}
template <class T>
inline T atomicMin(T* address, T value) {
    executor::announce_atomic(address);
    const T old = executor::peek(address);
    return executor::exchange(address, value < old ? value : old);
}
template <class T>
inline T atomicAnd(T* address, T value) {
    executor::announce_atomic(address);
    return executor::exchange(address, static_cast<T>(executor::peek(address) & value));
}
template <class T>
inline T atomicOr(T* address, T value) {
    executor::announce_atomic(address);
    return executor::exchange(address, static_cast<T>(executor::peek(address) | value));
}

}  // namespace
