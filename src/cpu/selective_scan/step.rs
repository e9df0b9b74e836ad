//! One token of the recurrence, ordinary or not.
//!
//! Two kinds of numbers need care that would cost each token and state several instructions: a decay below 2^-126, and
//! states that die away. Ordinary blocks have neither, which one comparison per block tells.

use super::arrays::SUMS;
use crate::cpu::math;
use crate::cpu::simd::Simd;

/// Below this magnitude, 2^-100, `delta · u` counts as 0, and then a state becomes 0.
pub(super) const QUIET: f32 = f32::from_bits((127 - 100) << 23);

/// What a block has to say of all its tokens.
pub(super) struct Extremes<S: Simd> {
    /// The largest magnitude of delta, times -1, per channel.
    pub delta: S::F,
    /// Whether some `delta · u` is below [`QUIET`].
    pub quiet: bool,
}

impl<S: Simd> Clone for Extremes<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Simd> Copy for Extremes<S> {}

impl<S: Simd> Extremes<S> {
    /// Whether no decay can be as small as 2^-126 and no state has to be looked at: one comparison per block instead of
    /// several per token and state, since ordinary numbers are never so small. `a` includes log2 e.
    ///
    /// # Safety
    /// 1. The CPU has the target features of `S`.
    #[inline(always)]
    pub unsafe fn ordinary<const N: usize>(&self, a: &[S::F; N]) -> bool {
        // SAFETY: condition 1.
        unsafe {
            let mut least = S::splat(-0.0);
            for a in a {
                least = S::min(S::neg_abs(*a), least);
            }
            // products of smaller factors round to no more; one of a NaN stays one in any code
            !self.quiet && !S::any_above(S::mul(self.delta, least), S::splat(126.0))
        }
    }
}

/// `delta · u`, or 0 below [`QUIET`]; and per channel minus the magnitude below which a state becomes 0 at this token.
///
/// # Safety
/// 1. The CPU has the target features of `S`.
#[inline(always)]
pub(super) unsafe fn audible<S: Simd, const ORDINARY: bool>(du: S::F) -> (S::F, S::F) {
    // SAFETY: condition 1.
    unsafe {
        let (zero, quiet) = (S::splat(0.0), S::splat(-QUIET));
        if ORDINARY {
            return (du, zero);
        }
        let size = S::neg_abs(du);
        (S::select_less(quiet, size, zero, du), S::select_less(quiet, size, quiet, zero))
    }
}

/// The decays of `K` states from `FIRST` on.
///
/// # Safety
/// 1. The CPU has the target features of `S`. `first + K` is at most `N`.
#[inline(always)]
pub(super) unsafe fn decays<S: Simd, const K: usize, const ORDINARY: bool>(
    delta: S::F,
    a: &[S::F],
    first: usize,
) -> [S::F; K] {
    // SAFETY: condition 1.
    unsafe {
        let mut decay = [delta; K];
        for j in 0..K {
            decay[j] = S::mul(delta, a[first + j]);
        }
        if ORDINARY { math::exp2_inside::<S, K>(decay) } else { math::exp2::<S, K>(decay) }
    }
}

/// `decay · h + input`; 0 if that is less than the token leaves, `least` times -1.
///
/// # Safety
/// 1. The CPU has the target features of `S`.
#[inline(always)]
pub(super) unsafe fn update<S: Simd, const ORDINARY: bool>(
    decay: S::F,
    h: S::F,
    input: S::F,
    least: S::F,
) -> S::F {
    // SAFETY: condition 1.
    unsafe {
        let h = S::fma(decay, h, input);
        if ORDINARY { h } else { S::select_less(least, S::neg_abs(h), S::splat(0.0), h) }
    }
}

/// One token of the states `FIRST..FIRST + K` of a group of `N`, if it has these.
///
/// # Safety
/// 1. `b` and `c` point to `N` numbers.
/// 2. The CPU has the target features of `S`.
#[inline(always)]
pub(super) unsafe fn recur_step<
    S: Simd,
    const N: usize,
    const K: usize,
    const FIRST: usize,
    const ORDINARY: bool,
>(
    (delta, du, least): (S::F, S::F, S::F),
    (b, c): (*const f32, *const f32),
    a: &[S::F; N],
    h: &mut [S::F; N],
    sums: &mut [S::F; SUMS],
) {
    if FIRST >= N {
        return;
    }
    // SAFETY: FIRST + K is at most N, since K divides it or is all of it.
    unsafe {
        let decay = decays::<S, K, ORDINARY>(delta, a, FIRST);
        for j in 0..K {
            let n = FIRST + j;
            let input = S::mul(du, S::splat(*b.add(n)));
            h[n] = update::<S, ORDINARY>(decay[j], h[n], input, least);
            sums[j] = S::fma(S::splat(*c.add(n)), h[n], sums[j]);
        }
    }
}
