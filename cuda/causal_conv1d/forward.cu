// The depthwise causal convolution, channels last, with SiLU fused and the state updated in place.
//
//   output[t, c] = activation(bias[c] + sum over j of weight[j, c] * input[t - d_conv + 1 + j, c]), oldest tap first
//
// What the kernel does differently, and why the bits stay the same:
// 1. A thread has 16 bytes of neighbouring channels (one channel if the arrays are not aligned) of one span of at most
//    64 rows, and walks down the rows. Neighbouring threads have neighbouring channels: accesses are coalesced.
// 2. Up to four taps, the last inputs stay in registers, so each input is read once, except the three rows before a
//    span: at most 1.05 times. A tap that a narrower filter lacks is skipped, not multiplied by zero.
// 3. The next rows are loaded ahead: eight rows with up to four channels a thread, four rows with eight.
// 4. A wider filter reads its taps again, from the cache.
// 5. With eight channels a thread, a warp loads and stores its f32 weights and states coalesced, 16 bytes a lane, and
//    redistributes them by shuffles. A lane's own eight numbers would be two accesses that each use half of a sector.
// 6. The state of a sequence of one span is written at its end. That of a longer one is written by a second kernel,
//    since another block may still read the old state.
//
// Occupancy: 128 threads: 4 blocks per multiprocessor, 3 of f16 and bf16.
#include "causal_conv1d/channels.cuh"

#define CONV_THREADS 128
#define CONV_WINDOW 4 // most taps whose inputs stay in registers

template <int V> DEVICE void multiply_add(Channels<V>& sum, const Channels<V>& weight, const Channels<V>& x) {
#pragma unroll
    for (int i = 0; i < V; i++) sum.at[i] = __fmaf_rn(weight.at[i], x.at[i], sum.at[i]);
}

// The channels of one thread in one span.
template <class T, int V> struct Conv {
    const ConvArgs& args;
    const Span span;
    const int64_t c;
    float* state; // of this sequence, at c; null if there is none
    const bool whole; // all lanes of the warp have channels

    __device__ __forceinline__ const typename T::Bits* input(int64_t t) const {
        return static_cast<const typename T::Bits*>(args.input) + t * args.input_stride + c;
    }
    __device__ __forceinline__ typename T::Bits* output(int64_t t) const {
        return static_cast<typename T::Bits*>(args.output) + t * args.output_stride + c;
    }

    // The input of row t, which may lie before the sequence: in the state, or zeros.
    __device__ __forceinline__ Channels<V> tap(int64_t t) const {
        if (t >= span.sequence_begin) return Packed<T, V>::load(input(t)).widened();
        if (state == nullptr) return zeros<V>();
        return Floats<V>::load(state + (args.d_conv - 1 + t - span.sequence_begin) * args.channels, whole);
    }

    __device__ __forceinline__ Channels<V> bias() const {
        return args.bias == nullptr ? zeros<V>() : Floats<V>::load(args.bias + c, whole);
    }

    __device__ __forceinline__ void finish(int64_t t, Channels<V>& sum) const {
        if (args.silu) {
#pragma unroll
            for (int i = 0; i < V; i++) sum.at[i] = silu(sum.at[i]);
        }
        Packed<T, V>::store(output(t), sum);
    }

    __device__ __forceinline__ bool writes_state() const {
        return state != nullptr && span.begin == span.sequence_begin && span.end == span.sequence_end;
    }

    // Up to four taps: the weights and the last three inputs are in registers.
    __device__ __forceinline__ void narrow() const {
        constexpr int ROWS = V == 8 ? 4 : 8; // loaded ahead
        const int first = CONV_WINDOW - static_cast<int>(args.d_conv); // places without a tap
        Channels<V> weight[CONV_WINDOW], past[CONV_WINDOW - 1];
#pragma unroll
        for (int j = 0; j < CONV_WINDOW; j++) {
            weight[j] = zeros<V>();
            if (j >= first) weight[j] = Floats<V>::load(args.weight + (j - first) * args.channels + c, whole);
            if (j < CONV_WINDOW - 1) past[j] = j >= first ? tap(span.begin - (CONV_WINDOW - 1) + j) : zeros<V>();
        }
        const Channels<V> start = bias();
        Packed<T, V> ahead[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            if (span.begin + i < span.end) ahead[i] = Packed<T, V>::load(input(span.begin + i));
        }
#pragma unroll 1
        for (int64_t t = span.begin; t < span.end; t += ROWS) {
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                if (t + i < span.end) {
                    const Channels<V> x = ahead[i].widened();
                    if (t + ROWS + i < span.end) ahead[i] = Packed<T, V>::load(input(t + ROWS + i));
                    Channels<V> sum = start;
#pragma unroll
                    for (int j = 0; j < CONV_WINDOW - 1; j++) {
                        if (j >= first) multiply_add(sum, weight[j], past[j]);
                        past[j] = j + 1 < CONV_WINDOW - 1 ? past[(j + 1) % (CONV_WINDOW - 1)] : x;
                    }
                    multiply_add(sum, weight[CONV_WINDOW - 1], x);
                    finish(t + i, sum);
                }
            }
        }
        if (writes_state()) {
#pragma unroll
            for (int j = 0; j < CONV_WINDOW - 1; j++) {
                if (j >= first) Floats<V>::store(state + (j - first) * args.channels, past[j], whole);
            }
        }
    }

    // Any number of taps.
    __device__ __forceinline__ void wide() const {
        const int64_t taps = args.d_conv;
        const Channels<V> start = bias();
        for (int64_t t = span.begin; t < span.end; t++) {
            Channels<V> sum = start;
            for (int64_t j = 0; j < taps; j++) {
                multiply_add(sum, Floats<V>::load(args.weight + j * args.channels + c, whole), tap(t - taps + 1 + j));
            }
            finish(t, sum);
        }
        if (writes_state()) write_state();
    }

    // The last d_conv - 1 inputs. In ascending order, so old entries are read before they are overwritten.
    __device__ __forceinline__ void write_state() const {
        const int64_t rows = static_cast<int64_t>(args.d_conv) - 1;
        for (int64_t i = 0; i < rows; i++) {
            Floats<V>::store(state + i * args.channels, tap(span.sequence_end - rows + i), whole);
        }
    }
};

DEVICE float* conv_state(const ConvArgs& args, const Span& span, int64_t c) {
    if (args.state == nullptr || span.slot == MK_PADDING) return nullptr;
    return args.state + static_cast<int64_t>(span.slot) * (args.d_conv - 1) * args.channels + c;
}

template <class T, int V> DEVICE void convolve(const ConvArgs& args) {
    const int64_t c = (static_cast<int64_t>(blockIdx.y) * CONV_THREADS + threadIdx.x) * V;
    if (c >= args.channels) return;
    const Span span = args.spans[blockIdx.x];
    const int64_t lanes_end = c + (32 - static_cast<int64_t>(threadIdx.x) % 32) * V; // past the warp's last channel
    const Conv<T, V> conv{args, span, c, conv_state(args, span, c), lanes_end <= args.channels};
    if (span.slot == MK_PADDING) {
        for (int64_t t = span.begin; t < span.end; t++) Packed<T, V>::store(conv.output(t), zeros<V>());
    } else if (args.d_conv <= CONV_WINDOW) {
        conv.narrow();
    } else {
        conv.wide();
    }
}

// The kernel for inputs of T: V channels a thread, or one if the arrays are not aligned.
template <class T, int V> DEVICE void convolve_aligned(const ConvArgs& args) {
    if (args.vector == 1) convolve<T, 1>(args);
    else convolve<T, V>(args);
}

KERNEL_BOUNDS(mk_causal_conv1d_f32, ConvArgs, CONV_THREADS, 4) { convolve_aligned<F32, 4>(args); }
EXPORT_KERNEL(mk_causal_conv1d_f32, ConvArgs);
KERNEL_BOUNDS(mk_causal_conv1d_f16, ConvArgs, CONV_THREADS, 3) { convolve_aligned<F16, 8>(args); }
EXPORT_KERNEL(mk_causal_conv1d_f16, ConvArgs);
KERNEL_BOUNDS(mk_causal_conv1d_bf16, ConvArgs, CONV_THREADS, 3) { convolve_aligned<BF16, 8>(args); }
EXPORT_KERNEL(mk_causal_conv1d_bf16, ConvArgs);

// The state of the sequences that have more than one span.
template <class T> DEVICE void write_conv_state(const ConvArgs& args) {
    const int64_t c = static_cast<int64_t>(blockIdx.y) * CONV_THREADS + threadIdx.x;
    const Span span = args.spans[blockIdx.x];
    if (c >= args.channels || span.begin == span.sequence_begin || span.end != span.sequence_end) return;
    const Conv<T, 1> conv{args, span, c, conv_state(args, span, c), false};
    if (conv.state != nullptr) conv.write_state();
}

KERNEL_BOUNDS(mk_causal_conv1d_state, ConvArgs, CONV_THREADS, 4) {
    if (args.type == MK_F32) write_conv_state<F32>(args);
    else if (args.type == MK_F16) write_conv_state<F16>(args);
    else write_conv_state<BF16>(args);
}
EXPORT_KERNEL(mk_causal_conv1d_state, ConvArgs);
