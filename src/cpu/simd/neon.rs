//! Four lanes: NEON, which every aarch64 CPU has.

// Every body consists of intrinsics, which need the features of condition 1 of the trait, and of loads and stores through
// pointers that condition 2 covers. The inline assembly is two conversions between registers, which touch no memory.
#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::Simd;
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON.
#[derive(Debug, Clone, Copy)]
pub struct Neon;

/// `2^n` for an integral `n` in `[-126, 127]`.
#[inline(always)]
unsafe fn power(n: int32x4_t) -> float32x4_t {
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(n, vdupq_n_s32(127))))
}

impl Simd for Neon {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    type F = float32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        vdupq_n_f32(value)
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> float32x4_t {
        vld1q_f32(source)
    }
    #[inline(always)]
    unsafe fn store(target: *mut f32, value: float32x4_t) {
        vst1q_f32(target, value)
    }
    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(source)))
    }
    #[inline(always)]
    unsafe fn store_bf16(target: *mut u16, value: float32x4_t) {
        // ties to even; a NaN stays one
        let bits = vreinterpretq_u32_f32(value);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
        let upper = vbslq_u32(vceqq_f32(value, value), rounded, quiet);
        vst1_u16(target, vshrn_n_u32::<16>(upper))
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> float32x4_t {
        // every NEON converts between f16 and f32, but not every supported Rust has the intrinsics
        let bits = vld1_u16(source);
        let value: float32x4_t;
        asm!("fcvtl {value:v}.4s, {bits:v}.4h", bits = in(vreg) bits, value = out(vreg) value,
            options(pure, nomem, nostack, preserves_flags));
        value
    }
    #[inline(always)]
    unsafe fn store_f16(target: *mut u16, value: float32x4_t) {
        let bits: uint16x4_t;
        asm!("fcvtn {bits:v}.4h, {value:v}.4s", value = in(vreg) value, bits = out(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
        vst1_u16(target, bits)
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vdivq_f32(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }
    #[inline(always)]
    unsafe fn fnma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmsq_f32(c, a, b)
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcltq_f32(a, b), a, b)
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcgtq_f32(a, b), a, b)
    }
    #[inline(always)]
    unsafe fn neg_abs(a: float32x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(1 << 31)))
    }
    #[inline(always)]
    unsafe fn select_less(x: float32x4_t, y: float32x4_t, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcltq_f32(x, y), a, b)
    }
    #[inline(always)]
    unsafe fn any_above(x: float32x4_t, y: float32x4_t) -> bool {
        vmaxvq_u32(vcgtq_f32(x, y)) != 0
    }
    #[inline(always)]
    unsafe fn round(x: float32x4_t) -> float32x4_t {
        vrndnq_f32(x)
    }
    #[inline(always)]
    unsafe fn upper_bf16(pairs: float32x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pairs), vdupq_n_u32(0xffff_0000)))
    }
    #[inline(always)]
    unsafe fn lower_bf16(pairs: float32x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(vshlq_n_u32::<16>(vreinterpretq_u32_f32(pairs)))
    }
    #[inline(always)]
    unsafe fn flush(x: float32x4_t) -> float32x4_t {
        let bits = vreinterpretq_u32_f32(x);
        let exponent = vtstq_u32(bits, vdupq_n_u32(0x7f80_0000));
        vreinterpretq_f32_u32(vandq_u32(bits, vorrq_u32(exponent, vdupq_n_u32(1 << 31))))
    }
    #[inline(always)]
    unsafe fn any_subnormal(x: float32x4_t) -> bool {
        // magnitudes from 1 to 0x7fffff, as integers: less by one, below 0x7fffff
        let magnitude = vbicq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(1 << 31));
        let less = vsubq_u32(magnitude, vdupq_n_u32(1));
        vmaxvq_u32(vcltq_u32(less, vdupq_n_u32(0x7f_ffff))) != 0
    }
    #[inline(always)]
    unsafe fn scale(p: float32x4_t, n: float32x4_t) -> float32x4_t {
        // two factors, since 2^n alone may be out of range; the first product is exact
        let n = vcvtq_s32_f32(n);
        let half = vshrq_n_s32::<1>(n);
        vmulq_f32(vmulq_f32(p, power(half)), power(vsubq_s32(n, half)))
    }
    #[inline(always)]
    unsafe fn scale_inside(p: float32x4_t, n: float32x4_t) -> float32x4_t {
        // the exponent field; a NaN becomes the integer 0
        let n = vshlq_n_s32::<23>(vcvtq_s32_f32(n));
        vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), n))
    }
}
