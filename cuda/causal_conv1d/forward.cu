// The depthwise causal convolution, channels last, with SiLU fused and the state updated in place.
//
//   output[t, c] = activation(bias[c] + sum over j of weight[j, c] * input[t - d_conv + 1 + j, c]), oldest tap first
//
// What is done differently, and why the bits stay the same:
// 1. A thread has 16 bytes of neighbouring channels (one channel where arrays are not aligned) of one span of at most
//    64 rows, and goes down its rows. Neighbouring threads have neighbouring channels: accesses are coalesced.
// 2. Up to four taps, the last inputs stay in registers, so that each input is read once, but for the three rows before
//    a span: at most 1.05 times. A tap that a narrower filter lacks is left out, not multiplied by zero.
// 3. The next rows are on their way while one is worked on: eight of up to four channels, four of eight.
// 4. A wider filter reads its taps again, from the cache.
// 5. With eight channels a thread, a warp moves its f32 weights and states 16 bytes a lane side by side and deals them
//    out by shuffles: eight numbers of a lane would be two accesses that each fill half of their sectors.
// 6. The state of a sequence of one span is written at its end. That of a longer one is written by a second kernel,
//    since another block may still read the old state.
//
// Occupancy: 128 threads: 4 blocks per multiprocessor, 3 of f16 and bf16.
#include "math.cuh"

#define CONV_THREADS 128
#define CONV_WINDOW 4 // most taps whose inputs stay in registers

template <int V> struct Channels {
    float at[V];
};

// V elements of T: one, or 16 bytes of them.
template <class T, int V> struct Packed {
    uint4 bits;
    static __device__ __forceinline__ Packed load(const typename T::Bits* source) {
        return Packed{*reinterpret_cast<const uint4*>(source)};
    }
    __device__ __forceinline__ Channels<V> widened() const {
        const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
        Channels<V> result;
#pragma unroll
        for (int i = 0; i < V; i++) {
            if (V == 4) result.at[i] = T::widen(words[i]);
            else result.at[i] = T::widen(words[i / 2] >> (i % 2 * 16) & 0xffffu);
        }
        return result;
    }
    static __device__ __forceinline__ void store(typename T::Bits* target, const Channels<V>& value) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (V == 4) words[i] = T::narrow(value.at[i]);
            else words[i] = pair(T::narrow(value.at[2 * i % V]), T::narrow(value.at[(2 * i + 1) % V]));
        }
        *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
    }
};
template <class T> struct Packed<T, 1> {
    typename T::Bits bits;
    static __device__ __forceinline__ Packed load(const typename T::Bits* source) { return Packed{*source}; }
    __device__ __forceinline__ Channels<1> widened() const { return Channels<1>{{T::widen(bits)}}; }
    static __device__ __forceinline__ void store(typename T::Bits* target, const Channels<1>& value) {
        *target = T::narrow(value.at[0]);
    }
};

template <int V> DEVICE Channels<V> zeros() {
    Channels<V> result;
#pragma unroll
    for (int i = 0; i < V; i++) result.at[i] = 0.0f;
    return result;
}

template <int V> DEVICE Channels<V> load_floats(const float* source) {
    Channels<V> result;
    if (V == 1) {
        result.at[0] = *source;
    } else {
#pragma unroll
        for (int i = 0; i < V / 4; i++) {
            const float4 value = reinterpret_cast<const float4*>(source)[i];
            result.at[(4 * i) % V] = value.x;
            result.at[(4 * i + 1) % V] = value.y;
            result.at[(4 * i + 2) % V] = value.z;
            result.at[(4 * i + 3) % V] = value.w;
        }
    }
    return result;
}

template <int V> DEVICE void store_floats(float* target, const Channels<V>& value) {
    if (V == 1) {
        *target = value.at[0];
    } else {
#pragma unroll
        for (int i = 0; i < V / 4; i++) {
            reinterpret_cast<float4*>(target)[i] = make_float4(value.at[(4 * i) % V], value.at[(4 * i + 1) % V],
                                                               value.at[(4 * i + 2) % V], value.at[(4 * i + 3) % V]);
        }
    }
}

DEVICE float4 shuffle(const float4& value, int source) {
    return make_float4(__shfl_sync(0xffffffffu, value.x, source), __shfl_sync(0xffffffffu, value.y, source),
                       __shfl_sync(0xffffffffu, value.z, source), __shfl_sync(0xffffffffu, value.w, source));
}

// The same of a whole warp, whose lanes have neighbouring channels: pieces of four numbers, lane l reads pieces l and
// 32 + l and is given pieces 2 l and 2 l + 1.
DEVICE Channels<8> load_floats_of_warp(const float* source) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float4* const pieces = reinterpret_cast<const float4*>(source - 8 * lane);
    const float4 low = pieces[lane], high = pieces[32 + lane];
    Channels<8> result;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float4 from_low = shuffle(low, (2 * lane + i) % 32), from_high = shuffle(high, (2 * lane + i) % 32);
        result.at[4 * i] = lane < 16 ? from_low.x : from_high.x;
        result.at[4 * i + 1] = lane < 16 ? from_low.y : from_high.y;
        result.at[4 * i + 2] = lane < 16 ? from_low.z : from_high.z;
        result.at[4 * i + 3] = lane < 16 ? from_low.w : from_high.w;
    }
    return result;
}

DEVICE void store_floats_of_warp(float* target, const Channels<8>& value) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float4* const pieces = reinterpret_cast<float4*>(target - 8 * lane);
    const float4 even = make_float4(value.at[0], value.at[1], value.at[2], value.at[3]);
    const float4 odd = make_float4(value.at[4], value.at[5], value.at[6], value.at[7]);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int owner = half * 16 + lane / 2;
        const float4 from_even = shuffle(even, owner), from_odd = shuffle(odd, owner);
        const bool is_odd = lane % 2 != 0;
        pieces[half * 32 + lane] = make_float4(is_odd ? from_odd.x : from_even.x, is_odd ? from_odd.y : from_even.y,
                                               is_odd ? from_odd.z : from_even.z, is_odd ? from_odd.w : from_even.w);
    }
}

// Numbers of V channels of each lane. `whole`: all lanes of the warp are here.
template <int V> struct Floats {
    static __device__ __forceinline__ Channels<V> load(const float* source, bool) { return load_floats<V>(source); }
    static __device__ __forceinline__ void store(float* target, const Channels<V>& value, bool) {
        store_floats<V>(target, value);
    }
};
template <> struct Floats<8> {
    static __device__ __forceinline__ Channels<8> load(const float* source, bool whole) {
        return whole ? load_floats_of_warp(source) : load_floats<8>(source);
    }
    static __device__ __forceinline__ void store(float* target, const Channels<8>& value, bool whole) {
        if (whole) store_floats_of_warp(target, value);
        else store_floats<8>(target, value);
    }
};

template <int V> DEVICE void multiply_add(Channels<V>& sum, const Channels<V>& weight, const Channels<V>& x) {
#pragma unroll
    for (int i = 0; i < V; i++) sum.at[i] = __fmaf_rn(weight.at[i], x.at[i], sum.at[i]);
}

// The channels of one thread in one span.
template <class T, int V> struct Conv {
    const ConvArgs& args;
    const Span span;
    const int64_t c;
    float* state; // of this sequence, at c; null where there is none
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

    // Up to four taps: weights and the last three inputs in registers.
    __device__ __forceinline__ void narrow() const {
        constexpr int ROWS = V == 8 ? 4 : 8; // under way
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

    // The last d_conv - 1 inputs. Ascending, so that old entries are read before they are written over.
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

#define CONV_KERNEL(name, T, V)                                                                                       \
    KERNEL_BOUNDS(name, ConvArgs, CONV_THREADS, V == 4 ? 4 : 3) {                \
        if (args.vector == 1) convolve<T, 1>(args);                                                                    \
        else convolve<T, V>(args);                                                                                     \
    }                                                                                                                  \
    EXPORT_KERNEL(name, ConvArgs);

CONV_KERNEL(mk_causal_conv1d_f32, F32, 4)
CONV_KERNEL(mk_causal_conv1d_f16, F16, 8)
CONV_KERNEL(mk_causal_conv1d_bf16, BF16, 8)

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
