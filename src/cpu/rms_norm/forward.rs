//! RMSNorm with the residual add fused.
//!
//! ```text
//! r = input + residual; residual = r
//! s[j] = 2^-100 + Σ r[i]² over i with i mod 16 = j, ascending, one fma each, for j in 0..16
//! mean = (tree(s) - 16 · 2^-100) / channels; scale = 1 / sqrt(mean + eps)
//! output = (r · scale) · weight
//! ```
//!
//! What the vectors change: sixteen partial sums are one vector of 16 lanes, two of 8 or four of 4. Lanes beyond the
//! last channel add `0 · 0`, which changes no sum.

use crate::arrays::{DType, Element, Result};
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::machine::split::Split;
use crate::cpu::machine::threads::Shared;
use crate::cpu::math::FIRST;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd, load, store};
use crate::ops::RmsNorm;
use crate::with_element_type;
use std::ops::Range;
use std::ptr::NonNull;

/// Partial sums of squares: part of the contract.
const SUMS: usize = 16;

/// Fewest elements that are worth a task of their own.
const ELEMENTS_PER_TASK: usize = 1 << 15;

/// The arrays of a call.
#[derive(Clone, Copy)]
struct Norm {
    channels: usize,
    eps: f32,
    input: RowPtr,
    input_type: DType,
    /// In f32.
    residual: Option<RowPtr>,
    weight: Option<NonNull<f32>>,
    output: RowPtr,
    output_type: DType,
}

/// The norms of some rows.
struct NormJob {
    norm: Norm,
    rows: Range<usize>,
}

kernel! {
    /// The norms of some rows.
    fn norm_rows(NormJob) = norm_rows_body;
}

pub(in crate::cpu) fn rms_norm<T: Element, U: Element>(
    cpu: &Cpu,
    args: RmsNorm<'_, Cpu, T, U>,
) -> Result<()> {
    let shape = args.validate()?;
    let norm = Shared::new(Norm {
        channels: shape.channels,
        eps: args.eps,
        input: RowPtr::of(&args.input),
        input_type: T::DTYPE,
        residual: args.residual.map(RowPtr::of_mut),
        weight: args.weight.map(|weight| NonNull::from(weight).cast()),
        output: RowPtr::of_mut(args.output),
        output_type: U::DTYPE,
    });
    let work = shape.tokens * shape.channels;
    let split = Split::new(work, ELEMENTS_PER_TASK, cpu.threads.team(), shape.tokens, 1);
    let norm_rows = norm_rows(cpu.isa);
    cpu.threads.for_each(split.tasks(), |_, index| {
        let job = NormJob { norm: norm.get(), rows: split.task(index) };
        // SAFETY: `validate` checked that every array has these rows of `channels` elements (1); the types are those of
        // the arguments (2); tasks have rows of their own (3).
        unsafe { norm_rows(&job) }
    });
    Ok(())
}

/// # Safety
/// 1. Every array of the job has `channels` elements in each of the job's rows.
/// 2. Their types are `input_type` and `output_type`.
/// 3. Nobody else accesses these rows of the output and of the residual meanwhile.
/// 4. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn norm_rows_body<S: Simd>(job: &NormJob) {
    // SAFETY: the type of `input_type` (2); the other conditions are the same.
    unsafe {
        with_element_type!(job.norm.input_type, T => norm_rows_from::<S, T>(job), else => unreachable!())
    }
}

/// # Safety
/// As for [`norm_rows_body`], with `T` for `input_type`.
#[inline(always)]
unsafe fn norm_rows_from<S: Simd, T: LoadStore>(job: &NormJob) {
    let Norm { channels, eps, input, residual, .. } = job.norm;
    for row in job.rows.clone() {
        // SAFETY: the row has `channels` elements in every array (1); the sums have SUMS lanes.
        unsafe {
            let input = input.at::<T>(row, 0);
            let residual = residual.map(|residual| residual.at::<f32>(row, 0));
            let mut lanes = [0.0f32; SUMS];
            squares::<S, T>(channels, input, residual, &mut lanes);
            for width in [8, 4, 2, 1] {
                for j in 0..width {
                    lanes[j] += lanes[j + width];
                }
            }
            let sum = lanes[0] - SUMS as f32 * FIRST;
            let scale = 1.0 / (sum / channels as f32 + eps).sqrt();
            match residual {
                Some(residual) => scale_row::<S, f32>(&job.norm, row, residual, scale),
                None => scale_row::<S, T>(&job.norm, row, input, scale),
            }
        }
    }
}

/// The sixteen partial sums of squares; the residual stream is updated on the way.
///
/// # Safety
/// 1. `input` and `residual` have `channels` elements, and nobody else accesses the residual meanwhile.
/// 2. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn squares<S: Simd, T: LoadStore>(
    channels: usize,
    input: *const T,
    residual: Option<*mut f32>,
    lanes: &mut [f32; SUMS],
) {
    // SAFETY: `count` elements from `i` on are among the `channels` (1); SUMS / LANES vectors fill the lanes.
    unsafe {
        // the vectors beyond SUMS / LANES are not used
        let mut sums = [S::splat(FIRST); SUMS / 4];
        for i in (0..channels).step_by(S::LANES) {
            let count = S::LANES.min(channels - i);
            let mut r = load::<S, T>(input.add(i), count);
            if let Some(residual) = residual {
                r = S::add(r, load::<S, f32>(residual.add(i), count));
                store::<S, f32>(residual.add(i), r, count);
            }
            let j = i / S::LANES % (SUMS / S::LANES);
            sums[j] = S::fma(r, r, sums[j]);
        }
        for j in 0..SUMS / S::LANES {
            S::store(lanes.as_mut_ptr().add(j * S::LANES), sums[j]);
        }
    }
}

/// The output of a row: `(r · scale) · weight`.
///
/// # Safety
/// As for [`norm_rows_body`], and `r` has `channels` elements.
#[inline(always)]
unsafe fn scale_row<S: Simd, R: LoadStore>(norm: &Norm, row: usize, r: *const R, scale: f32) {
    // SAFETY: the type of `output_type` (2); the other conditions are the same.
    unsafe {
        with_element_type!(norm.output_type, U => scale_row_to::<S, R, U>(norm, row, r, scale), else => unreachable!())
    }
}

/// # Safety
/// As for [`scale_row`], with `U` for `output_type`.
#[inline(always)]
unsafe fn scale_row_to<S: Simd, R: LoadStore, U: LoadStore>(
    norm: &Norm,
    row: usize,
    r: *const R,
    scale: f32,
) {
    // SAFETY: `count` elements from `i` on are among the `channels` of the row in every array (1).
    unsafe {
        let output = norm.output.at::<U>(row, 0);
        let scale = S::splat(scale);
        let whole = norm.channels / S::LANES * S::LANES;
        for i in (0..norm.channels).step_by(S::LANES) {
            let count = if i < whole { S::LANES } else { norm.channels - whole };
            let mut y = S::mul(load::<S, R>(r.add(i), count), scale);
            if let Some(weight) = norm.weight {
                y = S::mul(y, load::<S, f32>(weight.as_ptr().add(i), count));
            }
            store::<S, U>(output.add(i), y, count);
        }
    }
}
