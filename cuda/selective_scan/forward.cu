// The selective scan with everything around it fused.
//
//   delta = softplus(delta + delta_bias)                              (bias and softplus optional)
//   du = delta * u, 0 below 2^-100; subnormal u, b and c count as zero
//   for n ascending:
//     h[n] = fma(exp2(delta * (a[n] * log2 e)), h[n], du * b[n]), 0 if both du and it are below 2^-100
//     s[n mod 4] = fma(c[n], h[n], s[n mod 4])
//   output = fma(u, d, (s[0] + s[1]) + (s[2] + s[3])) * silu(z)       (d and z optional)
//
// What the kernel does differently, and why the bits stay the same:
// 1. Four lanes have one channel; lane j has the states n with n mod 4 = j in registers, up to S of them, and so
//    computes exactly the sum s[j]. Shuffles combine the four in the order of the contract; addition commutes.
// 2. A block has sixteen channels of one group and goes through time in tiles. At the start of a tile all threads load
//    u, delta, B and C, coalesced, apply bias and softplus once per element, and leave the results in shared memory: B
//    and C are read once per block. With S = 4, the next tile is loaded meanwhile. At the end all threads gate and
//    store.
// 3. If for all of a tile delta * a * log2 e is between -125 and 126, which is usual, 2^x needs no clamps and one
//    addition in place of two multiplications: the same bits, as exp2_inside says. If then no du is below 2^-100, no
//    state has to be looked at.
// 4. With four states per lane, four tokens are combined together, so each lane ends up with the y of one.
// States beyond d_state are skipped and tiles may be partial: any length takes the same path. The states of a chunk
// need no sum, so the chunk kernel distributes more than 64 of them over several blocks.
//
// The chunked form (inexact) runs chunks of 128 rows of a sequence at the same time:
//   mk_scan_chunk: the end state of each chunk except the last, the first from the state of the sequence and the others
//     from
//     h = 0, and its sum of delta; no outputs
//   mk_scan_combine: start[1] = end[0], start[i + 1] = fma(exp2(sum of delta[i] * (a * log2 e)), start[i], end[i]), one
//     thread per state
//   mk_scan_exact, each chunk from its start state; the last leaves the state of the sequence
// Chunks are cut from the start of a sequence, so a result does not depend on what else is in the batch, and one of a
// single chunk is exact. The bits are those of the CPU's scan in chunks of 128 tokens.
//
// Occupancy, 64 threads, blocks per multiprocessor: exact 8, 6 and 4 for S of 4, 16 and 64; chunk 8 and 6; 8 of 128
// threads combine. If a lane has more than four states, a * log2 e lies in shared memory, to save registers.
#include "selective_scan/finish.cuh"
#include "selective_scan/load.cuh"
#include "selective_scan/recur.cuh"

// One span. OUTPUT: the exact kernel; else the chunk kernel, which leaves the end state of a chunk.
template <int S, bool OUTPUT> DEVICE void scan(const ScanArgs& args, const ScanShared& shared) {
    using Tile = ScanTile<S>;
    const Span span = args.spans[blockIdx.x];
    const ScanBlock block(args, OUTPUT ? 0 : static_cast<int64_t>(blockIdx.z) * (S * SCAN_LANES), S * SCAN_LANES);
    if (span.slot == MK_PADDING) {
        if (OUTPUT) scan_padding(args, span, block);
        return;
    }
    if (!OUTPUT && span.end == span.sequence_end) return; // no chunk starts from the end of the last
    const ScanLane at(block);
    States<S> states;
    load_states<S, OUTPUT>(states, args, shared, span, block, at);

    const ScanColumn<S> column(block);
    const float bias = args.delta_bias != nullptr && column.exists ? args.delta_bias[column.at] : 0.0f;
    const float skip = OUTPUT && args.d != nullptr && column.exists ? args.d[column.at] : 0.0f;
    __syncthreads();
    const float lowest = shared.lowest[column.channel], highest = shared.highest[column.channel];

    const auto rows_at = [&](int64_t row) {
        const int64_t left = span.end - row;
        return left < Tile::ROWS ? static_cast<int>(left) : Tile::ROWS;
    };
    ScanInputs<S> inputs;
    load_tile<S, OUTPUT>(inputs, args, block, column, span.begin, rows_at(span.begin));
    float delta_sum = 0.0f;
    for (int64_t row = span.begin; row < span.end; row += Tile::ROWS) {
        const int rows = rows_at(row);
        share_parameters<S, OUTPUT>(inputs, args, shared, block, row, rows);
        const int outside = share_channels<S, OUTPUT>(inputs, args, shared, column, rows, bias, lowest, highest);
        const int any_outside = __syncthreads_or(outside);
        uint32_t z[Tile::COUNT];
        if (OUTPUT && args.z != nullptr) load_channels<S>(z, args.z, args.z_stride, row, rows, column, args.type);
        const int64_t next = row + Tile::ROWS;
        if (next < span.end) load_tile<S, OUTPUT>(inputs, args, block, column, next, rows_at(next));
        if (any_outside) {
            scan_tile<S, OUTPUT, false, false>(states, delta_sum, shared, rows, at.channel, at.lane, block.states);
        } else if (S != 64 && block.states == S * SCAN_LANES) {
            scan_tile<S, OUTPUT, true, true>(states, delta_sum, shared, rows, at.channel, at.lane, block.states);
        } else {
            scan_tile<S, OUTPUT, false, true>(states, delta_sum, shared, rows, at.channel, at.lane, block.states);
        }
        __syncthreads();
        if (OUTPUT) finish_tile<S>(z, args, shared, column, skip, row, rows);
    }
    store_states<S, OUTPUT>(states, delta_sum, args, span, block, at);
}

template <int S> DEVICE void scan_exact(const ScanArgs& args) {
    constexpr int ROWS = ScanTile<S>::ROWS;
    SHARED_ARRAY(float2, delta_du, ROWS * SCAN_CHANNELS);
    SHARED_ARRAY(float4, a, S == 4 ? 1 : S / 4 * SCAN_THREADS);
    SHARED_ARRAY(float, b, ROWS * S * SCAN_LANES);
    SHARED_ARRAY(float, lowest, SCAN_CHANNELS);
    SHARED_ARRAY(float, highest, SCAN_CHANNELS);
    SHARED_ARRAY(float, u, ROWS * SCAN_CHANNELS);
    SHARED_ARRAY(float, y, ROWS * SCAN_CHANNELS);
    SHARED_ARRAY(float, c, ROWS * S * SCAN_LANES);
    scan<S, true>(args, ScanShared{delta_du, u, y, b, c, a, lowest, highest});
}

template <int S> DEVICE void scan_chunk(const ScanArgs& args) {
    constexpr int ROWS = ScanTile<S>::ROWS;
    SHARED_ARRAY(float2, delta_du, ROWS * SCAN_CHANNELS);
    SHARED_ARRAY(float4, a, S == 4 ? 1 : S / 4 * SCAN_THREADS);
    SHARED_ARRAY(float, b, ROWS * S * SCAN_LANES);
    SHARED_ARRAY(float, lowest, SCAN_CHANNELS);
    SHARED_ARRAY(float, highest, SCAN_CHANNELS);
    scan<S, false>(args, ScanShared{delta_du, nullptr, nullptr, b, nullptr, a, lowest, highest});
}

KERNEL_BOUNDS(mk_scan_exact_4, ScanArgs, SCAN_THREADS, 8) { scan_exact<4>(args); }
EXPORT_KERNEL(mk_scan_exact_4, ScanArgs);
KERNEL_BOUNDS(mk_scan_exact_16, ScanArgs, SCAN_THREADS, 6) { scan_exact<16>(args); }
EXPORT_KERNEL(mk_scan_exact_16, ScanArgs);
KERNEL_BOUNDS(mk_scan_exact_64, ScanArgs, SCAN_THREADS, 4) { scan_exact<64>(args); }
EXPORT_KERNEL(mk_scan_exact_64, ScanArgs);
KERNEL_BOUNDS(mk_scan_chunk_4, ScanArgs, SCAN_THREADS, 8) { scan_chunk<4>(args); }
EXPORT_KERNEL(mk_scan_chunk_4, ScanArgs);
KERNEL_BOUNDS(mk_scan_chunk_16, ScanArgs, SCAN_THREADS, 6) { scan_chunk<16>(args); }
EXPORT_KERNEL(mk_scan_chunk_16, ScanArgs);
