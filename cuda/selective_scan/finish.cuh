// The third pass of the selective scan over a tile: skip connection, gate and store.
#ifndef MAMBA_KERNELS_SELECTIVE_SCAN_FINISH_CUH
#define MAMBA_KERNELS_SELECTIVE_SCAN_FINISH_CUH

#include "selective_scan/load.cuh"

template <int COUNT> DEVICE void store_column(void* data, int64_t at, int64_t step, int present,
                                              const float (&value)[COUNT], uint32_t type) {
    if (type == MK_F32) {
        float* target = static_cast<float*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, target += step) {
            if (i < present) *target = value[i];
        }
    } else {
        uint16_t* target = static_cast<uint16_t*>(data) + at;
#pragma unroll
        for (int i = 0; i < COUNT; i++, target += step) {
            if (i < present) *target = narrow_half(value[i], type);
        }
    }
}

// The outputs of the tile at `row`: y + u * d, gated by z, whose loads have begun.
template <int S>
DEVICE void finish_tile(uint32_t (&z)[ScanTile<S>::COUNT], const ScanArgs& args, const ScanShared& shared,
                        const ScanColumn<S>& column, float skip, int64_t row, int rows) {
    using Tile = ScanTile<S>;
    float y[Tile::COUNT];
#pragma unroll
    for (int i = 0; i < Tile::COUNT; i++) {
        const int r = column.first_row + i * Tile::STEP;
        y[i] = 0.0f;
        if (r < rows) y[i] = shared.y[y_at(r, column.channel)];
        if (args.d != nullptr) y[i] = __fmaf_rn(shared.u[r * SCAN_CHANNELS + column.channel], skip, y[i]);
    }
    if (args.z != nullptr) {
        widen_column(z, args.type);
#pragma unroll
        for (int i = 0; i < Tile::COUNT; i++) y[i] = __fmul_rn(y[i], silu(__uint_as_float(z[i])));
    }
    const int64_t at = (row + column.first_row) * args.output_stride + column.at;
    store_column(args.output, at, Tile::STEP * args.output_stride, column.present(rows), y, args.type);
}

// Writes the zeros of a padding sequence.
DEVICE void scan_padding(const ScanArgs& args, const Span& span, const ScanBlock& block) {
    const int channel = static_cast<int>(threadIdx.x) % SCAN_CHANNELS;
    if (channel >= block.count) return;
    for (int64_t t = span.begin + threadIdx.x / SCAN_CHANNELS; t < span.end; t += SCAN_THREADS / SCAN_CHANNELS) {
        store_element(args.output, t * args.output_stride + block.first + channel, args.type, 0.0f);
    }
}

#endif
