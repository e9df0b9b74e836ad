//! Loading and storing vectors of any storage type.

use super::{MAX_LANES, Simd};
use half::{bf16, f16};

/// A storage type as a kernel reads and writes it: widened exactly, rounded to nearest even.
///
/// # Safety
/// As for [`Simd`]: the CPU has the features of `S`, and the pointers are valid for the lanes that are accessed.
pub trait Lanes: Copy {
    /// `S::LANES` elements.
    unsafe fn load<S: Simd>(source: *const Self) -> S::F;
    /// Stores `S::LANES` elements.
    unsafe fn store<S: Simd>(target: *mut Self, value: S::F);
    /// The first `count < S::LANES` elements; the other lanes are zero.
    unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F;
    /// Stores the first `count < S::LANES` lanes.
    unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize);
}

impl Lanes for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(source: *const Self) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { S::load(source) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(target: *mut Self, value: S::F) {
        // SAFETY: the caller's promise is the same.
        unsafe { S::store(target, value) }
    }
    #[inline(always)]
    unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F {
        // SAFETY: the caller's promise is the same.
        unsafe { S::load_first(source, count) }
    }
    #[inline(always)]
    unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe { S::store_first(target, value, count) }
    }
}

macro_rules! half_lanes {
    ($($t:ty: $load:ident $store:ident),*) => {$(
        impl Lanes for $t {
            #[inline(always)]
            unsafe fn load<S: Simd>(source: *const Self) -> S::F {
                // SAFETY: the type is transparent over u16; the caller's promise is the same.
                unsafe { S::$load(source.cast()) }
            }
            #[inline(always)]
            unsafe fn store<S: Simd>(target: *mut Self, value: S::F) {
                // SAFETY: the type is transparent over u16; the caller's promise is the same.
                unsafe { S::$store(target.cast(), value) }
            }
            #[inline(always)]
            unsafe fn load_first<S: Simd>(source: *const Self, count: usize) -> S::F {
                let mut bits = [0u16; MAX_LANES];
                // SAFETY: the caller vouches for `count` elements; `bits` holds LANES of them.
                unsafe {
                    std::ptr::copy_nonoverlapping(source.cast(), bits.as_mut_ptr(), count);
                    S::$load(bits.as_ptr())
                }
            }
            #[inline(always)]
            unsafe fn store_first<S: Simd>(target: *mut Self, value: S::F, count: usize) {
                let mut bits = [0u16; MAX_LANES];
                // SAFETY: `bits` holds LANES elements; the caller vouches for `count` of them at `target`.
                unsafe {
                    S::$store(bits.as_mut_ptr(), value);
                    std::ptr::copy_nonoverlapping(bits.as_ptr(), target.cast(), count);
                }
            }
        }
    )*};
}

half_lanes!(f16: load_f16 store_f16, bf16: load_bf16 store_bf16);

/// `count <= S::LANES` elements.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub unsafe fn load<S: Simd, U: Lanes>(source: *const U, count: usize) -> S::F {
    // SAFETY: the caller's promise is the same.
    unsafe { if count == S::LANES { U::load::<S>(source) } else { U::load_first::<S>(source, count) } }
}

/// Stores `count <= S::LANES` lanes.
///
/// # Safety
/// As for [`Lanes`].
#[inline(always)]
pub unsafe fn store<S: Simd, U: Lanes>(target: *mut U, value: S::F, count: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        if count == S::LANES {
            U::store::<S>(target, value)
        } else {
            U::store_first::<S>(target, value, count)
        }
    }
}
