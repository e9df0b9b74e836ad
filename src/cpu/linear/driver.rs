//! Blocking, widening of the inputs, and what happens to the sums.

use super::microkernel::{MAX_ROWS, MAX_TILE, TileCall, max_rows};
use super::packing::PackedWeights;
use crate::arrays::Rows;
use crate::arrays::{DType, Element};
use crate::arrays::{Error, Result, checked_product};
use crate::cpu::inexact::Products;
use crate::cpu::machine::isa::Kernel;
use crate::cpu::machine::threads::{Shared, part};
use crate::cpu::math;
use crate::cpu::simd::{MAX_LANES, Simd, load, store};
use crate::cpu::{Cpu, Workspace};
use crate::ops::Epilogue;
use half::bf16;
use std::ops::Range;

/// Rows whose widened inputs are held at once.
const ROWS_PER_BLOCK: usize = 512;
/// Bytes of inputs that a thread goes through for one panel of weights: what stays in its L2 cache.
const CACHED_INPUT_BYTES: usize = 384 << 10;
/// Fewest numbers that are worth a thread of their own: to widen, and to multiply.
const ELEMENTS_PER_PART: usize = 1 << 14;
const STEPS_PER_PART: usize = 1 << 16;
/// More parts than threads, so that a thread which the system holds up delays the others less.
const PARTS_PER_THREAD: usize = 4;

/// A matrix product, but for its inputs.
pub(super) struct Gemm<'a, U> {
    pub weight: &'a PackedWeights,
    pub bias: Option<&'a [f32]>,
    pub epilogue: Epilogue,
    pub outputs: Outputs<U>,
}

/// Output column `n` is column `n` of `first` where `n < split`, else column `n - split` of `second`.
#[derive(Clone, Copy)]
pub(super) struct Outputs<U> {
    pub first: *mut U,
    pub first_stride: usize,
    pub second: *mut U,
    pub second_stride: usize,
    pub split: usize,
    pub columns: usize,
}

/// Rows of inputs.
#[derive(Clone, Copy)]
pub(super) struct Inputs<T> {
    pub start: *const T,
    pub stride: usize,
}

impl<U: Element> Gemm<'_, U> {
    /// Validated arguments only: the shapes of weight, bias, outputs and `input` agree.
    pub(super) fn run<T: Element>(
        &self,
        cpu: &Cpu,
        op: &'static str,
        input: Rows<&[T]>,
        workspace: &mut Workspace,
    ) -> Result<()> {
        let (tokens, steps, products) = (input.rows(), self.weight.steps(), self.weight.products);
        if (self.weight.isa, products) != (cpu.isa, cpu.products) {
            let form = |isa, products| format!("weights packed for {isa} and {products:?} products");
            let expected = form(cpu.isa(), cpu.products);
            return Err(Error::argument(op, "weight", expected, form(self.weight.isa.isa(), products)));
        }
        if tokens == 0 || self.outputs.columns == 0 {
            return Ok(());
        }
        let inputs = Inputs::new(input);
        if T::DTYPE == DType::F32 && products == Products::Exact {
            self.block(cpu, 0, tokens, Inputs { start: inputs.start.cast(), stride: inputs.stride });
            return Ok(());
        }
        let block_rows = tokens.min(ROWS_PER_BLOCK);
        workspace.inputs.grow(op, checked_product(op, "input", &[block_rows, steps])?)?;
        let converted = workspace.inputs.as_mut_slice().as_mut_ptr();
        let shared = Shared::new((inputs, converted));
        let k = self.weight.cols;
        for first in (0..tokens).step_by(block_rows) {
            let rows = block_rows.min(tokens - first);
            let parts = cpu.threads().min((rows * k).div_ceil(ELEMENTS_PER_PART));
            cpu.threads.for_each(parts, |_, index| {
                let (inputs, target) = shared.get();
                let kernel =
                    Convert { inputs, first, rows: part(rows, 1, parts, index), k, products, target };
                // SAFETY: the rows are within the input, `target` holds the block's rows, and parts do not overlap.
                unsafe { cpu.isa.run(kernel) }
            });
            self.block(cpu, first, rows, Inputs { start: converted, stride: steps });
        }
        Ok(())
    }

    /// The product of the rows `first..first + rows`, row 0 of `inputs` and on, with all weights.
    fn block(&self, cpu: &Cpu, first: usize, rows: usize, inputs: Inputs<f32>) {
        let shared = Shared::new((self, inputs));
        let panels = self.weight.panels();
        // an empty sum is work too: its output is the bias and the epilogue of 0
        let work = rows.saturating_mul(self.weight.cols.max(1)).saturating_mul(self.outputs.columns);
        let most = work.div_ceil(STEPS_PER_PART).min(cpu.threads() * PARTS_PER_THREAD);
        // along the panels, which are many, or along the rows where they are too few
        let tiles = rows.div_ceil(MAX_ROWS);
        let along_rows = panels < most && tiles > panels;
        let parts = if along_rows { most.min(tiles) } else { most.min(panels) };
        cpu.threads.for_each(parts, |_, index| {
            let (gemm, inputs) = shared.get();
            let kernel = if along_rows {
                Product { gemm, first, inputs, rows: part(rows, MAX_ROWS, parts, index), panels: 0..panels }
            } else {
                Product { gemm, first, inputs, rows: 0..rows, panels: part(panels, 1, parts, index) }
            };
            // SAFETY: the block's inputs are there; parts have rows or columns of their own.
            unsafe { cpu.isa.run(kernel) }
        });
    }
}

/// Rows of the input without gaps, `[rows, k]` in binary32 or `[rows, k / 2]` in pairs of bf16 numbers.
struct Convert<T> {
    inputs: Inputs<T>,
    first: usize,
    rows: Range<usize>,
    k: usize,
    products: Products,
    target: *mut f32,
}

impl<T: Element> Kernel for Convert<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { inputs, first, rows, k, products, target } = self;
        for row in rows {
            // SAFETY: row `first + row` of the input has `k` elements, and row `row` of the target has room for them,
            // and for a zero after an odd number of them in pairs.
            unsafe {
                let source = inputs.start.add((first + row) * inputs.stride);
                let pairs = target.add(row * k.div_ceil(2)).cast::<bf16>();
                if products == Products::Bf16Dot && !k.is_multiple_of(2) {
                    *pairs.add(k) = bf16::ZERO;
                }
                for i in (0..k).step_by(S::LANES) {
                    let count = S::LANES.min(k - i);
                    let value = load::<S, T>(source.add(i), count);
                    match products {
                        Products::Exact => store::<S, f32>(target.add(row * k + i), value, count),
                        Products::Bf16Dot => store::<S, bf16>(pairs.add(i), S::flush(value), count),
                    }
                }
            }
        }
    }
}

/// The product of some rows of a block with some panels of weights.
struct Product<'a, U> {
    gemm: &'a Gemm<'a, U>,
    /// The row of the outputs that row 0 of the block is.
    first: usize,
    inputs: Inputs<f32>,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl<U: Element> Kernel for Product<'_, U> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let weight = self.gemm.weight;
        let k = weight.steps();
        let cached = (CACHED_INPUT_BYTES / (4 * k.max(1))).max(MAX_ROWS);
        let blocks = self.rows.len().div_ceil(cached);
        let mut scratch = [0.0f32; MAX_TILE];
        for block in 0..blocks {
            let block = part(self.rows.len(), MAX_ROWS, blocks, block);
            let end = self.rows.start + block.end;
            for panel in self.panels.clone() {
                let column = panel * weight.panel;
                let width = weight.width(panel);
                let nv = width / S::LANES;
                let most = max_rows::<S>(nv);
                let (form, b) = weight.panel_start(panel);
                let mut row = self.rows.start + block.start;
                while row < end {
                    // as few tiles as there can be, of about the same height: a low one has too few chains
                    let mr = (end - row).div_ceil((end - row).div_ceil(most));
                    // SAFETY: the tile's inputs are rows of the block; the panel holds `k` rows of `width`; a direct
                    // target has `width` columns, and the scratch the largest tile.
                    unsafe {
                        let direct = self.direct_target(row, column, width);
                        S::tile(TileCall {
                            rows: mr,
                            vectors: nv,
                            k,
                            a: (self.inputs.start.add(row * self.inputs.stride), self.inputs.stride),
                            b,
                            form,
                            out: direct.unwrap_or((scratch.as_mut_ptr(), width)),
                        });
                        if direct.is_none() {
                            self.finish::<S>(&scratch, self.first + row, column, mr, width);
                        }
                    }
                    row += mr;
                }
            }
        }
    }
}

impl<U: Element> Product<'_, U> {
    /// Where a tile may store its sums at once: nothing is to be done to them, and no column is beyond an output.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn direct_target(&self, row: usize, column: usize, width: usize) -> Option<(*mut f32, usize)> {
        let Gemm { bias, epilogue, outputs, .. } = self.gemm;
        if bias.is_some() || *epilogue != Epilogue::Store || U::DTYPE != DType::F32 {
            return None;
        }
        // SAFETY: the caller's promise.
        let (target, stride) = unsafe { outputs.whole(self.first + row, column, width)? };
        Some((target.cast(), stride))
    }

    /// Adds the bias, applies the epilogue and stores a tile of sums `[mr, width]` at `(row, column)`.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, sums: &[f32], row: usize, column: usize, mr: usize, width: usize) {
        let Gemm { bias, epilogue, outputs, .. } = self.gemm;
        for j in (0..width).step_by(S::LANES) {
            let column = column + j;
            let Some(count) = outputs.columns.checked_sub(column).filter(|&count| count > 0) else { return };
            let count = count.min(S::LANES);
            // SAFETY: `count` columns from `column` on lie in the outputs and the bias, in the rows of this block.
            unsafe {
                let bias = bias.map(|bias| load::<S, f32>(bias.as_ptr().add(column), count));
                for i in 0..mr {
                    let mut sum = S::load(sums.as_ptr().add(i * width + j));
                    if let Some(bias) = bias {
                        sum = S::add(sum, bias);
                    }
                    if *epilogue == Epilogue::Softplus {
                        [sum] = math::softplus::<S, 1>([sum]);
                    }
                    match outputs.whole(row + i, column, count) {
                        Some((target, _)) => {
                            if *epilogue == Epilogue::Residual {
                                sum = S::add(sum, load::<S, U>(target, count));
                            }
                            store::<S, U>(target, sum, count);
                        }
                        None => outputs.scatter::<S>(row + i, column, sum, count),
                    }
                }
            }
        }
    }
}

impl<U: Element> Outputs<U> {
    /// The place and the stride of `count` columns from `column` on, where they lie in one of the two outputs.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn whole(&self, row: usize, column: usize, count: usize) -> Option<(*mut U, usize)> {
        // SAFETY: the checks keep the columns within the output.
        unsafe {
            if column + count <= self.split {
                Some((self.first.add(row * self.first_stride + column), self.first_stride))
            } else if column >= self.split && column + count <= self.columns {
                let column = column - self.split;
                Some((self.second.add(row * self.second_stride + column), self.second_stride))
            } else {
                None
            }
        }
    }

    /// Stores a vector that lies across the split, element by element. Only `in_proj` has a split.
    ///
    /// # Safety
    /// As for the stores of `finish`.
    #[inline(always)]
    unsafe fn scatter<S: Simd>(&self, row: usize, column: usize, sums: S::F, count: usize) {
        let mut lanes = [0.0f32; MAX_LANES];
        // SAFETY: the caller vouches for `count` columns in the two outputs; `lanes` holds a vector.
        unsafe {
            S::store(lanes.as_mut_ptr(), sums);
            for (i, &value) in lanes[..count].iter().enumerate() {
                if let Some((target, _)) = self.whole(row, column + i, 1) {
                    *target = U::from_f32(value);
                }
            }
        }
    }
}
