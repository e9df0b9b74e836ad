//! [`Simd`]: the vector that every CPU kernel is written over, once.
//!
//! A kernel's body is a function `body::<S: Simd>(job)` marked `#[inline(always)]`; `kernel!` compiles it inside one function
//! per instruction set that enables the target features of `S`. No closures over vectors: one that is not inlined loses
//! its target features, and every intrinsic in it becomes a call.

/// The most lanes of any implementation: the size of scratch arrays for partial vectors.
pub const MAX_LANES: usize = 16;

/// A vector of `LANES` f32 numbers and the IEEE-754 operations of the arithmetic contract.
///
/// Every operation is rounded to nearest even, honours subnormals and gives the same result on every implementation,
/// except the payload of a NaN.
///
/// # Safety
/// Of every method:
/// 1. The CPU has the target features of the implementation.
/// 2. Pointers are valid for the lanes that are read or written. They need no alignment beyond the element's.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Numbers per vector: 4, 8 or 16.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// The vector.
    type F: Copy;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(source: *const f32) -> Self::F;
    unsafe fn store(target: *mut f32, value: Self::F);
    /// A non-temporal store if the CPU has one. `target` is a multiple of a vector's size.
    #[inline(always)]
    unsafe fn store_nontemporal(target: *mut f32, value: Self::F) {
        // SAFETY: conditions 1 and 2 are those of a plain store.
        unsafe { Self::store(target, value) }
    }
    /// Orders non-temporal stores before all later stores.
    #[inline(always)]
    unsafe fn fence_nontemporal() {}
    /// `LANES` bf16 numbers, as their bits, widened.
    unsafe fn load_bf16(source: *const u16) -> Self::F;
    unsafe fn store_bf16(target: *mut u16, value: Self::F);
    /// `LANES` f16 numbers, as their bits, widened.
    unsafe fn load_f16(source: *const u16) -> Self::F;
    unsafe fn store_f16(target: *mut u16, value: Self::F);

    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    unsafe fn fnma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a < b ? a : b`: `b` where either is a NaN.
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a > b ? a : b`: `b` where either is a NaN.
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    /// The sign bit set.
    unsafe fn neg_abs(a: Self::F) -> Self::F;
    /// `x < y ? a : b` per lane: `b` where `x` or `y` is a NaN.
    unsafe fn select_less(x: Self::F, y: Self::F, a: Self::F, b: Self::F) -> Self::F;
    /// Whether some lane of `x` is above that of `y`.
    unsafe fn any_above(x: Self::F, y: Self::F) -> bool;
    /// The nearest integer, ties to even, for `|x| < 2^22`.
    unsafe fn round(x: Self::F) -> Self::F;
    /// `p * 2^n`, rounded once, for `p` in `[0.5, 2]` and an integral `n` in `[-126, 128]`. A NaN in both stays one.
    unsafe fn scale(p: Self::F, n: Self::F) -> Self::F;
    /// The same where the result is a normal number, or infinity if `p` is 1.
    #[inline(always)]
    unsafe fn scale_inside(p: Self::F, n: Self::F) -> Self::F {
        // SAFETY: condition 1.
        unsafe { Self::scale(p, n) }
    }

    /// The upper bf16 number of each lane's bits, widened.
    unsafe fn upper_bf16(pairs: Self::F) -> Self::F;
    /// The lower one.
    unsafe fn lower_bf16(pairs: Self::F) -> Self::F;
    /// Zero, of the same sign, for what is subnormal. By bits: an operation on a subnormal number may be slow.
    unsafe fn flush(x: Self::F) -> Self::F;
    /// Whether some lane is subnormal.
    unsafe fn any_subnormal(x: Self::F) -> bool;

    /// `(n, r)` with `n` the integer nearest to `x` and `r = x - n`, exactly, for `|x| < 2^22`.
    #[inline(always)]
    unsafe fn split(x: Self::F) -> (Self::F, Self::F) {
        // SAFETY: condition 1.
        unsafe {
            let n = Self::round(x);
            (n, Self::sub(x, n))
        }
    }

    /// Prefetches the cache line at `address`, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        let _ = address;
    }

    /// The first `count < LANES` numbers; the other lanes are zero.
    #[inline(always)]
    unsafe fn load_first(source: *const f32, count: usize) -> Self::F {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: `source` has `count` numbers (2); `lanes` holds LANES of them.
        unsafe {
            std::ptr::copy_nonoverlapping(source, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// Stores the first `count < LANES` lanes.
    #[inline(always)]
    unsafe fn store_first(target: *mut f32, value: Self::F, count: usize) {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: `lanes` holds LANES numbers; `target` has room for `count` (2).
        unsafe {
            Self::store(lanes.as_mut_ptr(), value);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, count);
        }
    }
}
