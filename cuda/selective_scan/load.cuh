// The first pass of the selective scan over a tile: loads, delta, and what goes to shared memory.
#ifndef MAMBA_KERNELS_SELECTIVE_SCAN_LOAD_CUH
#define MAMBA_KERNELS_SELECTIVE_SCAN_LOAD_CUH

#include "selective_scan/tile.cuh"

// Loads a thread's column of a tile: COUNT elements, `step` apart. Only the first `present` exist; the others are
// zeros. The bits stay as they are stored, so nothing waits for the loads yet. The type is tested once.
template <int COUNT> DEVICE void load_column(uint32_t (&bits)[COUNT], const void* data, int64_t at, int64_t step,
                                             int present, uint32_t type) {
    if (type == MK_F32) {
        const uint32_t* source = static_cast<const uint32_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, source += step) {
            bits[i] = 0;
            if (i < present) bits[i] = *source;
        }
    } else {
        const uint16_t* source = static_cast<const uint16_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, source += step) {
            bits[i] = 0;
            if (i < present) bits[i] = *source;
        }
    }
}

// Widens stored elements to the bits of an f32.
template <int COUNT> DEVICE void widen_column(uint32_t (&bits)[COUNT], uint32_t type) {
    if (type == MK_BF16) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) bits[i] <<= 16;
    } else if (type == MK_F16) {
#pragma unroll
        for (int i = 0; i < COUNT; i++) bits[i] = __float_as_uint(f16_to_f32(static_cast<uint16_t>(bits[i])));
    }
}

// Zero for what is subnormal.
template <int COUNT> DEVICE void flush_column(uint32_t (&bits)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) bits[i] = __float_as_uint(flush(__uint_as_float(bits[i])));
}

// b or c of a tile: [ROWS, 4 * S]. A thread loads every STEP-th row of SLICES columns, one column at a time.
template <int S> struct Parameters {
    static constexpr int COLUMNS = S * SCAN_LANES;
    static constexpr int SLICES = COLUMNS > SCAN_THREADS ? COLUMNS / SCAN_THREADS : 1;
    static constexpr int STEP = COLUMNS < SCAN_THREADS ? SCAN_THREADS / COLUMNS : 1;
    static constexpr int COUNT = ScanTile<S>::ROWS / STEP;
    uint32_t bits[COUNT];

    static __device__ __forceinline__ int column(int slice) {
        return static_cast<int>(threadIdx.x) % COLUMNS + slice * SCAN_THREADS;
    }
    static __device__ __forceinline__ int first_row() { return static_cast<int>(threadIdx.x) / COLUMNS; }

    __device__ __forceinline__ void load(int slice, const void* data, int64_t stride, int64_t row, int rows,
                                         const ScanBlock& block, uint32_t type) {
        const int n = column(slice), r = first_row();
        const int present = n < block.states ? (rows - r + STEP - 1) / STEP : 0;
        load_column(bits, data, (row + r) * stride + block.parameters + n, STEP * stride, present, type);
    }

    __device__ __forceinline__ void store(int slice, float* shared, uint32_t type) {
        widen_column(bits, type);
        flush_column(bits);
        float* const target = shared + first_row() * COLUMNS + state_at(column(slice));
#pragma unroll
        for (int i = 0; i < COUNT; i++) target[i * STEP * COLUMNS] = __uint_as_float(bits[i]);
    }

    // Loads and stores all columns.
    __device__ __forceinline__ void copy(float* shared, const void* data, int64_t stride, int64_t row, int rows,
                                         const ScanBlock& block, uint32_t type) {
#pragma unroll 1
        for (int slice = 0; slice < SLICES; slice++) {
            load(slice, data, stride, row, rows, block, type);
            store(slice, shared, type);
        }
    }
};

// What a thread loads of a tile. With S = 4, b and c too are loaded while the tile before is scanned; more states leave
// no registers for that.
template <int S> struct ScanInputs {
    using Tile = ScanTile<S>;
    static constexpr bool PARAMETERS_AHEAD = S == 4;
    uint32_t u[Tile::COUNT], delta[Tile::COUNT];
    Parameters<S> b, c;
};

template <int S> DEVICE void load_channels(uint32_t (&bits)[ScanTile<S>::COUNT], const void* data, int64_t stride,
                                           int64_t row, int rows, const ScanColumn<S>& column, uint32_t type) {
    load_column(bits, data, (row + column.first_row) * stride + column.at, ScanTile<S>::STEP * stride,
                column.present(rows), type);
}

// Starts the loads of the tile at `row`.
template <int S, bool OUTPUT>
DEVICE void load_tile(ScanInputs<S>& inputs, const ScanArgs& args, const ScanBlock& block, const ScanColumn<S>& column,
                      int64_t row, int rows) {
    load_channels<S>(inputs.u, args.u, args.u_stride, row, rows, column, args.type);
    load_channels<S>(inputs.delta, args.delta, args.delta_stride, row, rows, column, args.type);
    if (ScanInputs<S>::PARAMETERS_AHEAD) inputs.b.load(0, args.b, args.b_stride, row, rows, block, args.type);
    if (ScanInputs<S>::PARAMETERS_AHEAD && OUTPUT) inputs.c.load(0, args.c, args.c_stride, row, rows, block, args.type);
}

// Leaves b and c of the tile at `row` in shared memory.
template <int S, bool OUTPUT>
DEVICE void share_parameters(ScanInputs<S>& inputs, const ScanArgs& args, const ScanShared& shared,
                             const ScanBlock& block, int64_t row, int rows) {
    if (ScanInputs<S>::PARAMETERS_AHEAD) {
        inputs.b.store(0, shared.b, args.type);
        if (OUTPUT) inputs.c.store(0, shared.c, args.type);
    } else {
        inputs.b.copy(shared.b, args.b, args.b_stride, row, rows, block, args.type);
        if (OUTPUT) inputs.c.copy(shared.c, args.c, args.c_stride, row, rows, block, args.type);
    }
}

// Leaves delta, with bias and softplus, delta * u and u in shared memory. `lowest` and `highest` are the channel's.
// Returns 1 if some exponent of this thread's channel may be outside of what exp2_inside takes, or some delta * u is
// below MK_QUIET; else 0.
template <int S, bool OUTPUT>
DEVICE int share_channels(ScanInputs<S>& inputs, const ScanArgs& args, const ScanShared& shared,
                          const ScanColumn<S>& column, int rows, float bias, float lowest, float highest) {
    using Tile = ScanTile<S>;
    widen_column(inputs.u, args.type);
    flush_column(inputs.u);
    widen_column(inputs.delta, args.type);
    if (args.delta_bias != nullptr) {
#pragma unroll
        for (int i = 0; i < Tile::COUNT; i++) {
            inputs.delta[i] = __float_as_uint(__fadd_rn(__uint_as_float(inputs.delta[i]), bias));
        }
    }
    if (args.delta_softplus) {
#pragma unroll
        for (int i = 0; i < Tile::COUNT; i++) {
            inputs.delta[i] = __float_as_uint(softplus(__uint_as_float(inputs.delta[i])));
        }
    }
    int outside = 0;
#pragma unroll
    for (int i = 0; i < Tile::COUNT; i++) {
        const float delta = __uint_as_float(inputs.delta[i]), u = __uint_as_float(inputs.u[i]);
        const float low = __fmul_rn(delta, lowest), high = __fmul_rn(delta, highest);
        const int row = column.first_row + i * Tile::STEP;
        const float du = __fmul_rn(delta, u);
        if (row < rows && column.exists && neg_abs(du) > -MK_QUIET) outside = 1;
        if (!(low >= -125.0f && low <= 126.0f && high >= -125.0f && high <= 126.0f)) outside = 1;
        shared.delta_du[row * SCAN_CHANNELS + column.channel] = make_float2(delta, du);
        if (OUTPUT) shared.u[row * SCAN_CHANNELS + column.channel] = u;
    }
    return outside;
}

#endif
