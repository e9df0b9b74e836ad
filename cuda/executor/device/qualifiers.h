// Qualifiers, built-in variables, and the declarations of kernels and shared memory.
#pragma once

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
#define __launch_bounds__(...)

#define threadIdx (executor::thread_index())
#define blockIdx (executor::block_index())
#define blockDim (executor::block_size())
#define gridDim (executor::grid_size())

// KERNEL and EXPORT_KERNEL declare a kernel and register it. A kernel is never inlined into the function that
// starts its threads, since that one is not instrumented.
#define KERNEL(name, Args) static __attribute__((noinline)) void name(const Args args)
#define KERNEL_BOUNDS(name, Args, threads, blocks) KERNEL(name, Args)

#ifdef MAMBA_EXECUTOR_CHECKED
#define EXECUTOR_IS_CHECKED true
#else
#define EXECUTOR_IS_CHECKED false
#endif

#define EXPORT_KERNEL(name, Args)                                                                        \
    static __attribute__((no_sanitize("thread"), noinline)) void executor_run_##name(const void* args) { \
        name(*static_cast<const Args*>(args));                                                           \
    }                                                                                                    \
    static executor::Kernel executor_kernel_##name = {#name, sizeof(Args), EXECUTOR_IS_CHECKED,          \
                                                      executor_run_##name, nullptr};                     \
    static const executor::Registration executor_registration_##name(&executor_kernel_##name)

#define SHARED_ARRAY(type, name, count)                               \
    static const executor::SharedSite executor_site_##name = {#name}; \
    type(&name)[count] =                                              \
        *static_cast<type(*)[count]>(executor::static_shared(&executor_site_##name, sizeof(type) * (count)))

#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(executor::dynamic_shared())

namespace {

constexpr int warpSize = 32;

typedef executor::Dim3 dim3;
typedef executor::Dim3 uint3;

}  // namespace

namespace executor {
namespace {

struct Registration {
    explicit Registration(Kernel* kernel) { register_kernel(kernel); }
};

template <class T>
inline T* dynamic_shared() {
    return static_cast<T*>(executor::dynamic_shared());
}

// The bits of `from`, low bytes first, and zeros above.
template <class To, class From>
inline __attribute__((always_inline)) To bit_cast(From from) {
    To to{};
    __builtin_memcpy(&to, &from, sizeof(From) < sizeof(To) ? sizeof(From) : sizeof(To));
    return to;
}

}  // namespace
}  // namespace executor
