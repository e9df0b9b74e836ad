// Tensor cores, ldmatrix and asynchronous copies: what a GPU has as PTX instructions.
#pragma once

namespace executor {
namespace {

inline void mma_m16n8k16(HalfType type, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                         Location at) {
    MmaOperands operands{type, d, a, b};
    warp_collective({WarpOperation::mma, 0xffffffff, 0, 0, 32, &operands, at});
}
inline void mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EXECUTOR_PLACE) {
    mma_m16n8k16(HalfType::f16, d, a, b, EXECUTOR_AT);
}
inline void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], EXECUTOR_PLACE) {
    mma_m16n8k16(HalfType::bf16, d, a, b, EXECUTOR_AT);
}

template <int count>
inline void ldmatrix(uint32_t (&out)[count], const void* shared_row, bool transposed, Location at) {
    MatrixRows rows{count, transposed, shared_row, out};
    warp_collective({WarpOperation::ldmatrix, 0xffffffff, 0, 0, 32, &rows, at});
}
inline void ldmatrix_x1(uint32_t (&out)[1], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, false, EXECUTOR_AT);
}
inline void ldmatrix_x2(uint32_t (&out)[2], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, false, EXECUTOR_AT);
}
inline void ldmatrix_x4(uint32_t (&out)[4], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, false, EXECUTOR_AT);
}
inline void ldmatrix_x1_trans(uint32_t (&out)[1], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, true, EXECUTOR_AT);
}
inline void ldmatrix_x2_trans(uint32_t (&out)[2], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, true, EXECUTOR_AT);
}
inline void ldmatrix_x4_trans(uint32_t (&out)[4], const void* shared_row, EXECUTOR_PLACE) {
    ldmatrix(out, shared_row, true, EXECUTOR_AT);
}

// cp.async: the bytes land at the wait for their group, no sooner. Bytes past `source_bytes` become zeros.
inline void cp_async_16(void* shared, const void* global, int source_bytes = 16) {
    async_copy(shared, global, 16, source_bytes);
}
inline void cp_async_8(void* shared, const void* global, int source_bytes = 8) {
    async_copy(shared, global, 8, source_bytes);
}
inline void cp_async_4(void* shared, const void* global, int source_bytes = 4) {
    async_copy(shared, global, 4, source_bytes);
}
inline void cp_async_commit() { async_commit(); }
template <int groups_left>
inline void cp_async_wait() {
    async_wait(groups_left);
}
inline void cp_async_wait_all() {
    async_commit();
    async_wait(0);
}

}  // namespace
}  // namespace executor
