// The arguments of every kernel, the layout of weights, and how each kernel is launched.
//
// A kernel takes exactly one of these structs, by value. They are plain C: pointers, then 64-bit, then 32-bit fields,
// no hidden padding, sizes a multiple of 8. `src/cuda/args.rs` mirrors them; a test compares the sizes.
//
// Strides count elements. A null pointer is an absent argument. Pointers to elements are aligned to the element only; a
// kernel tests itself whether 16-byte accesses are possible, except the convolution, whose grid depends on it. Nothing
// is launched if an output has no elements; grids are never empty.
// CEIL(a, b) below is a / b rounded up. `shared` is dynamic shared memory in bytes; none needs an opt-in (48 KiB).
#ifndef MAMBA_KERNELS_ARGS_H
#define MAMBA_KERNELS_ARGS_H

#if defined(MAMBA_EXECUTOR)
// the executor has included <cstdint>
#elif defined(__CUDACC_RTC__)
typedef signed int int32_t;
typedef unsigned int uint32_t;
typedef unsigned short uint16_t;
typedef unsigned char uint8_t;
typedef signed long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

// Storage types, wherever a field is called `..._type`.
#define MK_F32 0u
#define MK_F16 1u
#define MK_BF16 2u

// The weight matrix [out_features, in_features] is stored row by row, as PyTorch does, in its own type. Each row is
// padded to a multiple of 32 bytes, `weight_stride` elements, with -0.0 (bits 0x80000000 or 0x8000); the first row
// starts at a multiple of 256 bytes. A product of +0.0 and -0.0 is the neutral element of a sum, so the padding changes
// no bit of a result.

// Consecutive rows of a sequence: rows begin..end of every [tokens, ...] array, of the sequence
// sequence_begin..sequence_end.
//
// The spans of a launch are all sequences of the batch cut into spans of at most CUT rows, measured from the start of
// the sequence, in order. An empty sequence has no span. CUT is a constant per op:
#define MK_CONV_CUT 64u     // mk_causal_conv1d_*
#define MK_CHUNK_CUT 128u   // the chunked scan; the exact scan takes whole sequences
#define MK_PADDING 0xffffffffu // the slot of a padding sequence: outputs are zeros, no state is touched
struct Span {
    int64_t begin;
    int64_t end;
    int64_t sequence_begin;
    int64_t sequence_end;
    uint32_t slot;
    uint32_t reserved; // 0
}; // 40 bytes

// output = epilogue(input * weight^T + bias). `linear` and `in_proj`.
//
// Column j of the product goes to column j of `output` if j < split, else to column j - split of `output_high`.
// `linear` has split = out_features and no output_high. in_features may be 0.
//
// kernel                  grid                                                  block  shared
// mk_linear_exact_128     [CEIL(tokens, 128), CEIL(out_features, 128), 1]        256      32768
// mk_linear_exact_64      [CEIL(tokens, 64), CEIL(out_features, 64), 1]          256      16384
// mk_linear_few_rows_W        [CEIL(out_features, 16), CEIL(tokens, 8), 1]           128          0
// mk_linear_tensor_cores_W[CEIL(tokens, 128), CEIL(out_features, 128), 1]        256      49152
//
// All exact kernels give the same bits for all types. The host launches `few_rows` if tokens <= 8; else `exact_128` if
// that grid has at least as many blocks as the device has multiprocessors; else `exact_64`. W is f32, f16 or bf16, the
// type of the weight; the types of input and output are fields.
// `tensor_cores` (sm_80 and later, W f16 or bf16) is inexact. It needs input_type = weight_type, `input` at a multiple
// of 16 bytes and input_stride a multiple of 8; for anything else mk_convert makes such an input first, with
// output_stride = in_features rounded up to 8.
#define MK_EPILOGUE_STORE 0u
#define MK_EPILOGUE_SOFTPLUS 1u
#define MK_EPILOGUE_RESIDUAL 2u // sum + the old value of the output
struct LinearArgs {
    const void* weight;
    const void* input;
    const float* bias; // [out_features] or null
    void* output;
    void* output_high; // null if split = out_features
    int64_t weight_stride;
    int64_t input_stride;
    int64_t output_stride;
    int64_t output_high_stride;
    int64_t tokens;
    int64_t in_features;
    int64_t out_features;
    int64_t split;
    uint32_t weight_type;
    uint32_t input_type;
    uint32_t output_type;
    uint32_t epilogue;
}; // 120 bytes

// output = input in another type, rounded to nearest even. Columns from `columns` to output_stride are not written.
// mk_convert              [CEIL(columns, 1024), min(rows, 65535), 1]             256          0
struct ConvertArgs {
    const void* input;
    void* output;
    int64_t input_stride;
    int64_t output_stride;
    int64_t rows;
    int64_t columns;
    uint32_t input_type;
    uint32_t output_type;
}; // 56 bytes

// The depthwise causal convolution; T is the type of input and output: f32, f16, bf16.
//
// vector = 16 / sizeof(T) if input, output, weight, bias and state are at multiples of 16 bytes and channels and both
// strides are multiples of 16 / sizeof(T); else vector = 1.
// mk_causal_conv1d_T      [spans, CEIL(channels, 128 * vector), 1]               128          0
// mk_causal_conv1d_state  [spans, CEIL(channels, 128), 1]                        128          0
// The second runs after the first if there is a state, d_conv > 1 and some sequence has more than one span: it writes
// the state of those sequences. The first writes that of all others.
struct ConvArgs {
    const void* input;   // [tokens, channels]
    const float* weight; // [d_conv, channels], the oldest tap first
    const float* bias;   // [channels] or null
    float* state;        // [slots, d_conv - 1, channels] or null
    void* output;        // [tokens, channels]
    const struct Span* spans; // cut at MK_CONV_CUT
    int64_t input_stride;
    int64_t output_stride;
    int64_t channels;
    uint32_t d_conv;
    uint32_t silu;       // 1: SiLU after the sum
    uint32_t type;       // for mk_causal_conv1d_state; the same as T
    uint32_t vector;
}; // 88 bytes

// The selective scan. S is 4, 16 or 64: the least with d_state <= 4 * S.
//
// Let columns = n_groups * CEIL(channels / n_groups, 16): a block has 16 channels of one group.
// Exact: spans are whole sequences, chunked = 0, state_in = state_out = the pool (or both null).
// mk_scan_exact_S         [spans, columns, 1]                                     64          0
// Chunked (inexact), R = min(S, 16): spans are cut at MK_CHUNK_CUT. Three launches with the same ScanArgs except
// `chunked`, and the scratch arrays chunk_state [spans, d_state, channels] and chunk_delta [spans, channels], f32:
// mk_scan_chunk_R         [spans, columns, CEIL(d_state, 4 * R)]                  64          0
// mk_scan_combine         [spans, CEIL(channels, 128), d_state]                   128          0
// mk_scan_exact_S         [spans, columns, 1], with chunked = 1                   64          0
// The first leaves the end state of each chunk but a sequence's last, the first from the pool's state and others from
// zeros, and its sum of delta; the second turns the end states into start states; the third makes the outputs, and the
// state that the last chunk of a sequence ends in.
struct ScanArgs {
    const void* u;        // [tokens, channels]
    const void* delta;    // [tokens, channels]
    const void* b;        // [tokens, n_groups * d_state]
    const void* c;        // [tokens, n_groups * d_state]
    const void* z;        // [tokens, channels] or null
    const float* a;       // [d_state, channels]
    const float* d;       // [channels] or null
    const float* delta_bias; // [channels] or null
    const float* state_in;   // [slots, d_state, channels] or null
    float* state_out;        // the same array, or null
    float* chunk_state;      // null for the exact scan
    float* chunk_delta;      // null for the exact scan
    void* output;         // [tokens, channels]
    const struct Span* spans;
    int64_t u_stride;
    int64_t delta_stride;
    int64_t b_stride;
    int64_t c_stride;
    int64_t z_stride;
    int64_t output_stride;
    int64_t channels;
    int64_t span_count;
    uint32_t d_state;     // 1 to 256
    uint32_t n_groups;
    uint32_t delta_softplus;
    uint32_t type;        // of u, delta, b, c, z and output
    uint32_t chunked;     // 1: the start state of span i is chunk_state[i]
    uint32_t reserved;    // 0
}; // 200 bytes

// RMSNorm with the residual add.
// mk_rms_norm             [tokens, 1, 1]                            128      4 * min(channels rounded up to 16, 8192)
// `tile` is that number of floats, the shared memory over 4.
struct NormArgs {
    const void* input;   // [tokens, channels]
    float* residual;     // [tokens, channels] or null; read and written
    const float* weight; // [channels] or null
    void* output;        // [tokens, channels]
    int64_t input_stride;
    int64_t residual_stride;
    int64_t output_stride;
    int64_t channels;
    float eps;
    uint32_t input_type;
    uint32_t output_type;
    uint32_t tile;
}; // 80 bytes

// Rows of a weight matrix by token. A token that is not below vocab gives a row of NaN; the host checks first.
// mk_embedding            [count, CEIL(d_model, 512), 1]                         128          0
struct EmbeddingArgs {
    const uint32_t* tokens; // [count]
    const void* weight;     // [vocab, d_model], a packed weight
    void* output;           // [count, d_model]
    int64_t weight_stride;
    int64_t output_stride;
    int64_t vocab;
    int64_t d_model;
    uint32_t weight_type;
    uint32_t output_type;
}; // 64 bytes

// The first column of the largest value of each row, or 0xffffffff if the row has a NaN or +infinity, which the
// sampler refuses. columns is from 1 to 2^32 - 1.
// mk_argmax               [rows, 1, 1]                                           256          0
struct ArgmaxArgs {
    const void* input; // [rows, columns]
    uint32_t* output;  // [rows]
    int64_t stride;
    int64_t columns;
    uint32_t type;
    uint32_t reserved; // 0
}; // 40 bytes

#endif
