//! Eight lanes: AVX2, FMA and F16C.

// Every body consists of intrinsics, which need the features of condition 1 of the trait, and of loads and stores through
// pointers that condition 2 covers.
#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::Simd;
use std::arch::x86_64::*;

/// AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy)]
pub struct Avx2;

/// Eight f32 numbers to bf16, ties to even; a NaN stays one.
#[inline(always)]
unsafe fn to_bf16(value: __m256) -> __m128i {
    let bits = _mm256_castps_si256(value);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    let upper = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
    let packed = _mm256_packus_epi32(upper, upper); // per half of the register
    _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
}

/// `2^n` for an integral `n` in `[-126, 127]`.
#[inline(always)]
unsafe fn power(n: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))))
}

/// All bits set in the first `count` lanes.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes)
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type F = __m256;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(source: *const f32) -> __m256 {
        _mm256_loadu_ps(source)
    }
    #[inline(always)]
    unsafe fn store(target: *mut f32, value: __m256) {
        _mm256_storeu_ps(target, value)
    }
    #[inline(always)]
    unsafe fn store_nontemporal(target: *mut f32, value: __m256) {
        _mm256_stream_ps(target, value)
    }
    #[inline(always)]
    unsafe fn fence_nontemporal() {
        _mm_sfence()
    }
    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> __m256 {
        let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }
    #[inline(always)]
    unsafe fn store_bf16(target: *mut u16, value: __m256) {
        _mm_storeu_si128(target.cast(), to_bf16(value))
    }
    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(source.cast()))
    }
    #[inline(always)]
    unsafe fn store_f16(target: *mut u16, value: __m256) {
        _mm_storeu_si128(target.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value))
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn div(a: __m256, b: __m256) -> __m256 {
        _mm256_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fnmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn min(a: __m256, b: __m256) -> __m256 {
        _mm256_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn max(a: __m256, b: __m256) -> __m256 {
        _mm256_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn neg_abs(a: __m256) -> __m256 {
        _mm256_or_ps(a, _mm256_set1_ps(-0.0))
    }
    #[inline(always)]
    unsafe fn select_less(x: __m256, y: __m256, a: __m256, b: __m256) -> __m256 {
        _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_LT_OQ>(x, y))
    }
    #[inline(always)]
    unsafe fn any_above(x: __m256, y: __m256) -> bool {
        _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) != 0
    }
    #[inline(always)]
    unsafe fn round(x: __m256) -> __m256 {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
    }
    #[inline(always)]
    unsafe fn scale(p: __m256, n: __m256) -> __m256 {
        // two factors, since 2^n alone may be out of range; the first product is exact
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        _mm256_mul_ps(_mm256_mul_ps(p, power(half)), power(_mm256_sub_epi32(n, half)))
    }
    #[inline(always)]
    unsafe fn scale_inside(p: __m256, n: __m256) -> __m256 {
        // the exponent field; a NaN becomes the integer 2^31, of which no bit is left
        let n = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(n));
        _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n))
    }
    #[inline(always)]
    unsafe fn upper_bf16(pairs: __m256) -> __m256 {
        let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(pairs), upper))
    }
    #[inline(always)]
    unsafe fn lower_bf16(pairs: __m256) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(pairs)))
    }
    #[inline(always)]
    unsafe fn flush(x: __m256) -> __m256 {
        let exponent = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7f80_0000));
        let none = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
        _mm256_andnot_ps(_mm256_castsi256_ps(_mm256_srli_epi32::<1>(none)), x)
    }
    #[inline(always)]
    unsafe fn any_subnormal(x: __m256) -> bool {
        // magnitudes from 1 to 0x7fffff, as integers: less by one, from 0 to 0x7ffffe
        let magnitude = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fff_ffff));
        let less = _mm256_sub_epi32(magnitude, _mm256_set1_epi32(1));
        let within = _mm256_cmpeq_epi32(less, _mm256_min_epu32(less, _mm256_set1_epi32(0x7f_fffe)));
        _mm256_testz_si256(within, within) == 0
    }

    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        _mm_prefetch::<_MM_HINT_T0>(address.cast())
    }
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> __m256 {
        _mm256_maskload_ps(source, first(count))
    }
    #[inline(always)]
    unsafe fn store_first(target: *mut f32, value: __m256, count: usize) {
        _mm256_maskstore_ps(target, first(count), value)
    }
}
