//! The vector trait without intrinsics: arrays of eight numbers, on any CPU.

use super::fused::{EMULATED, fused};
use super::vector::Simd;
use crate::arrays::flush;
use half::f16;

/// Eight numbers in an array. Loops over them without calls and branches become vector instructions of any target.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

const LANES: usize = 8;
type F = [f32; LANES];

#[inline(always)]
fn map2(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|i| f(a[i], b[i]))
}

/// To bf16, ties to even; a NaN stays one.
#[inline(always)]
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if value.is_nan() { bits | 0x0040_0000 } else { rounded } >> 16) as u16
}

/// An integral number of magnitude below 2^22 as an integer, and 0 for a NaN.
#[inline(always)]
fn integer(n: f32) -> i32 {
    let bits = (n + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i32;
    if n.is_nan() { 0 } else { bits }
}

/// 1.5 · 2^23: a sum with it has no fraction bits, and its last bits are those of an integer.
const MAGIC: f32 = 12582912.0;

impl Simd for Portable {
    const LANES: usize = LANES;
    const REGISTERS: usize = 16;
    type F = F;

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> F {
        // SAFETY: `source` has LANES numbers (condition 2 of the trait); an array of f32 has the alignment of one.
        unsafe { source.cast::<F>().read() }
    }
    #[inline(always)]
    unsafe fn store(target: *mut f32, value: F) {
        // SAFETY: as in `load`.
        unsafe { target.cast::<F>().write(value) }
    }
    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> F {
        // SAFETY: `source` has LANES elements (condition 2 of the trait).
        let bits = unsafe { source.cast::<[u16; LANES]>().read() };
        bits.map(|bits| f32::from_bits(u32::from(bits) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(target: *mut u16, value: F) {
        // SAFETY: as in `load_bf16`.
        unsafe { target.cast::<[u16; LANES]>().write(value.map(to_bf16)) }
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> F {
        // SAFETY: `source` has LANES elements (condition 2 of the trait).
        let bits = unsafe { source.cast::<[u16; LANES]>().read() };
        bits.map(|bits| f16::from_bits(bits).to_f32())
    }
    #[inline(always)]
    unsafe fn store_f16(target: *mut u16, value: F) {
        // SAFETY: as in `load_f16`.
        unsafe { target.cast::<[u16; LANES]>().write(value.map(|value| f16::from_f32(value).to_bits())) }
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        if EMULATED { fused(a, b, c) } else { std::array::from_fn(|i| a[i].mul_add(b[i], c[i])) }
    }
    #[inline(always)]
    unsafe fn fnma(a: F, b: F, c: F) -> F {
        // SAFETY: plain Rust needs no features (1).
        unsafe { Self::fma(a.map(|a| -a), b, c) }
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn neg_abs(a: F) -> F {
        a.map(|a| f32::from_bits(a.to_bits() | 1 << 31))
    }
    #[inline(always)]
    unsafe fn select_less(x: F, y: F, a: F, b: F) -> F {
        std::array::from_fn(|i| if x[i] < y[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn any_above(x: F, y: F) -> bool {
        (0..LANES).fold(false, |any, i| any | (x[i] > y[i]))
    }
    #[inline(always)]
    unsafe fn round(x: F) -> F {
        x.map(|x| (x + MAGIC) - MAGIC)
    }
    #[inline(always)]
    unsafe fn upper_bf16(pairs: F) -> F {
        pairs.map(|pair| f32::from_bits(pair.to_bits() & 0xffff_0000))
    }
    #[inline(always)]
    unsafe fn lower_bf16(pairs: F) -> F {
        pairs.map(|pair| f32::from_bits(pair.to_bits() << 16))
    }
    #[inline(always)]
    unsafe fn flush(x: F) -> F {
        x.map(flush)
    }
    #[inline(always)]
    unsafe fn any_subnormal(x: F) -> bool {
        x.iter().any(|x| x.is_subnormal())
    }
    #[inline(always)]
    unsafe fn scale(p: F, n: F) -> F {
        // two factors, since 2^n alone may be out of range; the first product is exact
        std::array::from_fn(|i| {
            let n = integer(n[i]);
            let half = n >> 1;
            let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
            p[i] * power(half) * power(n - half)
        })
    }
    #[inline(always)]
    unsafe fn scale_inside(p: F, n: F) -> F {
        // the exponent field
        std::array::from_fn(|i| f32::from_bits(p[i].to_bits().wrapping_add((integer(n[i]) as u32) << 23)))
    }
}
