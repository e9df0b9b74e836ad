// Warp matrix products and asynchronous copies: inline PTX on a device, the executor's functions on the host.
// The matrix products need sm_80; before that, asynchronous copies are plain ones.
#ifndef MAMBA_KERNELS_PTX_CUH
#define MAMBA_KERNELS_PTX_CUH

#include "common.cuh"

#if !defined(MAMBA_EXECUTOR) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define MK_BEFORE_SM80 1
#else
#define MK_BEFORE_SM80 0
#endif

#ifndef MAMBA_EXECUTOR
DEVICE uint32_t shared_address(const void* shared) { return static_cast<uint32_t>(__cvta_generic_to_shared(shared)); }
#endif

// Copies `bytes` (0 to 16) from global to shared memory and fills the rest of 16 bytes with zeros. Both addresses are
// multiples of 16.
DEVICE void copy_async_16(void* shared, const void* global, uint32_t bytes) {
#if defined(MAMBA_EXECUTOR)
    executor::cp_async_16(shared, global, static_cast<int>(bytes));
#elif MK_BEFORE_SM80
    uint4 value = make_uint4(0, 0, 0, 0);
    if (bytes == 16) {
        value = *static_cast<const uint4*>(global);
    } else {
        const uint16_t* const source = static_cast<const uint16_t*>(global);
        if (bytes > 0) value.x = source[0];
        if (bytes > 2) value.x |= static_cast<uint32_t>(source[1]) << 16;
        if (bytes > 4) value.y = source[2];
        if (bytes > 6) value.y |= static_cast<uint32_t>(source[3]) << 16;
        if (bytes > 8) value.z = source[4];
        if (bytes > 10) value.z |= static_cast<uint32_t>(source[5]) << 16;
        if (bytes > 12) value.w = source[6];
        if (bytes > 14) value.w |= static_cast<uint32_t>(source[7]) << 16;
    }
    *static_cast<uint4*>(shared) = value;
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global), "r"(bytes)
                 : "memory");
#endif
}

DEVICE void copy_async_commit() {
#if defined(MAMBA_EXECUTOR)
    executor::cp_async_commit();
#elif !MK_BEFORE_SM80
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most N of this thread's groups are unfinished.
template <int N> DEVICE void copy_async_wait() {
#if defined(MAMBA_EXECUTOR)
    executor::cp_async_wait<N>();
#elif !MK_BEFORE_SM80
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// Four 8 x 8 matrices of 16-bit elements; lane i names row i % 8 of matrix i / 8.
DEVICE void load_matrix_x4(uint32_t (&d)[4], const void* shared_row) {
#if defined(MAMBA_EXECUTOR)
    executor::ldmatrix_x4(d, shared_row);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(shared_address(shared_row))
                 : "memory");
#endif
}

// d += a * b: m16n8k16, f32 sums. The first argument names the type of a and b.
DEVICE void matrix_product(BF16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(MAMBA_EXECUTOR)
    executor::mma_m16n8k16_bf16(d, a, b);
#elif MK_BEFORE_SM80
    __trap();
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

DEVICE void matrix_product(F16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(MAMBA_EXECUTOR)
    executor::mma_m16n8k16_f16(d, a, b);
#elif MK_BEFORE_SM80
    __trap();
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

#endif
