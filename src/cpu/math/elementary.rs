//! The elementary functions of the exact mode: fixed sequences of f32 operations over the vector trait.
//!
//! The coefficients come from `scripts/polynomials.sollya`. The errors are stated in
//! [`Elementary::max_ulp`](crate::cpu::Elementary::max_ulp).
//!
//! Each takes `K` vectors at once and interleaves their operations: one vector's dependency chain is long, and the CPU's
//! instruction window overlaps only chains that are interleaved.
//!
//! # Safety
//! Of every function:
//! 1. The CPU has the target features of `S`.

use crate::cpu::simd::Simd;

/// `log2 e`, rounded to f32.
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
unsafe fn polynomial<S: Simd, const K: usize>(x: [S::F; K], coefficients: &[f32]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        let mut sum = [S::splat(coefficients[coefficients.len() - 1]); K];
        for coefficient in coefficients[..coefficients.len() - 1].iter().rev() {
            for i in 0..K {
                sum[i] = S::fma(sum[i], x[i], S::splat(*coefficient));
            }
        }
        sum
    }
}

/// Where [`exp`] ends, the least number above `ln 2^-126`: below it the result would be subnormal, on which some CPUs take
/// a hundred times as long. There it is 0.
const LOWEST: f32 = f32::from_bits(0xc2ae_ac4f); // -87.33654

/// `e^x`; 0 below [`LOWEST`].
#[inline(always)]
pub unsafe fn exp<S: Simd, const K: usize>(mut x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        let bounded = x;
        for i in 0..K {
            x[i] = S::min(S::splat(89.0), x[i]);
        }
        let (mut p, n) = exp_parts::<S, K>(x);
        for i in 0..K {
            p[i] = S::select_less(bounded[i], S::splat(LOWEST), S::splat(0.0), S::scale(p[i], n[i]));
        }
        p
    }
}

/// [`exp`] of what is not above 0.
#[inline(always)]
unsafe fn exp_negative<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module. 2^n is at least 2^-126, and then p is at least 1.
    unsafe {
        let (mut p, n) = exp_parts::<S, K>(x);
        for i in 0..K {
            p[i] = S::select_less(x[i], S::splat(LOWEST), S::splat(0.0), S::scale_inside(p[i], n[i]));
        }
        p
    }
}

/// `p` and `n` with `e^x = p · 2^n`, for `x` of at most 89; for x below [`LOWEST`] those of it.
#[inline(always)]
unsafe fn exp_parts<S: Simd, const K: usize>(mut x: [S::F; K]) -> ([S::F; K], [S::F; K]) {
    // SAFETY: condition 1 of the module.
    unsafe {
        let mut n = x;
        for i in 0..K {
            x[i] = S::max(S::splat(LOWEST), x[i]);
            n[i] = S::round(S::mul(x[i], S::splat(LOG2_E)));
            x[i] = S::fnma(n[i], S::splat(LN_2_HIGH), x[i]);
            x[i] = S::fnma(n[i], S::splat(LN_2_LOW), x[i]);
        }
        let mut p = polynomial::<S, K>(x, &EXP);
        for i in 0..K {
            p[i] = S::fma(p[i], x[i], S::splat(1.0));
        }
        for i in 0..K {
            p[i] = S::fma(p[i], x[i], S::splat(1.0));
        }
        (p, n)
    }
}

/// `2^x`, or 2^-126 for less: never a subnormal number. The decay of the scan: one multiplication less than [`exp`] and
/// no reduction by parts.
#[inline(always)]
pub unsafe fn exp2<S: Simd, const K: usize>(mut x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        for i in 0..K {
            x[i] = S::min(S::splat(128.0), S::max(S::splat(-126.0), x[i]));
        }
        exp2_inside::<S, K>(x)
    }
}

/// [`exp2`] from -126 to 128.
#[inline(always)]
pub unsafe fn exp2_inside<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module. For n of -126 p is at least 1, and for 128 at most 1.
    unsafe {
        let (mut n, mut r) = (x, x);
        for i in 0..K {
            (n[i], r[i]) = S::split(x[i]);
        }
        let mut p = polynomial::<S, K>(r, &EXP2);
        for i in 0..K {
            p[i] = S::scale_inside(S::fma(p[i], r[i], S::splat(1.0)), n[i]);
        }
        p
    }
}

/// What [`log1p`] returns as it is: half a unit in the last place of 1, so the result rounds to it.
const LINEAR: f32 = 1.0 / (1 << 24) as f32;

/// `ln(1 + e)` for `e` in `[0, 1]`, as `2 atanh(e / (2 + e))`.
#[inline(always)]
unsafe fn log1p<S: Simd, const K: usize>(e: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        let (mut s, mut w) = (e, e);
        for i in 0..K {
            let above = S::max(S::splat(LINEAR), e[i]); // the cube of less would be subnormal
            s[i] = S::div(above, S::add(above, S::splat(2.0)));
        }
        for i in 0..K {
            w[i] = S::mul(s[i], s[i]);
        }
        let mut p = polynomial::<S, K>(w, &ATANH);
        for i in 0..K {
            let twice = S::add(s[i], s[i]);
            p[i] = S::fma(S::mul(twice, w[i]), p[i], twice);
            p[i] = S::select_less(e[i], S::splat(LINEAR), e[i], p[i]);
        }
        p
    }
}

/// `ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|)`. Above 17 it is `x` by rounding; the official code has that from 20.
#[inline(always)]
pub unsafe fn softplus<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        let mut y = x;
        for i in 0..K {
            y[i] = S::neg_abs(x[i]);
        }
        y = log1p::<S, K>(exp_negative::<S, K>(y));
        for i in 0..K {
            y[i] = S::add(S::max(S::splat(0.0), x[i]), y[i]);
        }
        y
    }
}

/// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` where `x` is negative.
#[inline(always)]
pub unsafe fn sigmoid<S: Simd, const K: usize>(x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        let one = S::splat(1.0);
        let mut y = x;
        for i in 0..K {
            y[i] = S::neg_abs(x[i]);
        }
        y = exp_negative::<S, K>(y);
        for i in 0..K {
            let above = S::select_less(x[i], S::splat(0.0), y[i], one);
            y[i] = S::div(above, S::add(y[i], one));
        }
        y
    }
}

/// `x · sigmoid(x)`; its limit -0 at negative infinity.
#[inline(always)]
pub unsafe fn silu<S: Simd, const K: usize>(mut x: [S::F; K]) -> [S::F; K] {
    // SAFETY: condition 1 of the module.
    unsafe {
        for i in 0..K {
            x[i] = S::max(S::splat(f32::MIN), x[i]); // keeps infinity times zero away; a NaN stays
        }
        let mut y = sigmoid::<S, K>(x);
        for i in 0..K {
            y[i] = S::mul(x[i], y[i]);
        }
        y
    }
}
