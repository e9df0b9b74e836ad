// Tensor cores and ldmatrix, by the fragment layouts of the PTX ISA.
//
// mma.m16n8k16, in lane l with group g = l / 4 and t = l % 4, two 16-bit elements a register, the lower index
// below:
//   a[0]: row g, columns 2t and 2t+1      a[1]: row g + 8, the same     a[2], a[3]: columns 8 further
//   b[0]: rows 2t and 2t+1, column g      b[1]: rows 8 further
//   d[0], d[1]: row g, columns 2t and 2t+1    d[2], d[3]: row g + 8
// The products of 16-bit elements are exact in f64. They are added there to d, k ascending, and rounded once
// to f32. A GPU adds in an order and a precision of its own, so the two agree within a bound and not in bits.
#include <cstring>

#include "launch.h"
#include "shadow.h"

namespace executor {

namespace {

constexpr unsigned M = 16, N = 8, K = 16;

double widen(HalfType type, uint16_t half) {
    if (type == HalfType::bf16) {
        const uint32_t bits = uint32_t{half} << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    const int exponent = half >> 10 & 31;
    const int fraction = half & 0x3ff;
    double magnitude;
    if (exponent == 31) {
        magnitude = fraction == 0 ? __builtin_inf() : __builtin_nan("");
    } else if (exponent == 0) {
        magnitude = fraction * 0x1p-24;
    } else {
        magnitude = __builtin_ldexp(1024 + fraction, exponent - 25);
    }
    return half & 0x8000 ? -magnitude : magnitude;
}

uint16_t half_of(uint32_t pair, unsigned index) { return static_cast<uint16_t>(pair >> 16 * index); }

}  // namespace

void run_mma(Device& device, Warp& warp) {
    double a[M][K];
    double b[K][N];
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto& operands = *static_cast<const MmaOperands*>(device.lane(warp, lane).call.data);
        const unsigned group = lane / 4;
        const unsigned pair = lane % 4 * 2;
        for (unsigned i = 0; i < 2; i++) {
            for (unsigned part = 0; part < 4; part++) {
                a[group + part % 2 * 8][pair + i + part / 2 * 8] =
                    widen(operands.type, half_of(operands.a[part], i));
            }
            for (unsigned part = 0; part < 2; part++) {
                b[pair + i + part * 8][group] = widen(operands.type, half_of(operands.b[part], i));
            }
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        const auto& operands = *static_cast<const MmaOperands*>(device.lane(warp, lane).call.data);
        for (unsigned i = 0; i < 4; i++) {
            const unsigned row = lane / 4 + i / 2 * 8;
            const unsigned column = lane % 4 * 2 + i % 2;
            double sum = operands.d[i];
            for (unsigned k = 0; k < K; k++) {
                sum += a[row][k] * b[k][column];
            }
            operands.d[i] = static_cast<float>(sum);
        }
    }
}

// Lane i of eight names row i of a matrix; every lane gets elements 2t and 2t+1 of row g, or of column g
// transposed.
void run_ldmatrix(Device& device, Warp& warp) {
    const int count = static_cast<const MatrixRows*>(device.lane(warp, 0).call.data)->count;
    for (int matrix = 0; matrix < count; matrix++) {
        uint16_t elements[8][8];
        uintptr_t rows[8];
        for (unsigned row = 0; row < 8; row++) {
            Thread& thread = device.lane(warp, matrix * 8 + row);
            const void* address = static_cast<const MatrixRows*>(thread.call.data)->row;
            rows[row] = reinterpret_cast<uintptr_t>(address);
            if (!device.shared.holds(rows[row])) {
                find_fault(device, thread,
                           "ldmatrix at " + describe(thread.call.at) + ": row " + std::to_string(row) +
                               " is not in shared memory");
                return;
            }
            if (device.checked &&
                !check_access(device, thread, rows[row], 16, Access::read, thread.call.data)) {
                return;
            }
            std::memcpy(elements[row], address, sizeof elements[row]);
        }
        device.counter.record_rows(rows);
        for (unsigned lane = 0; lane < 32; lane++) {
            const auto& request = *static_cast<const MatrixRows*>(device.lane(warp, lane).call.data);
            const unsigned group = lane / 4;
            const unsigned pair = lane % 4 * 2;
            const uint16_t low = request.transposed ? elements[pair][group] : elements[group][pair];
            const uint16_t high = request.transposed ? elements[pair + 1][group] : elements[group][pair + 1];
            request.out[matrix] = low | uint32_t{high} << 16;
        }
    }
}

}  // namespace executor
