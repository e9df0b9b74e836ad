// The selective scan with everything around it fused.
//
//   delta = softplus(delta + delta_bias); du = delta * u              (bias and softplus optional)
//   for n ascending: h[n] = fma(exp2(delta * (a[n] * log2 e)), h[n], du * b[n]); s[n mod 4] = fma(c[n], h[n], s[n mod 4])
//   output = fma(u, d, (s[0] + s[1]) + (s[2] + s[3])) * silu(z)       (d and z optional)
//
// What is done differently, and why the bits stay the same:
// 1. Four lanes have one channel; lane j has the states n with n mod 4 = j in registers, up to S of them, and so makes
//    exactly the sum s[j]. Shuffles combine the four as the contract says; an addition may be turned around.
// 2. A block has sixteen channels of one group and goes through time in tiles. At the start of a tile all threads load u,
//    delta, B and C, coalesced, apply bias and softplus once per element, and leave the results in shared memory: B and
//    C are read once per block. What the next tile needs is on its way meanwhile (S = 4). At the end they gate and store.
// 3. If for all of a tile delta * a * log2 e is between -125 and 126, which is usual, 2^x needs no clamps and one
//    addition in place of two multiplications: the same bits, as exp2_inside says.
// 4. With four states per lane, four tokens are combined together, so that each lane ends up with the y of one.
// States beyond d_state are skipped, tiles may be partial: any length takes the same path. The states of a chunk need no
// sum, so that the chunk kernel shares out more than 64 of them to several blocks.
//
// The chunked form (inexact) runs chunks of 128 rows of a sequence at the same time:
//   mk_scan_chunk: the end state of each chunk but the last, the first from the state of the sequence and the others from
//     h = 0, and its sum of delta; no outputs
//   mk_scan_combine: start[1] = end[0], start[i + 1] = fma(exp2(sum of delta[i] * (a * log2 e)), start[i], end[i]), one
//     thread per state
//   mk_scan_exact, each chunk from its start state; the last leaves the state of the sequence
// Chunks are cut from the start of a sequence, so a result does not depend on what else is in the batch, and one of a
// single chunk is exact. The bits are those of the CPU's scan in chunks of 128 tokens.
//
// Occupancy, 64 threads, blocks per multiprocessor: exact 8, 6 and 4 for S of 4, 16 and 64; chunk 8 and 6; 8 of 128
// threads combine. Where a lane has more than four states, a * log2 e lies in shared memory, to save registers.
#include "math.cuh"

#define SCAN_THREADS 64
#define SCAN_CHANNELS 16
#define SCAN_LANES 4

// Rows of a tile.
template <int S> struct ScanTile {
    static constexpr int ROWS = S == 4 ? 32 : S == 16 ? 16 : 8;
    static constexpr int STEP = SCAN_THREADS / SCAN_CHANNELS; // a thread has every STEP-th row of [rows, channels]
    static constexpr int COUNT = ROWS / STEP;
};

struct ScanShared {
    float2* delta_du; // [ROWS][16]
    float* u;         // [ROWS][16]; null without outputs
    float* y;         // [ROWS][16], see y_at; null without outputs
    float* b;         // [ROWS][4 * S], see state_at
    float* c;         // the same; null without outputs
    float4* a;        // [S / 4][64]: a * log2 e of each lane's states, four together; null where registers hold them
    float* lowest;    // [16]: the least a * log2 e of each channel
    float* highest;   // [16]
};

// Where state n lies in a row: the four states 4 i + j, i ascending, of lane j side by side, for one 16-byte load.
DEVICE int state_at(int n) { return n / 16 * 16 + n % 4 * 4 + n / 4 % 4; }

// Where y of a channel lies: two rows in four are permuted, so that four rows of eight channels use all banks.
DEVICE int y_at(int row, int channel) { return row * SCAN_CHANNELS + (channel ^ (row & 2) << 2); }

// The channels and states of this block.
struct ScanBlock {
    int64_t first;       // the first channel
    int count;           // 1 to 16
    int64_t first_state; // 0, but in the chunk kernel for blocks with a further 4 * S states
    int states;          // 1 to 4 * S
    int64_t parameters;  // of b and c: where the states begin in a row
    __device__ __forceinline__ ScanBlock(const ScanArgs& args, int64_t first_state, int most_states)
        : first_state(first_state) {
        const int64_t in_group = args.channels / args.n_groups;
        const int64_t per_group = (in_group + SCAN_CHANNELS - 1) / SCAN_CHANNELS;
        const int64_t index = blockIdx.y % per_group, owner = blockIdx.y / per_group;
        first = owner * in_group + index * SCAN_CHANNELS;
        const int64_t left = in_group - index * SCAN_CHANNELS;
        count = left < SCAN_CHANNELS ? static_cast<int>(left) : SCAN_CHANNELS;
        const int64_t states_left = args.d_state - first_state;
        states = states_left < most_states ? static_cast<int>(states_left) : most_states;
        parameters = owner * args.d_state + first_state;
    }
};

// A thread loads a column of a tile: COUNT elements, `step` apart, the first `there` of them; zeros for the others. They
// are as they are stored, so that nothing waits for them yet. The type is looked at once.
template <int COUNT> DEVICE void load_column(uint32_t (&bits)[COUNT], const void* data, int64_t at, int64_t step,
                                             int there, uint32_t type) {
    if (type == MK_F32) {
        const uint32_t* source = static_cast<const uint32_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, source += step) {
            bits[i] = 0;
            if (i < there) bits[i] = *source;
        }
    } else {
        const uint16_t* source = static_cast<const uint16_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, source += step) {
            bits[i] = 0;
            if (i < there) bits[i] = *source;
        }
    }
}

// To the bits of an f32.
template <int COUNT> DEVICE void widen_column(uint32_t (&bits)[COUNT], uint32_t type) {
    if (type == MK_BF16) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) bits[i] <<= 16;
    } else if (type == MK_F16) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) bits[i] = __float_as_uint(f16_to_f32(static_cast<uint16_t>(bits[i])));
    }
}

template <int COUNT> DEVICE void store_column(void* data, int64_t at, int64_t step, int there,
                                              const float (&value)[COUNT], uint32_t type) {
    if (type == MK_F32) {
        float* target = static_cast<float*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, target += step) {
            if (i < there) *target = value[i];
        }
    } else {
        uint16_t* target = static_cast<uint16_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, target += step) {
            if (i < there) *target = narrow_half(value[i], type);
        }
    }
}

// b or c of a tile: [ROWS, 4 * S]. A thread has PARTS columns of it, and every STEP-th row.
template <int S> struct Parameters {
    static constexpr int COLUMNS = S * SCAN_LANES;
    static constexpr int PARTS = COLUMNS > SCAN_THREADS ? COLUMNS / SCAN_THREADS : 1;
    static constexpr int STEP = COLUMNS < SCAN_THREADS ? SCAN_THREADS / COLUMNS : 1;
    static constexpr int COUNT = ScanTile<S>::ROWS / STEP;
    uint32_t bits[COUNT];

    static __device__ __forceinline__ int column(int part) {
        return static_cast<int>(threadIdx.x) % COLUMNS + part * SCAN_THREADS;
    }
    static __device__ __forceinline__ int first_row() { return static_cast<int>(threadIdx.x) / COLUMNS; }

    __device__ __forceinline__ void load(int part, const void* data, int64_t stride, int64_t row, int rows,
                                         const ScanBlock& block, uint32_t type) {
        const int n = column(part), r = first_row();
        const int there = n < block.states ? (rows - r + STEP - 1) / STEP : 0;
        load_column(bits, data, (row + r) * stride + block.parameters + n, STEP * stride, there, type);
    }

    __device__ __forceinline__ void store(int part, float* shared, uint32_t type) {
        widen_column(bits, type);
        float* const target = shared + first_row() * COLUMNS + state_at(column(part));
#pragma unroll
        for (int i = 0; i < COUNT; i++) target[i * STEP * COLUMNS] = __uint_as_float(bits[i]);
    }

    // All of it at once.
    __device__ __forceinline__ void copy(float* shared, const void* data, int64_t stride, int64_t row, int rows,
                                         const ScanBlock& block, uint32_t type) {
#pragma unroll 1
        for (int part = 0; part < PARTS; part++) {
            load(part, data, stride, row, rows, block, type);
            store(part, shared, type);
        }
    }
};

// The states of one lane.
template <int S> struct States {
    float h[S];
    float a_log2e[S == 4 ? 4 : 1]; // more of them would take too many registers, and lie in shared memory
};

// One token: the states go a step on, and the lane's sum of y comes out (if OUTPUT). FULL: all states are there.
// INSIDE: exp2_inside may be used.
template <int S, bool OUTPUT, bool FULL, bool INSIDE>
DEVICE float scan_token(States<S>& states, const ScanShared& shared, int row, int channel, int lane, int d_state) {
    const float2 delta_du = shared.delta_du[row * SCAN_CHANNELS + channel];
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
            if (S == 4) a4 = make_float4(states.a_log2e[0], states.a_log2e[1 % A], states.a_log2e[2 % A], states.a_log2e[3 % A]);
            else a4 = shared.a[i / 4 * SCAN_THREADS + static_cast<int>(threadIdx.x)];
            const float a[4] = {a4.x, a4.y, a4.z, a4.w};
            const float b[4] = {b4.x, b4.y, b4.z, b4.w}, c[4] = {c4.x, c4.y, c4.z, c4.w};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (FULL || 4 * (i + k) + lane < d_state) {
                    const float x = __fmul_rn(delta_du.x, a[k]);
                    const float decay = INSIDE ? exp2_inside(x) : exp2_exact(x);
                    states.h[i + k] = __fmaf_rn(decay, states.h[i + k], __fmul_rn(delta_du.y, b[k]));
                    if (OUTPUT) sum = __fmaf_rn(c[k], states.h[i + k], sum);
                }
            }
        }
    }
    return sum;
}

// The rows of one tile.
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

// Zeros for a padding sequence.
DEVICE void scan_padding(const ScanArgs& args, const Span& span, const ScanBlock& block) {
    const int channel = static_cast<int>(threadIdx.x) % SCAN_CHANNELS;
    if (channel >= block.count) return;
    for (int64_t t = span.begin + threadIdx.x / SCAN_CHANNELS; t < span.end; t += SCAN_THREADS / SCAN_CHANNELS) {
        store_element(args.output, t * args.output_stride + block.first + channel, args.type, 0.0f);
    }
}

template <int S, bool OUTPUT> DEVICE void scan(const ScanArgs& args, const ScanShared& shared) {
    using Tile = ScanTile<S>;
    constexpr bool AHEAD = S == 4; // b and c of the next tile are loaded ahead: more states leave no registers for it
    const Span span = args.spans[blockIdx.x];
    const ScanBlock block(args, OUTPUT ? 0 : static_cast<int64_t>(blockIdx.z) * (S * SCAN_LANES), S * SCAN_LANES);
    if (span.slot == MK_PADDING) {
        if (OUTPUT) scan_padding(args, span, block);
        return;
    }
    if (!OUTPUT && span.end == span.sequence_end) return; // no chunk starts from the end of the last
    const int d_state = block.states;
    const int thread = static_cast<int>(threadIdx.x), lane = thread % SCAN_LANES, channel = thread / SCAN_LANES;
    const bool mine = channel < block.count;

    // states and a
    const int64_t start = OUTPUT && args.chunked ? static_cast<int64_t>(blockIdx.x) : static_cast<int64_t>(span.slot);
    const float* state_in = OUTPUT && args.chunked ? args.chunk_state : args.state_in;
    if (!OUTPUT && span.begin != span.sequence_begin) state_in = nullptr;
    States<S> states;
    float lowest = 0.0f, highest = 0.0f;
#pragma unroll
    for (int i = 0; i < S; i += 4) {
        if (S == 64 && i % 8 == 0) __syncthreads(); // else the compiler loads all at once, into too many registers
        float a4[4];
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const int n = 4 * (i + k) + lane;
            states.h[i + k] = 0.0f;
            a4[k] = 0.0f;
            if (n < d_state && mine) {
                const int64_t at = (block.first_state + n) * args.channels + block.first + channel;
                const float a = __fmul_rn(args.a[at], MK_LOG2_E);
                a4[k] = a;
                if (a < lowest || a != a) lowest = a; // a NaN stays
                if (a > highest || a != a) highest = a;
                if (state_in != nullptr) states.h[i + k] = state_in[start * args.d_state * args.channels + at];
            }
            if (S == 4) states.a_log2e[k % (S == 4 ? 4 : 1)] = a4[k];
        }
        if (S != 4) shared.a[i / 4 * SCAN_THREADS + thread] = make_float4(a4[0], a4[1], a4[2], a4[3]);
    }
#pragma unroll
    for (int distance = 1; distance < SCAN_LANES; distance *= 2) {
        const float low = __shfl_xor_sync(0xffffffffu, lowest, distance);
        const float high = __shfl_xor_sync(0xffffffffu, highest, distance);
        if (low < lowest || low != low) lowest = low;
        if (high > highest || high != high) highest = high;
    }
    if (lane == 0) {
        shared.lowest[channel] = lowest;
        shared.highest[channel] = highest;
    }

    // what a thread loads and stores of [rows, channels] is of one channel
    const int column = thread % SCAN_CHANNELS;
    const bool column_there = column < block.count;
    const int64_t column_at = block.first + column;
    const float bias = args.delta_bias != nullptr && column_there ? args.delta_bias[column_at] : 0.0f;
    const float skip = OUTPUT && args.d != nullptr && column_there ? args.d[column_at] : 0.0f;
    __syncthreads();
    const float column_lowest = shared.lowest[column], column_highest = shared.highest[column];

    const int first_row = thread / SCAN_CHANNELS;
    uint32_t u[Tile::COUNT], delta[Tile::COUNT];
    Parameters<S> b, c;
    const auto load_tile = [&](uint32_t(&bits)[Tile::COUNT], const void* data, int64_t stride, int64_t row, int rows) {
        const int there = column_there ? (rows - first_row + Tile::STEP - 1) / Tile::STEP : 0;
        load_column(bits, data, (row + first_row) * stride + column_at, Tile::STEP * stride, there, args.type);
    };
    const auto load_ahead = [&](int64_t row, int rows) {
        load_tile(u, args.u, args.u_stride, row, rows);
        load_tile(delta, args.delta, args.delta_stride, row, rows);
        if (AHEAD) b.load(0, args.b, args.b_stride, row, rows, block, args.type);
        if (AHEAD && OUTPUT) c.load(0, args.c, args.c_stride, row, rows, block, args.type);
    };
    const auto rows_at = [&](int64_t row) {
        const int64_t left = span.end - row;
        return left < Tile::ROWS ? static_cast<int>(left) : Tile::ROWS;
    };
    load_ahead(span.begin, rows_at(span.begin));
    float delta_sum = 0.0f;
    for (int64_t row = span.begin; row < span.end; row += Tile::ROWS) {
        const int rows = rows_at(row);
        if (AHEAD) {
            b.store(0, shared.b, args.type);
            if (OUTPUT) c.store(0, shared.c, args.type);
        } else {
            b.copy(shared.b, args.b, args.b_stride, row, rows, block, args.type);
            if (OUTPUT) c.copy(shared.c, args.c, args.c_stride, row, rows, block, args.type);
        }
        widen_column(u, args.type);
        widen_column(delta, args.type);
        if (args.delta_bias != nullptr) {
#pragma unroll
            for (int i = 0; i < Tile::COUNT; i++) {
                delta[i] = __float_as_uint(__fadd_rn(__uint_as_float(delta[i]), bias));
            }
        }
        if (args.delta_softplus) {
#pragma unroll
            for (int i = 0; i < Tile::COUNT; i++) delta[i] = __float_as_uint(softplus(__uint_as_float(delta[i])));
        }
        int outside = 0;
#pragma unroll
        for (int i = 0; i < Tile::COUNT; i++) {
            const float value = __uint_as_float(delta[i]), input = __uint_as_float(u[i]);
            const float low = __fmul_rn(value, column_lowest), high = __fmul_rn(value, column_highest);
            const int r = first_row + i * Tile::STEP;
            if (!(low >= -125.0f && low <= 126.0f && high >= -125.0f && high <= 126.0f)) outside = 1;
            shared.delta_du[r * SCAN_CHANNELS + column] = make_float2(value, __fmul_rn(value, input));
            if (OUTPUT) shared.u[r * SCAN_CHANNELS + column] = input;
        }
        const int any_outside = __syncthreads_or(outside);
        uint32_t z[Tile::COUNT];
        if (OUTPUT && args.z != nullptr) load_tile(z, args.z, args.z_stride, row, rows);
        if (row + Tile::ROWS < span.end) load_ahead(row + Tile::ROWS, rows_at(row + Tile::ROWS));
        if (any_outside) {
            scan_tile<S, OUTPUT, false, false>(states, delta_sum, shared, rows, channel, lane, d_state);
        } else if (S != 64 && d_state == S * SCAN_LANES) {
            scan_tile<S, OUTPUT, true, true>(states, delta_sum, shared, rows, channel, lane, d_state);
        } else {
            scan_tile<S, OUTPUT, false, true>(states, delta_sum, shared, rows, channel, lane, d_state);
        }
        __syncthreads();
        if (OUTPUT) {
            float y[Tile::COUNT];
#pragma unroll
            for (int i = 0; i < Tile::COUNT; i++) {
                const int r = first_row + i * Tile::STEP;
                y[i] = 0.0f;
                if (r < rows) y[i] = shared.y[y_at(r, column)];
                if (args.d != nullptr) y[i] = __fmaf_rn(shared.u[r * SCAN_CHANNELS + column], skip, y[i]);
            }
            if (args.z != nullptr) {
                widen_column(z, args.type);
#pragma unroll
                for (int i = 0; i < Tile::COUNT; i++) y[i] = __fmul_rn(y[i], silu(__uint_as_float(z[i])));
            }
            const int there = column_there ? (rows - first_row + Tile::STEP - 1) / Tile::STEP : 0;
            const int64_t at = (row + first_row) * args.output_stride + column_at;
            store_column(args.output, at, Tile::STEP * args.output_stride, there, y, args.type);
        }
    }

    float* state_out = OUTPUT ? args.state_out : args.chunk_state;
    if (OUTPUT && span.end != span.sequence_end) state_out = nullptr;
    const int64_t end = OUTPUT ? static_cast<int64_t>(span.slot) : static_cast<int64_t>(blockIdx.x);
    if (state_out != nullptr && mine) {
#pragma unroll
        for (int i = 0; i < S; i++) {
            const int n = 4 * i + lane;
            if (n < d_state) {
                state_out[(end * args.d_state + block.first_state + n) * args.channels + block.first + channel] = states.h[i];
            }
        }
    }
    if (!OUTPUT && mine && lane == 0 && blockIdx.z == 0) args.chunk_delta[blockIdx.x * args.channels + block.first + channel] = delta_sum;
}

#define SCAN_SHARED(S)                                                                                                 \
    SHARED_ARRAY(float2, delta_du, ScanTile<S>::ROWS * SCAN_CHANNELS);                                                 \
    SHARED_ARRAY(float4, a, S == 4 ? 1 : S / 4 * SCAN_THREADS);                                                        \
    SHARED_ARRAY(float, b, ScanTile<S>::ROWS * S * SCAN_LANES);                                                        \
    SHARED_ARRAY(float, lowest, SCAN_CHANNELS);                                                                        \
    SHARED_ARRAY(float, highest, SCAN_CHANNELS)

#define SCAN_EXACT(S, blocks)                                                                                          \
    KERNEL_BOUNDS(mk_scan_exact_##S, ScanArgs, SCAN_THREADS, blocks) {                                                 \
        SCAN_SHARED(S);                                                                                                \
        SHARED_ARRAY(float, u, ScanTile<S>::ROWS* SCAN_CHANNELS);                                                      \
        SHARED_ARRAY(float, y, ScanTile<S>::ROWS* SCAN_CHANNELS);                                                      \
        SHARED_ARRAY(float, c, ScanTile<S>::ROWS* S* SCAN_LANES);                                                      \
        scan<S, true>(args, ScanShared{delta_du, u, y, b, c, a, lowest, highest});                                           \
    }                                                                                                                  \
    EXPORT_KERNEL(mk_scan_exact_##S, ScanArgs)

#define SCAN_CHUNK(S, blocks)                                                                                          \
    KERNEL_BOUNDS(mk_scan_chunk_##S, ScanArgs, SCAN_THREADS, blocks) {                                                 \
        SCAN_SHARED(S);                                                                                                \
        scan<S, false>(args, ScanShared{delta_du, nullptr, nullptr, b, nullptr, a, lowest, highest});                              \
    }                                                                                                                  \
    EXPORT_KERNEL(mk_scan_chunk_##S, ScanArgs)

SCAN_EXACT(4, 8);
SCAN_EXACT(16, 6);
SCAN_EXACT(64, 4);
SCAN_CHUNK(4, 8);
SCAN_CHUNK(16, 6);

#define COMBINE_THREADS 128
#define COMBINE_AHEAD 8 // chunks that are loaded together

KERNEL_BOUNDS(mk_scan_combine, ScanArgs, COMBINE_THREADS, 8) {
    const int64_t c = static_cast<int64_t>(blockIdx.y) * COMBINE_THREADS + threadIdx.x;
    const int64_t n = blockIdx.z, first = blockIdx.x;
    const Span span = args.spans[first];
    if (c >= args.channels || span.begin != span.sequence_begin || span.slot == MK_PADDING) return;
    const int64_t chunks = (span.sequence_end - span.sequence_begin + MK_CHUNK_CUT - 1) / MK_CHUNK_CUT;
    const int64_t states = static_cast<int64_t>(args.d_state) * args.channels, at = n * args.channels + c;
    const float a_log2e = __fmul_rn(args.a[at], MK_LOG2_E);
    float h = args.state_in == nullptr ? 0.0f : args.state_in[span.slot * states + at];
    for (int64_t start = 0; start < chunks; start += COMBINE_AHEAD) {
        float end[COMBINE_AHEAD], delta[COMBINE_AHEAD];
#pragma unroll
        for (int i = 0; i < COMBINE_AHEAD; i++) {
            if (start + i < chunks - 1) {
                end[i] = args.chunk_state[(first + start + i) * states + at];
                delta[i] = args.chunk_delta[(first + start + i) * args.channels + c];
            }
        }
#pragma unroll
        for (int i = 0; i < COMBINE_AHEAD; i++) {
            if (start + i < chunks) args.chunk_state[(first + start + i) * states + at] = h;
            if (start + i < chunks - 1) {
                h = start + i == 0 ? end[i] : __fmaf_rn(exp2_exact(__fmul_rn(delta[i], a_log2e)), h, end[i]);
            }
        }
    }
}
EXPORT_KERNEL(mk_scan_combine, ScanArgs);
