//! Loading and storing vectors of any storage type.

use super::vector::{MAX_LANES, Simd};
use half::{bf16, f16};

/// A storage type as a kernel reads and writes it: widened exactly, rounded to nearest even.
///
/// # Safety
/// Of every method, as for [`Simd`]:
/// 1. The CPU has the target features of `S`.
/// 2. Pointers are valid for the lanes that are read or written.
pub trait LoadStore: Copy {
    /// `S::LANES` elements.
    unsafe fn load<S: Simd>(source: *const Self) -> S::F;
    /// Stores `S::LANES` elements.
    unsafe fn store<S: Simd>(target: *mut Self, value: S::F);
    /// The first `count < S::LANES` elements; the other lanes are zero.
    unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F;
    /// Stores the first `count < S::LANES` lanes.
    unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize);
}

impl LoadStore for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(source: *const Self) -> S::F {
        // SAFETY: conditions 1 and 2 are those of the trait.
        unsafe { S::load(source) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(target: *mut Self, value: S::F) {
        // SAFETY: conditions 1 and 2 are those of the trait.
        unsafe { S::store(target, value) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F {
        // SAFETY: conditions 1 and 2 are those of the trait.
        unsafe { S::load_first(source, count) }
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize) {
        // SAFETY: conditions 1 and 2 are those of the trait.
        unsafe { S::store_first(target, value, count) }
    }
}

macro_rules! half_lanes {
    ($($t:ty: $load:ident $store:ident),*) => {$(
        impl LoadStore for $t {
            #[inline(always)]
            unsafe fn load<S: Simd>(source: *const Self) -> S::F {
                // SAFETY: the type is transparent over u16; conditions 1 and 2 are those of the trait.
                unsafe { S::$load(source.cast()) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(target: *mut Self, value: S::F) {
                // SAFETY: the type is transparent over u16; conditions 1 and 2 are those of the trait.
                unsafe { S::$store(target.cast(), value) }
            }
            #[inline(always)]
            unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F {
                let mut bits = [0u16; MAX_LANES];
                // SAFETY: `source` has `count` elements (2); `bits` holds LANES of them.
                unsafe {
                    std::ptr::copy_nonoverlapping(source.cast(), bits.as_mut_ptr(), count);
                    S::$load(bits.as_ptr())
                }
            }
            #[inline(always)]
            unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize) {
                let mut bits = [0u16; MAX_LANES];
                // SAFETY: `bits` holds LANES elements; `target` has room for `count` (2).
                unsafe {
                    S::$store(bits.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(bits.as_ptr(), target.cast(), count);
                }
            }
        }
    )*};
}

half_lanes!(f16: load_f16 store_f16, bf16: load_bf16 store_bf16);

/// Whether one of `count` elements is subnormal as an f32.
///
/// # Safety
/// As for [`LoadStore`], with `count` elements at the pointer.
#[inline(always)]
pub unsafe fn any_subnormal<S: Simd, U: LoadStore>(source: *const U, count: usize) -> bool {
    let (whole, mut seen) = (count / S::LANES * S::LANES, false);
    // SAFETY: the elements are among the `count` (2); condition 1.
    unsafe {
        for i in (0..whole).step_by(S::LANES) {
            seen |= S::any_subnormal(U::load::<S>(source.add(i)));
        }
        if whole < count {
            seen |= S::any_subnormal(U::load_first::<S>(source.add(whole), count - whole));
        }
    }
    seen
}

/// `count <= S::LANES` elements.
///
/// # Safety
/// As for [`LoadStore`], with `count` elements at the pointer.
#[inline(always)]
pub unsafe fn load<S: Simd, U: LoadStore>(source: *const U, count: usize) -> S::F {
    // SAFETY: conditions 1 and 2 are those of the trait.
    unsafe { if count == S::LANES { U::load::<S>(source) } else { U::load_first::<S>(source, count) } }
}

/// Stores `count <= S::LANES` lanes.
///
/// # Safety
/// As for [`LoadStore`], with `count` elements at the pointer.
#[inline(always)]
pub unsafe fn store<S: Simd, U: LoadStore>(target: *mut U, value: S::F, count: usize) {
    // SAFETY: conditions 1 and 2 are those of the trait.
    unsafe {
        if count == S::LANES {
            U::store::<S>(target, value)
        } else {
            U::store_first::<S>(target, value, count)
        }
    }
}
