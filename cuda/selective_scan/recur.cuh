// The second pass of the selective scan over a tile: the recurrence, with the states in registers.
#ifndef MAMBA_KERNELS_SELECTIVE_SCAN_RECUR_CUH
#define MAMBA_KERNELS_SELECTIVE_SCAN_RECUR_CUH

#include "selective_scan/tile.cuh"

// What a lane scans: the states n with n mod 4 = lane of one channel.
struct ScanLane {
    int lane, channel;
    bool exists; // whether the block has this channel
    __device__ __forceinline__ explicit ScanLane(const ScanBlock& block)
        : lane(static_cast<int>(threadIdx.x) % SCAN_LANES), channel(static_cast<int>(threadIdx.x) / SCAN_LANES),
          exists(channel < block.count) {}
};

// The states of one lane: h[i] is state 4 * i + lane of its channel.
template <int S> struct States {
    float h[S];
    float a_log2e[S == 4 ? 4 : 1]; // more of them would take too many registers, and lie in shared memory
};

// Loads the states that a span starts from, and a * log2 e. The least and greatest of the latter of each channel go to
// shared memory; a NaN among them stays one.
template <int S, bool OUTPUT>
DEVICE void load_states(States<S>& states, const ScanArgs& args, const ScanShared& shared, const Span& span,
                        const ScanBlock& block, const ScanLane& at) {
    const int64_t start = OUTPUT && args.chunked ? static_cast<int64_t>(blockIdx.x) : static_cast<int64_t>(span.slot);
    const float* state_in = OUTPUT && args.chunked ? args.chunk_state : args.state_in;
    if (!OUTPUT && span.begin != span.sequence_begin) state_in = nullptr;
    float lowest = 0.0f, highest = 0.0f;
#pragma unroll
    for (int i = 0; i < S; i += 4) {
        if (S == 64 && i % 8 == 0) __syncthreads(); // else the compiler loads all at once, into too many registers
        float a4[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int n = 4 * (i + k) + at.lane;
            states.h[i + k] = 0.0f;
            a4[k] = 0.0f;
            if (n < block.states && at.exists) {
                const int64_t place = (block.first_state + n) * args.channels + block.first + at.channel;
                const float a = __fmul_rn(args.a[place], MK_LOG2_E);
                a4[k] = a;
                if (a < lowest || a != a) lowest = a;
                if (a > highest || a != a) highest = a;
                if (state_in != nullptr) states.h[i + k] = state_in[start * args.d_state * args.channels + place];
            }
            if (S == 4) states.a_log2e[k % (S == 4 ? 4 : 1)] = a4[k];
        }
        if (S != 4) {
            shared.a[i / 4 * SCAN_THREADS + static_cast<int>(threadIdx.x)] = make_float4(a4[0], a4[1], a4[2], a4[3]);
        }
    }
#pragma unroll
    for (int distance = 1; distance < SCAN_LANES; distance *= 2) {
        const float low = __shfl_xor_sync(0xffffffffu, lowest, distance);
        const float high = __shfl_xor_sync(0xffffffffu, highest, distance);
        if (low < lowest || low != low) lowest = low;
        if (high > highest || high != high) highest = high;
    }
    if (at.lane == 0) {
        shared.lowest[at.channel] = lowest;
        shared.highest[at.channel] = highest;
    }
}

// Stores the states that a span ends in: those of the sequence, or of the chunk with its sum of delta.
template <int S, bool OUTPUT>
DEVICE void store_states(const States<S>& states, float delta_sum, const ScanArgs& args, const Span& span,
                         const ScanBlock& block, const ScanLane& at) {
    float* state_out = OUTPUT ? args.state_out : args.chunk_state;
    if (OUTPUT && span.end != span.sequence_end) state_out = nullptr;
    const int64_t end = OUTPUT ? static_cast<int64_t>(span.slot) : static_cast<int64_t>(blockIdx.x);
    const int64_t channel = block.first + at.channel;
    if (state_out != nullptr && at.exists) {
#pragma unroll
        for (int i = 0; i < S; i++) {
            const int n = 4 * i + at.lane;
            if (n < block.states) {
                state_out[(end * args.d_state + block.first_state + n) * args.channels + channel] = states.h[i];
            }
        }
    }
    if (!OUTPUT && at.exists && at.lane == 0 && blockIdx.z == 0) {
        args.chunk_delta[blockIdx.x * args.channels + channel] = delta_sum;
    }
}

// One token: advances the states and returns the lane's sum of y (if OUTPUT). FULL: all S states exist. INSIDE:
// exp2_inside may be used, and delta * u is not below MK_QUIET.
template <int S, bool OUTPUT, bool FULL, bool INSIDE>
DEVICE float scan_token(States<S>& states, const ScanShared& shared, int row, int channel, int lane, int d_state) {
    float2 delta_du = shared.delta_du[row * SCAN_CHANNELS + channel];
    const bool quiet = !INSIDE && neg_abs(delta_du.y) > -MK_QUIET;
    if (quiet) delta_du.y = 0.0f;
    constexpr int A = S == 4 ? 4 : 1;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < S; i += 4) {
        if (FULL || 4 * i < d_state) {
            const int at = row * (S * SCAN_LANES) + i * 4 + lane * 4;
            const float4 b4 = *reinterpret_cast<const float4*>(shared.b + at);
            float4 c4 = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (OUTPUT) c4 = *reinterpret_cast<const float4*>(shared.c + at);
            float4 a4;
            if (S == 4) {
                const auto& a = states.a_log2e;
                a4 = make_float4(a[0], a[1 % A], a[2 % A], a[3 % A]);
            } else {
                a4 = shared.a[i / 4 * SCAN_THREADS + static_cast<int>(threadIdx.x)];
            }
            const float a[4] = {a4.x, a4.y, a4.z, a4.w};
            const float b[4] = {b4.x, b4.y, b4.z, b4.w}, c[4] = {c4.x, c4.y, c4.z, c4.w};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (FULL || 4 * (i + k) + lane < d_state) {
                    const float x = __fmul_rn(delta_du.x, a[k]);
                    const float decay = INSIDE ? exp2_inside(x) : exp2_exact(x);
                    states.h[i + k] = __fmaf_rn(decay, states.h[i + k], __fmul_rn(delta_du.y, b[k]));
                    if (quiet && neg_abs(states.h[i + k]) > -MK_QUIET) states.h[i + k] = 0.0f;
                    if (OUTPUT) sum = __fmaf_rn(c[k], states.h[i + k], sum);
                }
            }
        }
    }
    return sum;
}

// The tokens of one tile.
template <int S, bool OUTPUT, bool FULL, bool INSIDE>
DEVICE void scan_tile(States<S>& states, float& delta_sum, const ScanShared& shared, int rows, int channel, int lane,
                      int d_state) {
    if (!OUTPUT) {
        constexpr int TOGETHER = S == 4 ? 4 : 1;
#pragma unroll TOGETHER
        for (int row = 0; row < rows; row++) {
            scan_token<S, OUTPUT, FULL, INSIDE>(states, shared, row, channel, lane, d_state);
            delta_sum = __fadd_rn(delta_sum, shared.delta_du[row * SCAN_CHANNELS + channel].x);
        }
        return;
    }
    int row = 0;
    if (S == 4) {
#pragma unroll 1
        for (; row + 4 <= rows; row += 4) {
            float s[4];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                s[k] = scan_token<S, OUTPUT, FULL, INSIDE>(states, shared, row + k, channel, lane, d_state);
            }
            // lane j ends up with row + j
            const bool odd = lane % 2 != 0, upper = lane / 2 != 0;
            const float low = __fadd_rn(odd ? s[1] : s[0], __shfl_xor_sync(0xffffffffu, odd ? s[0] : s[1], 1));
            const float high = __fadd_rn(odd ? s[3] : s[2], __shfl_xor_sync(0xffffffffu, odd ? s[2] : s[3], 1));
            const float y = __fadd_rn(upper ? high : low, __shfl_xor_sync(0xffffffffu, upper ? low : high, 2));
            shared.y[y_at(row + lane, channel)] = y;
        }
    }
#pragma unroll 1
    for (; row < rows; row++) {
        const float sum = scan_token<S, OUTPUT, FULL, INSIDE>(states, shared, row, channel, lane, d_state);
        const float half = __fadd_rn(sum, __shfl_xor_sync(0xffffffffu, sum, 1));
        const float y = __fadd_rn(half, __shfl_xor_sync(0xffffffffu, half, 2));
        if (lane == 0) shared.y[y_at(row, channel)] = y;
    }
}

#endif
