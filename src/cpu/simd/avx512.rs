//! Sixteen lanes: AVX-512 F, BW, VL and DQ.

// Every body consists of intrinsics, which need the features of condition 1 of the trait, and of loads and stores through
// pointers that condition 2 covers. The one exception is the transmute in `Bf16Dot`, between two types of 512 bits.
#![allow(unsafe_op_in_unsafe_fn)]

use super::bf16_dot::Bf16Dot;
use super::vector::Simd;
use std::arch::x86_64::*;

/// AVX-512 F, BW, VL, DQ.
#[derive(Debug, Clone, Copy)]
pub struct Avx512;

const NEAREST: i32 = 0x08; // to the nearest integer, ties to even, no exceptions

/// Sixteen f32 numbers to bf16, ties to even; a NaN stays one.
#[inline(always)]
unsafe fn to_bf16(value: __m512) -> __m256i {
    let bits = _mm512_castps_si512(value);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
    _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_mask_blend_epi32(nan, rounded, quiet)))
}

#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// AVX512-BF16, next to [`Avx512`].
pub struct Avx512Bf16;

impl Bf16Dot<Avx512> for Avx512Bf16 {
    #[inline(always)]
    unsafe fn dot(a: __m512, b: __m512, sum: __m512) -> __m512 {
        // the same 512 bits, of which the intrinsic's type only says that they are bf16 pairs
        let [a, b] = [a, b].map(|pairs| std::mem::transmute::<__m512, __m512bh>(pairs));
        _mm512_dpbf16_ps(sum, a, b)
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type F = __m512;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> __m512 {
        _mm512_loadu_ps(source)
    }
    #[inline(always)]
    unsafe fn store(target: *mut f32, value: __m512) {
        _mm512_storeu_ps(target, value)
    }
    #[inline(always)]
    unsafe fn store_nontemporal(target: *mut f32, value: __m512) {
        _mm512_stream_ps(target, value)
    }
    #[inline(always)]
    unsafe fn fence_nontemporal() {
        _mm_sfence()
    }
    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> __m512 {
        let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(source.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
    }
    #[inline(always)]
    unsafe fn store_bf16(target: *mut u16, value: __m512) {
        _mm256_storeu_si256(target.cast(), to_bf16(value))
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(source.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(target: *mut u16, value: __m512) {
        _mm256_storeu_si256(target.cast(), _mm512_cvtps_ph::<NEAREST>(value))
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fnmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn neg_abs(a: __m512) -> __m512 {
        _mm512_or_ps(a, _mm512_set1_ps(-0.0))
    }
    #[inline(always)]
    unsafe fn select_less(x: __m512, y: __m512, a: __m512, b: __m512) -> __m512 {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, y), b, a)
    }
    #[inline(always)]
    unsafe fn any_above(x: __m512, y: __m512) -> bool {
        _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y) != 0
    }
    #[inline(always)]
    unsafe fn round(x: __m512) -> __m512 {
        _mm512_roundscale_ps::<NEAREST>(x)
    }
    #[inline(always)]
    unsafe fn scale(p: __m512, n: __m512) -> __m512 {
        _mm512_scalef_ps(p, n) // saturates for any n
    }
    #[inline(always)]
    unsafe fn split(x: __m512) -> (__m512, __m512) {
        let r = _mm512_reduce_ps::<NEAREST>(x);
        (_mm512_sub_ps(x, r), r)
    }
    #[inline(always)]
    unsafe fn upper_bf16(pairs: __m512) -> __m512 {
        let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
        _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pairs), upper))
    }
    #[inline(always)]
    unsafe fn lower_bf16(pairs: __m512) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(pairs)))
    }
    #[inline(always)]
    unsafe fn flush(x: __m512) -> __m512 {
        let no_exponent = _mm512_testn_epi32_mask(_mm512_castps_si512(x), _mm512_set1_epi32(0x7f80_0000));
        _mm512_mask_and_ps(x, no_exponent, x, _mm512_set1_ps(-0.0))
    }
    #[inline(always)]
    unsafe fn any_subnormal(x: __m512) -> bool {
        _mm512_fpclass_ps_mask::<0x20>(x) != 0
    }

    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        _mm_prefetch::<_MM_HINT_T0>(address.cast())
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(count), source)
    }
    #[inline(always)]
    unsafe fn store_first(target: *mut f32, value: __m512, count: usize) {
        _mm512_mask_storeu_ps(target, first(count), value)
    }
}
