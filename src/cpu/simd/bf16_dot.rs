//! [`Bf16Dot`]: dot products of bf16 pairs, a capability of some instruction sets.

use super::vector::Simd;

/// Dot products of pairs of bf16 numbers, next to the vectors of `S`.
pub trait Bf16Dot<S: Simd> {
    /// `sum + a[1] · b[1] + a[0] · b[0]` per lane, where a lane of `a` and of `b` holds two bf16 numbers, `[0]` in its lower
    /// half: one fused multiply-add each, in this order, with subnormal sums flushed to zero. No number is subnormal.
    ///
    /// # Safety
    /// 1. The CPU has the target features of `S` and of the implementation.
    unsafe fn dot(a: S::F, b: S::F, sum: S::F) -> S::F;
}

/// What `vdpbf16ps` does, on any instruction set.
pub struct EmulatedBf16Dot;

impl<S: Simd> Bf16Dot<S> for EmulatedBf16Dot {
    #[inline(always)]
    unsafe fn dot(a: S::F, b: S::F, sum: S::F) -> S::F {
        // SAFETY: condition 1.
        unsafe {
            let sum = S::flush(S::fma(S::upper_bf16(a), S::upper_bf16(b), sum));
            S::flush(S::fma(S::lower_bf16(a), S::lower_bf16(b), sum))
        }
    }
}
