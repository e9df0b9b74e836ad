//! The elementary functions of the exact mode: fixed sequences of binary32 operations over the vector trait.
//!
//! The coefficients come from `scripts/polynomials.sollya`. The errors are stated in
//! [`Elementary::max_ulp`](super::Elementary::max_ulp).
//!
//! # Safety
//! Every function is unsafe for the one reason that [`Simd`] gives: the CPU must have the features of `S`.

use super::simd::Simd;

/// `log2 e`, rounded to binary32.
pub const LOG2_E: f32 = std::f32::consts::LOG2_E;
const LN_2_HIGH: f32 = f32::from_bits(0x3f31_7200); // 15 bits: its product with n is exact
const LN_2_LOW: f32 = f32::from_bits(0x35bf_be8e);

const fn coefficients<const N: usize>(bits: [u32; N]) -> [f32; N] {
    let mut values = [0.0; N];
    let mut i = 0;
    while i < N {
        values[i] = f32::from_bits(bits[i]);
        i += 1;
    }
    values
}

/// `e^r = 1 + r + r² · P(r)`, `|r| <= ln 2 / 2`: relative error 3.3e-9 before rounding.
const EXP: [f32; 5] = coefficients([0x3eff_fffd, 0x3e2a_aa49, 0x3d2a_ad13, 0x3c09_1cc4, 0x3ab4_a669]);
/// `2^r = 1 + r · P(r)`, `|r| <= 1/2`: relative error 9.5e-8 before rounding, and none as r goes to 0.
const EXP2: [f32; 5] = coefficients([0x3f31_7215, 0x3e75_fcdd, 0x3d63_5b4d, 0x3c1e_757c, 0x3aad_feac]);
/// `atanh(s) = s · (1 + s² · P(s²))`, `s² <= 1/9`: relative error 3e-10 before rounding.
const ATANH: [f32; 5] = coefficients([0x3eaa_aaab, 0x3e4c_cc33, 0x3e12_6bb7, 0x3ddd_9892, 0x3df0_90b0]);

/// Horner's rule, the highest coefficient first.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::F, coefficients: &[f32; N]) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let mut sum = S::splat(coefficients[N - 1]);
        for i in (0..N - 1).rev() {
            sum = S::fma(sum, x, S::splat(coefficients[i]));
        }
        sum
    }
}

/// `e^x`.
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let x = S::min(S::splat(89.0), S::max(S::splat(-104.0), x));
        let n = S::round(S::mul(x, S::splat(LOG2_E)));
        let r = S::fnma(n, S::splat(LN_2_HIGH), x);
        let r = S::fnma(n, S::splat(LN_2_LOW), r);
        let p = polynomial::<S, 5>(r, &EXP);
        let p = S::fma(S::fma(p, r, S::splat(1.0)), r, S::splat(1.0));
        S::scale(p, n)
    }
}

/// `2^x`. The decay of the scan: one multiplication less than [`exp`] and no reduction by parts.
#[inline(always)]
pub unsafe fn exp2<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let (n, r) = S::split(x);
        let p = polynomial::<S, 5>(r, &EXP2);
        let p = S::fma(p, r, S::splat(1.0));
        S::scale(p, n)
    }
}

/// `ln(1 + e)` for `e` in `[0, 1]`, as `2 atanh(e / (2 + e))`.
#[inline(always)]
unsafe fn log1p<S: Simd>(e: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let s = S::div(e, S::add(e, S::splat(2.0)));
        let w = S::mul(s, s);
        let p = polynomial::<S, 5>(w, &ATANH);
        let twice = S::add(s, s);
        S::fma(S::mul(twice, w), p, twice)
    }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`. Above 17 it is `x` by rounding; the official code has that from 20.
#[inline(always)]
pub unsafe fn softplus<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let e = exp::<S>(S::neg_abs(x));
        S::add(S::max(S::splat(0.0), x), log1p::<S>(e))
    }
}

/// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` where `x` is negative.
#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let one = S::splat(1.0);
        let e = exp::<S>(S::neg_abs(x));
        S::div(S::select_negative(x, e, one), S::add(e, one))
    }
}

/// `x · sigmoid(x)`; its limit -0 at negative infinity.
#[inline(always)]
pub unsafe fn silu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: the module's condition.
    unsafe {
        let x = S::max(S::splat(f32::MIN), x); // keeps infinity times zero away; a NaN stays
        S::mul(x, sigmoid::<S>(x))
    }
}
