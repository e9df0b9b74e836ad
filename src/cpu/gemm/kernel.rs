//! Blocking, packing of the inputs, and what happens to the sums.

use super::pack::{Data, PackedWeights};
use super::tile::{MAX_MR, MAX_NV, tile};
use crate::cpu::isa::Kernel;
use crate::cpu::math;
use crate::cpu::simd::{Lanes, MAX_LANES, Simd, load, store};
use crate::cpu::threads::{Shared, part};
use crate::cpu::{Cpu, Workspace};
use crate::element::Element;
use crate::error::{Error, Result, checked_product};
use crate::ops::Epilogue;
use crate::rows::Rows;

/// Rows whose packed inputs are held at once.
const ROWS_PER_BLOCK: usize = 448;
/// Bytes of packed inputs that a thread goes through for one panel of weights: what stays in its L2 cache.
const CACHED_INPUT_BYTES: usize = 384 << 10;

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
        let (tokens, k) = (input.rows(), self.weight.cols);
        if self.weight.isa != cpu.isa {
            let expected = format_args!("weights packed for {}", cpu.isa()).to_string();
            return Err(Error::argument(op, "weight", expected, self.weight.isa.isa()));
        }
        if tokens == 0 || self.outputs.columns == 0 {
            return Ok(());
        }
        let block_rows = tokens.min(ROWS_PER_BLOCK);
        workspace.inputs.grow(op, checked_product(op, "input", &[block_rows, k])?)?;
        let packed = Shared::new(workspace.inputs.as_mut_slice().as_mut_ptr());
        let (inputs, gemm) = (Shared::new(Inputs::new(input)), Shared::new(self));
        let mr = cpu.isa.tile().rows;
        for first in (0..tokens).step_by(block_rows) {
            let rows = block_rows.min(tokens - first);
            let tiles = rows.div_ceil(mr);
            let parts = cpu.threads().min(tiles);
            cpu.threads.for_each(parts, |_, index| {
                let rows = part(rows, mr, parts, index);
                let kernel = PackInputs { inputs: inputs.get(), first, rows, k, packed: packed.get() };
                // SAFETY: the rows are within the input, `packed` holds the block's rows, and parts do not overlap.
                unsafe { cpu.isa.run(kernel) }
            });
            let panels = self.weight.panels();
            let parts = (cpu.threads() * 4).min(panels);
            cpu.threads.for_each(parts, |_, index| {
                let panels = part(panels, 1, parts, index);
                let kernel = Block { gemm: gemm.get(), first, rows, panels, packed: packed.get() };
                // SAFETY: the block's inputs are packed; parts have panels, and so columns, of their own.
                unsafe { cpu.isa.run(kernel) }
            });
        }
        Ok(())
    }
}

/// Packs rows of the input, widened, into tiles `[k, MR]`; the last tile of a block is as narrow as its rows.
struct PackInputs<T> {
    inputs: Inputs<T>,
    first: usize,
    rows: std::ops::Range<usize>,
    k: usize,
    packed: *mut f32,
}

impl<T: Element> Kernel for PackInputs<T> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { inputs, first, rows, k, packed } = self;
        for start in rows.clone().step_by(S::MR) {
            let mr = S::MR.min(rows.end - start);
            for i in 0..mr {
                // SAFETY: row `first + start + i` has `k` elements, and the tile starts at `start * k`.
                unsafe {
                    let source = inputs.start.add((first + start + i) * inputs.stride);
                    let target = packed.add(start * k + i);
                    for kk in 0..k {
                        *target.add(kk * mr) = (*source.add(kk)).to_f32();
                    }
                }
            }
        }
    }
}

/// The product of a block of packed rows with some panels of weights.
struct Block<'a, U> {
    gemm: &'a Gemm<'a, U>,
    first: usize,
    rows: usize,
    panels: std::ops::Range<usize>,
    packed: *const f32,
}

impl<U: Element> Kernel for Block<'_, U> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller's promise is the same; the data is what the weights hold.
        unsafe {
            match &self.gemm.weight.data {
                Data::F32(data) => self.panels::<S, f32>(data.as_slice()),
                Data::F16(data) => self.panels::<S, half::f16>(data.as_slice()),
                Data::BF16(data) => self.panels::<S, half::bf16>(data.as_slice()),
            }
        }
    }
}

impl<U: Element> Block<'_, U> {
    #[inline(always)]
    unsafe fn panels<S: Simd, W: Lanes>(&self, data: &[W]) {
        let Gemm { weight, bias, epilogue, outputs } = self.gemm;
        let k = weight.cols;
        let bare = bias.is_none() && *epilogue == Epilogue::Store;
        let direct = bare && U::DTYPE == crate::element::DType::F32;
        let mut scratch = [0.0f32; MAX_MR * MAX_NV * MAX_LANES];
        let step = (CACHED_INPUT_BYTES / (4 * k.max(1))).max(S::MR) / S::MR * S::MR;
        for cached in (0..self.rows).step_by(step) {
            let end = self.rows.min(cached + step);
            for panel in self.panels.clone() {
                let column = panel * weight.panel;
                let width = weight.width(panel);
                let panel = data[column * k..].as_ptr();
                for row in (cached..end).step_by(S::MR) {
                    let mr = S::MR.min(end - row);
                    // SAFETY: the tile's inputs are packed at `row * k`, the panel holds `k` rows of `width`; the
                    // scratch holds the largest tile; a direct target has `width` columns from `column` on.
                    unsafe {
                        let inputs = self.packed.add(row * k);
                        let sizes = (mr, width / S::LANES);
                        let target =
                            if direct { outputs.whole(self.first + row, column, width) } else { None };
                        if let Some((target, stride)) = target {
                            tile::<S, W>(sizes, k, inputs, panel, target.cast(), stride);
                        } else {
                            tile::<S, W>(sizes, k, inputs, panel, scratch.as_mut_ptr(), width);
                            self.finish::<S>(&scratch, self.first + row, column, mr, width);
                        }
                    }
                }
            }
        }
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
                        sum = math::softplus::<S>(sum);
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
