//! [`WeightFormat`]: how a packed weight matrix stores its numbers, and with it how products are computed.
#![forbid(unsafe_code)]

use super::element::DType;
use std::fmt;

/// How a weight matrix stores its numbers: a property of each matrix, chosen when it is packed.
///
/// With [`F32`](Self::F32), [`F16`](Self::F16) and [`Bf16`](Self::Bf16), products are exact: weights and inputs are
/// widened to f32, then one fused multiply-add per product, in the order of the arithmetic contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightFormat {
    /// IEEE-754 single precision.
    F32,
    /// IEEE-754 half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Pairs of bf16 numbers, multiplied as bf16 dot products and summed in f32. Inexact, and available on the CPU.
    ///
    /// It has twice the throughput of exact products on a CPU with AVX512-BF16, and half the bytes of f32 weights on
    /// any. On other CPUs the instruction is emulated, which takes about three times as long as exact products:
    /// [`Cpu::emulates`](crate::Cpu::emulates) tells.
    ///
    /// Inputs and weights are rounded to bf16, ties to even; subnormals count as zero. Then, for each output, two
    /// products at a time: `sum = fma(input[k + 1], weight[k + 1], sum)` and `sum = fma(input[k], weight[k], sum)`
    /// for `k` = 0, 2, 4 and so on, with a zero after an odd number of columns; a subnormal sum becomes zero. This is
    /// what `vdpbf16ps` does. All other operations are those of the contract, and the result has the same bits on
    /// every instruction set, at every number of threads and in every batch.
    ///
    /// With `u = 2^-8` for a rounding to bf16 and `v = 2^-24` for one to f32, the error of a sum is at most
    /// `((1 + u)² (1 + v)^K - 1) Σ |input · weight|`, about 0.8 % of the sum of magnitudes, plus some `K · 2^-126`
    /// for what is flushed to zero.
    Bf16Pairs,
}

impl WeightFormat {
    /// The name in lower case, as error messages and benchmark ids write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Bf16Pairs => "bf16_pairs",
        }
    }

    /// The format that keeps matrices of this storage type as they are. `None` for a type that no weight has.
    pub const fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::Bf16),
            DType::U32 => None,
        }
    }

    /// The storage type of a single weight, for the formats that keep each weight as a number of its own.
    pub const fn dtype(self) -> Option<DType> {
        match self {
            Self::F32 => Some(DType::F32),
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
            Self::Bf16Pairs => None,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
