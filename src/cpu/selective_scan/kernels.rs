//! The two kernels of the scan: with outputs, and only the states at the end of a chunk.

use super::arrays::{BLOCK, Scan, Scratch};
use super::strip::Strip;
use crate::arrays::{DType, Element};
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::simd::dispatch::kernel;
use crate::cpu::simd::{LoadStore, Simd, any_subnormal, load, store};
use crate::with_element_type;
use std::ops::Range;

/// The state that a scan starts from, `[d_state, channels]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// This one, which the scan updates.
    State(*mut f32),
    /// Zeros. The state at the end is dropped.
    Zeros,
}

/// The scan of some strips of channels of some rows of one sequence.
pub(super) struct ScanJob {
    pub scan: Scan,
    pub rows: Range<usize>,
    pub strips: Range<usize>,
    pub start: Start,
    /// A [`Scratch`].
    pub scratch: *mut f32,
}

/// The map `h -> 2^exponent · h + end` of some strips of channels of a chunk.
pub(super) struct ChunkJob {
    pub scan: Scan,
    pub rows: Range<usize>,
    pub strips: Range<usize>,
    /// `[d_state, channels]`: written with the states at the end of a scan from zeros.
    pub end: *mut f32,
    /// `[d_state, channels]`: written with the binary logarithm of the product of all decays.
    pub exponent: *mut f32,
    /// A [`Scratch`].
    pub scratch: *mut f32,
}

kernel! {
    /// The scan with outputs.
    pub(super) fn scan(ScanJob) = scan_body;
}

kernel! {
    /// The scan of a chunk from zeros, without outputs.
    pub(super) fn scan_chunk(ChunkJob) = scan_chunk_body;
}

/// # Safety
/// 1. The arrays of the scan have its type and shapes, and the job's rows; the strips exist.
/// 2. Nobody else accesses the outputs of these rows and strips, and these strips of the state, meanwhile.
/// 3. The scratch has [`Scratch::size`] numbers, and nobody else accesses it meanwhile.
/// 4. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn scan_body<S: Simd>(job: &ScanJob) {
    debug_assert!(job.strips.end <= job.scan.strips(S::LANES));
    // SAFETY: the type is that of the arrays (1); the other conditions are the same.
    unsafe { with_element_type!(job.scan.dtype, T => scan_of::<S, T>(job), else => unreachable!()) }
}

/// # Safety
/// As for [`scan_body`], with `T` for the scan's type.
#[inline(always)]
unsafe fn scan_of<S: Simd, T: Element + LoadStore>(job: &ScanJob) {
    let scan = &job.scan;
    let scratch = Scratch::new(scan, S::LANES, job.scratch);
    // SAFETY: `h` is a state or the scratch's, both `[d_state, channels]`; the conditions are those of the strip's passes.
    unsafe {
        let h = match job.start {
            Start::State(h) => h,
            Start::Zeros => {
                for strip in job.strips.clone() {
                    scan.clear(scratch.h, scan.strip(S::LANES, strip).1);
                }
                scratch.h
            }
        };
        for start in job.rows.clone().step_by(BLOCK) {
            let rows = start..job.rows.end.min(start + BLOCK);
            let b = coefficients::<S, T>(scan, scan.b, &rows, scratch.b);
            let c = coefficients::<S, T>(scan, scan.c, &rows, scratch.c);
            for index in job.strips.clone() {
                let strip = Strip::<T>::new::<S>(scan, &scratch, &rows, &job.strips, index, (b, c), h);
                let extremes = strip.prepare_delta::<S>();
                strip.recurrence::<S>(extremes);
                strip.finish::<S>();
            }
        }
    }
}

/// # Safety
/// As for [`scan_body`], with `end` and `exponent` for outputs and state.
#[inline(always)]
unsafe fn scan_chunk_body<S: Simd>(job: &ChunkJob) {
    debug_assert!(job.strips.end <= job.scan.strips(S::LANES));
    // SAFETY: the type is that of the arrays; the other conditions are the same.
    unsafe { with_element_type!(job.scan.dtype, T => scan_chunk_of::<S, T>(job), else => unreachable!()) }
}

/// # Safety
/// As for [`scan_chunk_body`], with `T` for the scan's type.
#[inline(always)]
unsafe fn scan_chunk_of<S: Simd, T: Element + LoadStore>(job: &ChunkJob) {
    let scan = &job.scan;
    let scratch = Scratch::new(scan, S::LANES, job.scratch);
    // SAFETY: `end` and `exponent` are `[d_state, channels]`; the conditions are those of the strip's passes.
    unsafe {
        for strip in job.strips.clone() {
            let channels = scan.strip(S::LANES, strip).1;
            std::ptr::write_bytes(scratch.h.add(channels.start), 0, channels.len());
            scan.clear(job.end, channels);
        }
        for start in job.rows.clone().step_by(BLOCK) {
            let rows = start..job.rows.end.min(start + BLOCK);
            let b = coefficients::<S, T>(scan, scan.b, &rows, scratch.b);
            for index in job.strips.clone() {
                let strip = Strip::<T>::new::<S>(scan, &scratch, &rows, &job.strips, index, (b, b), job.end);
                let extremes = strip.prepare_delta::<S>();
                strip.scan_states::<S>(extremes);
                if rows.end == job.rows.end {
                    strip.total_exponent::<S>(job.exponent);
                }
            }
        }
    }
}

/// Rows of `b` or `c` in f32: in place, or copied into `target`, widened and with zero for what is subnormal.
///
/// # Safety
/// 1. The rows exist and have type `T`.
/// 2. `target` has room for [`BLOCK`] of them.
/// 3. The CPU has the target features of `S`.
#[inline(always)]
unsafe fn coefficients<S: Simd, T: Element + LoadStore>(
    scan: &Scan,
    input: RowPtr,
    rows: &Range<usize>,
    target: *mut f32,
) -> RowPtr {
    let width = scan.n_groups * scan.d_state;
    // SAFETY: row `t` has `width` numbers (1), `count` of them from `n` on, and there are at most BLOCK rows (2).
    unsafe {
        let mut copied = T::DTYPE != DType::F32;
        if !copied {
            for t in rows.clone() {
                copied |= any_subnormal::<S, T>(input.at(t, 0), width);
            }
        }
        if !copied {
            return input.starting_at::<T>(rows.start);
        }
        for (i, t) in rows.clone().enumerate() {
            for n in (0..width).step_by(S::LANES) {
                let count = S::LANES.min(width - n);
                let value = S::flush(load::<S, T>(input.at(t, n), count));
                store::<S, f32>(target.add(i * width + n), value, count);
            }
        }
    }
    RowPtr::new(target, width)
}
