//! The inexact modes: faster arithmetic that a caller asks for by name.

use std::num::NonZeroUsize;

/// How a [`Cpu`](super::Cpu) computes matrix products: a property of the weights that it packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum Products {
    /// As the arithmetic contract says: binary32, one fused multiply-add per product.
    #[default]
    Exact,
    /// Dot products of bf16 numbers, summed in binary32: twice the arithmetic of [`Products::Exact`] where the CPU has
    /// AVX512-BF16, half the bytes of binary32 weights anywhere, and slower than exact where it must be emulated.
    ///
    /// Inputs and weights are rounded to bf16, ties to even; subnormal ones count as zero. Then, for each output, two
    /// products at a time: `sum = fma(input[k + 1], weight[k + 1], sum)` and `sum = fma(input[k], weight[k], sum)`, for
    /// `k` = 0, 2, 4 and on, with a zero after an odd number of them; a subnormal sum becomes zero. This is what `vdpbf16ps` does. All other operations are
    /// those of the contract, and results are the same bits on every instruction set, at every number of threads and in
    /// every batch.
    ///
    /// The error of a sum, with `u = 2^-8` for a rounding to bf16 and `v = 2^-24` for one to binary32, is at most
    /// `((1 + u)² (1 + v)^K - 1) Σ |input · weight|`, about 0.8 % of the sum of magnitudes, and some `K · 2^-126`
    /// for what is flushed to zero.
    Bf16Dot,
}

/// How a [`Cpu`](super::Cpu) takes the selective scan through time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum ScanOrder {
    /// Token by token, as the arithmetic contract says. Threads share sequences and channels.
    #[default]
    Sequential,
    /// Chunks of so many tokens at the same time, for a sequence whose channels are too few for the threads.
    ///
    /// Each chunk but the first and the last is scanned from zeros without outputs, beside the product of its decays.
    /// These give the states before all chunks, from which the chunks are then scanned as the contract says. The
    /// result depends on the length of a chunk and on where a call starts in a sequence; for these it is the same on
    /// every instruction set and at every number of threads.
    /// `docs/mathematics.md` derives it, with its error.
    Chunked {
        /// Tokens of a chunk.
        tokens: NonZeroUsize,
    },
}
