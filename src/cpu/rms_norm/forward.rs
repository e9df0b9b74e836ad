//! RMSNorm with the residual add fused.
//!
//! ```text
//! r = input + residual; residual = r
//! s[j] = Σ r[i]² over i with i mod 16 = j, ascending, one fma each, for j in 0..16
//! mean = tree(s) / channels; scale = 1 / sqrt(mean + eps)
//! output = (r · scale) · weight
//! ```
//!
//! What the vectors change: sixteen partial sums are one vector of 16 lanes, two of 8 or four of 4. Lanes beyond the
//! last channel add `0 · 0`, which changes no sum.

use crate::arrays::Element;
use crate::arrays::Result;
use crate::cpu::Cpu;
use crate::cpu::machine::isa::Kernel;
use crate::cpu::machine::threads::{Shared, part};
use crate::cpu::simd::{Simd, load, store};
use crate::ops::RmsNorm;
use std::ops::Range;

/// Partial sums of squares: part of the contract.
const SUMS: usize = 16;

/// Fewest elements that are worth a thread of their own.
const ELEMENTS_PER_PART: usize = 1 << 15;

#[derive(Clone, Copy)]
struct Norm<T, U> {
    channels: usize,
    eps: f32,
    input: *const T,
    input_stride: usize,
    /// Null where there is none.
    residual: *mut f32,
    residual_stride: usize,
    /// Null where there is none.
    weight: *const f32,
    output: *mut U,
    output_stride: usize,
}

pub(in crate::cpu) fn rms_norm<T: Element, U: Element>(
    cpu: &Cpu,
    args: RmsNorm<'_, Cpu, T, U>,
) -> Result<()> {
    let shape = args.validate()?;
    let (residual, residual_stride) = match args.residual {
        None => (std::ptr::null_mut(), 0),
        Some(rows) => {
            let stride = rows.stride();
            (rows.start_mut(), stride)
        }
    };
    let output_stride = args.output.stride();
    let norm = Shared::new(Norm {
        channels: shape.channels,
        eps: args.eps,
        input: args.input.start(),
        input_stride: args.input.stride(),
        residual,
        residual_stride,
        weight: args.weight.map_or(std::ptr::null(), <[f32]>::as_ptr),
        output: args.output.start_mut(),
        output_stride,
    });
    let parts = (shape.tokens * shape.channels).div_ceil(ELEMENTS_PER_PART).min(cpu.threads());
    cpu.threads.for_each(parts, |_, index| {
        let rows = part(shape.tokens, 1, parts, index);
        // SAFETY: the arguments are validated, and parts have rows of their own.
        unsafe { cpu.isa.run(NormRows { norm: norm.get(), rows }) }
    });
    Ok(())
}

struct NormRows<T, U> {
    norm: Norm<T, U>,
    rows: Range<usize>,
}

impl<T: Element, U: Element> Kernel for NormRows<T, U> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in self.rows {
            // SAFETY: the caller vouches for the row in every array.
            unsafe { self.norm.row::<S>(row) }
        }
    }
}

impl<T: Element, U: Element> Norm<T, U> {
    #[inline(always)]
    unsafe fn row<S: Simd>(&self, row: usize) {
        // SAFETY: each array has `channels` elements in this row.
        unsafe {
            let input = self.input.add(row * self.input_stride);
            let residual = match self.residual.is_null() {
                true => std::ptr::null_mut(),
                false => self.residual.add(row * self.residual_stride),
            };
            let output = self.output.add(row * self.output_stride);
            let mut lanes = [0.0f32; SUMS];
            self.sums::<S>(input, residual, &mut lanes);
            for width in [8, 4, 2, 1] {
                for j in 0..width {
                    lanes[j] += lanes[j + width];
                }
            }
            let scale = 1.0 / (lanes[0] / self.channels as f32 + self.eps).sqrt();
            let scale = S::splat(scale);
            let whole = self.channels / S::LANES * S::LANES;
            for i in (0..self.channels).step_by(S::LANES) {
                let count = if i < whole { S::LANES } else { self.channels - whole };
                let r = match residual.is_null() {
                    true => load::<S, T>(input.add(i), count),
                    false => load::<S, f32>(residual.add(i), count),
                };
                let mut y = S::mul(r, scale);
                if !self.weight.is_null() {
                    y = S::mul(y, load::<S, f32>(self.weight.add(i), count));
                }
                store::<S, U>(output.add(i), y, count);
            }
        }
    }

    /// The sixteen partial sums; the residual stream is updated on the way.
    #[inline(always)]
    unsafe fn sums<S: Simd>(&self, input: *const T, residual: *mut f32, lanes: &mut [f32; SUMS]) {
        // SAFETY: as for `row`.
        unsafe {
            // the vectors beyond SUMS / LANES are not used
            let mut sums = [S::splat(0.0); SUMS / 4];
            for i in (0..self.channels).step_by(S::LANES) {
                let count = S::LANES.min(self.channels - i);
                let mut r = load::<S, T>(input.add(i), count);
                if !residual.is_null() {
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
}
