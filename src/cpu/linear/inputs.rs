//! The inputs of a product in the form that its weight format takes.

use super::formats::format::InputForm;
use crate::arrays::DType;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd, any_subnormal, load, store};
use crate::with_element_type;
use half::bf16;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

/// Some rows of the input to convert.
pub(super) struct ConvertJob {
    /// The first row of the block that is converted at once.
    pub first: usize,
    /// Rows of that block.
    pub rows: Range<usize>,
    pub columns: usize,
    pub input: RowPtr,
    pub input_type: DType,
    pub form: InputForm,
    /// The block without gaps: `[rows, columns]` of f32 or `[rows, columns / 2]` pairs of bf16, rounded up.
    pub target: *mut f32,
}

/// Some rows of an input in f32 that is to be used where it is.
pub(super) struct WatchJob {
    pub rows: Range<usize>,
    pub columns: usize,
    pub input: RowPtr,
    /// Set if one of the numbers is subnormal.
    pub seen: *const AtomicBool,
}

kernel! {
    /// Looks for subnormal numbers.
    pub(super) fn watch(WatchJob) = watch_body;
}

/// # Safety
/// 1. The input has these rows, of `columns` numbers; `seen` is valid.
/// 2. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn watch_body<S: Simd>(job: &WatchJob) {
    debug_assert!(!job.seen.is_null());
    let mut seen = false;
    for row in job.rows.clone() {
        // SAFETY: the row has `columns` numbers (1); condition 2.
        seen |= unsafe { any_subnormal::<S, f32>(job.input.at(row, 0), job.columns) };
    }
    if seen {
        // SAFETY: the flag is valid (1).
        unsafe { (*job.seen).store(true, Ordering::Relaxed) };
    }
}

kernel! {
    /// Converts rows of the input.
    pub(super) fn convert(ConvertJob) = convert_body;
}

/// # Safety
/// 1. Row `first + i` of the input has `columns` elements of `input_type` for each `i` of `rows`.
/// 2. Row `i` of the target, in the given form, may be written, and nobody else accesses it meanwhile.
/// 3. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn convert_body<S: Simd>(job: &ConvertJob) {
    debug_assert!(job.rows.start <= job.rows.end && !job.target.is_null());
    // SAFETY: the type is that of the input (1); the other conditions are the same.
    unsafe { with_element_type!(job.input_type, T => convert_from::<S, T>(job), else => unreachable!()) }
}

/// # Safety
/// As for [`convert_body`], with `T` for `input_type`.
#[inline(always)]
unsafe fn convert_from<S: Simd, T: LoadStore>(job: &ConvertJob) {
    let k = job.columns;
    for row in job.rows.clone() {
        // SAFETY: `count` elements from `i` on are among the `columns` of both rows (1, 2); in pairs, the target's row has
        // room for a zero after an odd number of columns.
        unsafe {
            let source = job.input.at::<T>(job.first + row, 0);
            let pairs = job.target.add(row * k.div_ceil(2)).cast::<bf16>();
            if job.form == InputForm::Bf16Pairs && !k.is_multiple_of(2) {
                *pairs.add(k) = bf16::ZERO;
            }
            for i in (0..k).step_by(S::LANES) {
                let count = S::LANES.min(k - i);
                let value = S::flush(load::<S, T>(source.add(i), count));
                match job.form {
                    InputForm::F32 => store::<S, f32>(job.target.add(row * k + i), value, count),
                    InputForm::Bf16Pairs => store::<S, bf16>(pairs.add(i), value, count),
                }
            }
        }
    }
}
