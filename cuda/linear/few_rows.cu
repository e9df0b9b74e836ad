// The exact matrix product for few tokens: a decode step, in which each weight is used at most eight times.
//
//   sum = +0.0; for k ascending: sum = fma(input[t, k], weight[j, k], sum); then bias and epilogue
//
// What the kernel does differently, and why the bits stay the same:
// 1. A block has sixteen outputs and up to eight tokens, a thread one sum. Its order is k ascending: k is not split.
//    A chain of k fused multiply-adds takes four cycles each; sixteen outputs a block give a GPU enough blocks to
//    stream the weights meanwhile.
// 2. Weights and inputs come through shared memory as they are stored, by asynchronous copies of 16 bytes, several
//    stages ahead: 256 bytes of sixteen rows each. A row of shared memory is 16 bytes longer, so eight threads that
//    read 16 bytes of eight rows use all banks.
// 3. Inputs whose rows are not aligned to 16 bytes are copied element by element instead.
//
// Occupancy: 128 threads, 33.5 KiB of shared memory: at least 4 blocks per multiprocessor.
#include "linear/epilogue.cuh"
#include "ptx.cuh"

#define FEW_THREADS 128
#define FEW_OUTPUTS 16
#define FEW_TOKENS 8
#define FEW_STAGES 4
#define FEW_BYTES 256               // of a weight row in a stage
#define FEW_PITCH (FEW_BYTES + 16)  // of a weight row in shared memory
#define FEW_INPUT_PITCH (2 * FEW_BYTES + 16) // of an input row, which may have twice the size per element

// Eight elements at `data` in shared memory, widened.
template <class T> struct Eight;
template <> struct Eight<F32> {
    static __device__ __forceinline__ void load(float (&value)[8], const char* data) {
        const float4 low = *reinterpret_cast<const float4*>(data), high = *reinterpret_cast<const float4*>(data + 16);
        value[0] = low.x;
        value[1] = low.y;
        value[2] = low.z;
        value[3] = low.w;
        value[4] = high.x;
        value[5] = high.y;
        value[6] = high.z;
        value[7] = high.w;
    }
};
template <class T> struct EightHalves {
    static __device__ __forceinline__ void load(float (&value)[8], const char* data) {
        const uint4 bits = *reinterpret_cast<const uint4*>(data);
        const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            value[2 * i] = T::widen(words[i] & 0xffffu);
            value[2 * i + 1] = T::widen(words[i] >> 16);
        }
    }
};
template <> struct Eight<F16> : EightHalves<F16> {};
template <> struct Eight<BF16> : EightHalves<BF16> {};

// `count` more terms of a sum, from elements in shared memory.
template <class W, class X> DEVICE float few_terms(float sum, const char* weight, const char* input, int count) {
    int k = 0;
#pragma unroll 2
    for (; k + 8 <= count; k += 8) {
        float w[8], x[8];
        Eight<W>::load(w, weight + k * static_cast<int>(sizeof(typename W::Bits)));
        Eight<X>::load(x, input + k * static_cast<int>(sizeof(typename X::Bits)));
#pragma unroll
        for (int i = 0; i < 8; i++) sum = __fmaf_rn(flush(x[i]), w[i], sum);
    }
#pragma unroll 1
    for (; k < count; k++) {
        const float w = W::widen(reinterpret_cast<const typename W::Bits*>(weight)[k]);
        const float x = flush(X::widen(reinterpret_cast<const typename X::Bits*>(input)[k]));
        sum = __fmaf_rn(x, w, sum);
    }
    return sum;
}

template <class W> DEVICE void linear_few_rows(const LinearArgs& args) {
    SHARED_ARRAY(char, weights, FEW_STAGES * FEW_OUTPUTS * FEW_PITCH);
    SHARED_ARRAY(char, inputs, FEW_STAGES * FEW_TOKENS * FEW_INPUT_PITCH);
    constexpr int DEPTH = FEW_BYTES / static_cast<int>(sizeof(typename W::Bits)); // k of a stage
    const int thread = static_cast<int>(threadIdx.x);
    const int64_t first_output = static_cast<int64_t>(blockIdx.x) * FEW_OUTPUTS;
    const int64_t first_token = static_cast<int64_t>(blockIdx.y) * FEW_TOKENS;
    const int in_features = static_cast<int>(args.in_features);
    const int64_t left = args.tokens - first_token;
    const int tokens = left < FEW_TOKENS ? static_cast<int>(left) : FEW_TOKENS;
    const int input_bytes = static_cast<int>(element_bytes(args.input_type));
    const char* const input = static_cast<const char*>(args.input) + first_token * args.input_stride * input_bytes;
    const bool aligned = reinterpret_cast<uint64_t>(input) % 16 == 0 && args.input_stride * input_bytes % 16 == 0;

    // how many bytes of the 16 at offset `at` lie in a row of `bytes`
    const auto within = [](int64_t bytes, int64_t at) {
        const int64_t left = bytes - at;
        return left >= 16 ? 16u : left > 0 ? static_cast<uint32_t>(left) : 0u;
    };
    const auto load = [&](int64_t k, int stage) {
        const int64_t row_bytes = args.weight_stride * static_cast<int64_t>(sizeof(typename W::Bits));
#pragma unroll
        for (int i = 0; i < FEW_OUTPUTS * FEW_BYTES / 16 / FEW_THREADS; i++) {
            const int index = thread + i * FEW_THREADS;
            const int row = index / (FEW_BYTES / 16), at = index % (FEW_BYTES / 16) * 16;
            const int64_t from = k * static_cast<int64_t>(sizeof(typename W::Bits)) + at;
            const uint32_t bytes = first_output + row < args.out_features ? within(row_bytes, from) : 0u;
            const char* const source = static_cast<const char*>(args.weight) + (first_output + row) * row_bytes + from;
            copy_async_16(weights + (stage * FEW_OUTPUTS + row) * FEW_PITCH + at, bytes ? source : args.weight, bytes);
        }
        char* const target = inputs + stage * FEW_TOKENS * FEW_INPUT_PITCH;
        if (aligned) {
            const int vectors = DEPTH * input_bytes / 16; // 16-byte copies per row
            for (int index = thread; index < tokens * vectors; index += FEW_THREADS) {
                const int row = index / vectors, at = index % vectors * 16;
                const int64_t from = k * input_bytes + at;
                const uint32_t bytes = within(args.in_features * input_bytes, from);
                const char* const source = input + row * args.input_stride * input_bytes + from;
                copy_async_16(target + row * FEW_INPUT_PITCH + at, bytes ? source : args.weight, bytes);
            }
        } else {
            for (int index = thread; index < tokens * DEPTH; index += FEW_THREADS) {
                const int row = index / DEPTH, at = index % DEPTH;
                if (k + at < args.in_features) {
                    const uint32_t bits = load_bits(input, row * args.input_stride + k + at, args.input_type);
                    char* const place = target + row * FEW_INPUT_PITCH + at * input_bytes;
                    if (args.input_type == MK_F32) *reinterpret_cast<uint32_t*>(place) = bits;
                    else *reinterpret_cast<uint16_t*>(place) = static_cast<uint16_t>(bits);
                }
            }
        }
    };

    const int row = thread % FEW_OUTPUTS, token = thread / FEW_OUTPUTS;
    const int64_t output = first_output + row;
    const bool mine = token < tokens && output < args.out_features;
    for (int stage = 0; stage < FEW_STAGES - 1; stage++) {
        if (stage * DEPTH < in_features) load(stage * DEPTH, stage);
        copy_async_commit();
    }
    float sum = MK_FIRST;
    int stage = 0;
    for (int k = 0; k < in_features; k += DEPTH) {
        copy_async_wait<FEW_STAGES - 2>();
        __syncthreads(); // all threads have this stage, and are done with the one before, which is loaded next
        const int64_t next = static_cast<int64_t>(k) + (FEW_STAGES - 1) * DEPTH;
        if (next < in_features) load(next, (stage + FEW_STAGES - 1) % FEW_STAGES);
        copy_async_commit();
        if (mine) {
            const char* const w = weights + (stage * FEW_OUTPUTS + row) * FEW_PITCH;
            const char* const x = inputs + (stage * FEW_TOKENS + token) * FEW_INPUT_PITCH;
            const int count = in_features - k < DEPTH ? in_features - k : DEPTH;
            if (args.input_type == MK_F32) sum = few_terms<W, F32>(sum, w, x, count);
            else if (args.input_type == MK_F16) sum = few_terms<W, F16>(sum, w, x, count);
            else sum = few_terms<W, BF16>(sum, w, x, count);
        }
        stage = (stage + 1) % FEW_STAGES;
    }
    if (mine) store_product(args, first_token + token, output, __fadd_rn(sum, -MK_FIRST));
}

KERNEL_BOUNDS(mk_linear_few_rows_f32, LinearArgs, FEW_THREADS, 4) { linear_few_rows<F32>(args); }
EXPORT_KERNEL(mk_linear_few_rows_f32, LinearArgs);
KERNEL_BOUNDS(mk_linear_few_rows_f16, LinearArgs, FEW_THREADS, 4) { linear_few_rows<F16>(args); }
EXPORT_KERNEL(mk_linear_few_rows_f16, LinearArgs);
KERNEL_BOUNDS(mk_linear_few_rows_bf16, LinearArgs, FEW_THREADS, 4) { linear_few_rows<BF16>(args); }
EXPORT_KERNEL(mk_linear_few_rows_bf16, LinearArgs);
