// Neighbouring channels of one thread: as they are stored, as f32, and the loads and stores of both.
#ifndef MAMBA_KERNELS_CAUSAL_CONV1D_CHANNELS_CUH
#define MAMBA_KERNELS_CAUSAL_CONV1D_CHANNELS_CUH

#include "math.cuh"

// V channels as f32.
template <int V> struct Channels {
    float at[V];
};

// V elements of T as they are stored: one, or 16 bytes of them.
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

// The same for a whole warp, whose lanes have neighbouring channels. In groups of four numbers, lane l loads groups l
// and 32 + l, and shuffles give it groups 2 l and 2 l + 1.
DEVICE Channels<8> load_floats_of_warp(const float* source) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const float4* const groups = reinterpret_cast<const float4*>(source - 8 * lane);
    const float4 low = groups[lane], high = groups[32 + lane];
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
    float4* const groups = reinterpret_cast<float4*>(target - 8 * lane);
    const float4 even = make_float4(value.at[0], value.at[1], value.at[2], value.at[3]);
    const float4 odd = make_float4(value.at[4], value.at[5], value.at[6], value.at[7]);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int owner = half * 16 + lane / 2;
        const float4 from_even = shuffle(even, owner), from_odd = shuffle(odd, owner);
        const bool is_odd = lane % 2 != 0;
        groups[half * 32 + lane] = make_float4(is_odd ? from_odd.x : from_even.x, is_odd ? from_odd.y : from_even.y,
                                               is_odd ? from_odd.z : from_even.z, is_odd ? from_odd.w : from_even.w);
    }
}

// Numbers of V channels of each lane. `whole`: all lanes of the warp are active.
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

#endif
