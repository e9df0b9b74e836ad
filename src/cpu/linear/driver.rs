//! The blocking of a product: rows into blocks, blocks and panels into tasks, tasks into register tiles.

use super::epilogue::Finish;
use super::formats::format::{Format, InputForm};
use super::formats::with_format;
use super::inputs::{ConvertJob, WatchJob, convert, watch};
use super::packing::PackedWeights;
use super::tile::{MAX_ROWS, TileJob, max_rows};
use crate::arrays::{DType, Element, Error, Result, Rows, checked_product};
use crate::cpu::machine::caches::Caches;
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::machine::split::{Split, split_range, tasks_for};
use crate::cpu::machine::threads::{Shared, TASKS_PER_THREAD};
use crate::cpu::machine::workspace::Workspace;
use crate::cpu::simd::dispatch::registers;
use std::ops::Range;
use std::sync::atomic::AtomicBool;

/// Rows whose converted inputs are held at once. Weights are read again for each such block: the 512 multiply-adds of a
/// weight take some 30 cycles even with AVX-512, reading it from memory takes one or two.
const ROWS_PER_BLOCK: usize = 512;
/// Of a thread's L2 cache, the part that is for the inputs that it goes through for one panel of weights. The rest is for
/// the panel, which streams through, and for the outputs.
const CACHED_INPUTS: (usize, usize) = (3, 8);
/// Fewest bytes of inputs for which a panel is worth reading once more.
const LEAST_INPUT_BYTES: usize = 64 << 10;
/// Fewest elements that are worth a task of their own: to convert, and to multiply.
const ELEMENTS_PER_TASK: usize = 1 << 14;
const PRODUCTS_PER_TASK: usize = 1 << 16;

/// A product of inputs in the form that the weight format takes.
#[derive(Clone, Copy)]
struct Product<'a> {
    weight: &'a PackedWeights,
    finish: &'a Finish<'a>,
    /// Vector registers of the CPU's instruction set.
    registers: usize,
    /// The micro-kernel of the weight's format on the CPU's instruction set.
    tile: unsafe fn(&TileJob<'_>),
    /// Bytes of inputs that a thread goes through for one panel of weights.
    cached_inputs: usize,
    /// Rows of this block, and the row of the outputs that the first of them is.
    rows: usize,
    first: usize,
    /// `[rows, steps]`
    inputs: RowPtr,
}

/// Computes a product and stores its outputs.
///
/// # Safety
/// 1. The input has as many columns as the weight.
/// 2. The outputs have type `finish.dtype`, the rows of the input, and take the rows of the weight side by side; the bias
///    has as many numbers as the weight has rows.
/// 3. Nobody else accesses the outputs meanwhile.
pub(super) unsafe fn product<T: Element>(
    cpu: &Cpu,
    op: &'static str,
    input: &Rows<&[T]>,
    weight: &PackedWeights,
    finish: &Finish<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    // SAFETY: the conditions are the same.
    unsafe { product_of(cpu, op, (RowPtr::of(input), T::DTYPE, input.rows()), weight, finish, workspace) }
}

/// # Safety
/// As for [`product`], with an input of `tokens` rows of `input_type`.
unsafe fn product_of(
    cpu: &Cpu,
    op: &'static str,
    (input, input_type, tokens): (RowPtr, DType, usize),
    weight: &PackedWeights,
    finish: &Finish<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    if weight.isa != cpu.isa() {
        let form = |isa| format!("weights packed for {isa}");
        return Err(Error::argument(op, "weight", form(cpu.isa()), form(weight.isa)));
    }
    if tokens == 0 || weight.rows == 0 {
        return Ok(());
    }
    let (form, tile) = with_format!(weight.format, F => (F::INPUT, F::tile(cpu.isa)));
    let (columns, steps) = (weight.cols, weight.steps());
    let registers = registers(cpu.isa);
    let cached_inputs = cached_inputs(cpu.caches);
    let product =
        Product { weight, finish, registers, tile, cached_inputs, rows: tokens, first: 0, inputs: input };
    let in_place = input_type == DType::F32 && form == InputForm::F32;
    // SAFETY: the input has these rows (1).
    if in_place && !unsafe { any_subnormal(cpu, input, tokens, columns) } {
        // SAFETY: the inputs are in the form of the format; the conditions of this function.
        unsafe { product.run(cpu) };
        return Ok(());
    }
    let block_rows = tokens.min(ROWS_PER_BLOCK);
    workspace.inputs.ensure(op, checked_product(op, "input", &[block_rows, steps])?)?;
    let target = Shared::new((input, workspace.inputs.as_mut_slice().as_mut_ptr()));
    let convert = convert(cpu.isa);
    for first in (0..tokens).step_by(block_rows) {
        let rows = block_rows.min(tokens - first);
        let split = Split::new(rows * columns, ELEMENTS_PER_TASK, cpu.threads.team(), rows, 1);
        cpu.threads.for_each(split.tasks(), |_, index| {
            let (input, target) = target.get();
            let job = ConvertJob { first, rows: split.task(index), columns, input, input_type, form, target };
            // SAFETY: the rows are among the `tokens` of the input (1); the target was made for a block (2); tasks have
            // rows of their own.
            unsafe { convert(&job) }
        });
        let inputs = RowPtr::new(target.get().1, steps);
        // SAFETY: the block's inputs were converted above; the conditions of this function.
        unsafe { Product { rows, first, inputs, ..product }.run(cpu) };
    }
    Ok(())
}

/// Whether an input in f32 has subnormal numbers: those count as zero, so it cannot be used where it is.
///
/// # Safety
/// 1. The input has `tokens` rows of `columns` numbers.
unsafe fn any_subnormal(cpu: &Cpu, input: RowPtr, tokens: usize, columns: usize) -> bool {
    let seen = AtomicBool::new(false);
    let split = Split::new(tokens * columns, ELEMENTS_PER_TASK, cpu.threads.team(), tokens, 1);
    let shared = Shared::new((input, &raw const seen));
    let watch = watch(cpu.isa);
    cpu.threads.for_each(split.tasks(), |_, index| {
        let (input, seen) = shared.get();
        let job = WatchJob { rows: split.task(index), columns, input, seen };
        // SAFETY: the rows are among the `tokens` (1); the flag outlives the call.
        unsafe { watch(&job) }
    });
    seen.into_inner()
}

fn cached_inputs(caches: Caches) -> usize {
    let (part, of) = CACHED_INPUTS;
    (caches.l2_of_a_cpu() / of * part).max(LEAST_INPUT_BYTES)
}

impl Product<'_> {
    /// The product of a block of rows with all weights.
    ///
    /// # Safety
    /// 1. `inputs` has `rows` rows of `steps` inputs in the form of the weight's format.
    /// 2. Conditions 2 and 3 of [`product`], for the rows `first..first + rows` of the outputs.
    unsafe fn run(self, cpu: &Cpu) {
        let panels = self.weight.panels();
        // an empty sum is work too: its output is the bias and the epilogue of 0
        let work = self.rows.saturating_mul(self.weight.cols.max(1)).saturating_mul(self.weight.rows);
        let most = cpu.threads.team() * TASKS_PER_THREAD;
        let wanted = tasks_for(work, PRODUCTS_PER_TASK, most);
        // along the panels, which are many, or along the rows if there are too few panels
        let along_rows = panels < wanted && self.rows.div_ceil(MAX_ROWS) > panels;
        let (len, unit) = if along_rows { (self.rows, MAX_ROWS) } else { (panels, 1) };
        let split = Split::new(work, PRODUCTS_PER_TASK, most, len, unit);
        let shared = Shared::new(self);
        cpu.threads.for_each(split.tasks(), |_, index| {
            let product = shared.get();
            let range = split.task(index);
            let (rows, panels) = if along_rows { (range, 0..panels) } else { (0..product.rows, range) };
            // SAFETY: rows and panels are within the block; conditions 1 and 2; tasks have rows or columns of their own.
            unsafe { product.tiles(rows, panels) }
        });
    }

    /// The tiles of some rows of the block with some panels.
    ///
    /// # Safety
    /// As for [`Product::run`], and nobody else accesses the outputs of these rows and panels meanwhile.
    unsafe fn tiles(&self, rows: Range<usize>, panels: Range<usize>) {
        let weight = self.weight;
        let steps = weight.steps();
        let cached = (self.cached_inputs / (4 * steps.max(1))).max(MAX_ROWS);
        let blocks = rows.len().div_ceil(cached);
        for block in 0..blocks {
            let block = split_range(rows.len(), MAX_ROWS, blocks, block);
            let end = rows.start + block.end;
            for panel in panels.clone() {
                let column = panel * weight.panel;
                let width = weight.width(panel);
                let direct = self.finish.direct(column..column + width);
                let weights = weight.panel_start(panel);
                let vectors = width / weight.lanes;
                let most = max_rows(self.registers, vectors);
                let mut row = rows.start + block.start;
                while row < end {
                    // as few tiles as possible, of about the same height: a low one has too few dependency chains
                    let left = end - row;
                    let height = if left <= most { left } else { left.div_ceil(left.div_ceil(most)) };
                    let (output_row, no_target) = (self.first + row, (std::ptr::null_mut(), 0));
                    // SAFETY: the row is within the block and the output (1, 2), which takes all columns of the panel if
                    // it is direct. The panel has `steps` rows of `width` units; a tile has at most `most` rows.
                    unsafe {
                        let (direct, direct_stride) = direct.map_or(no_target, |output| {
                            let column = column - output.columns.start;
                            (output.rows.at::<f32>(output_row, column), output.rows.stride())
                        });
                        (self.tile)(&TileJob {
                            rows: height,
                            vectors,
                            steps,
                            input: self.inputs.at::<f32>(row, 0),
                            input_stride: self.inputs.stride(),
                            weights,
                            direct,
                            direct_stride,
                            row: output_row,
                            column,
                            finish: self.finish,
                        });
                    }
                    row += height;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::cpu::machine::isa::Isa;
    use crate::ops::{Epilogue, Linear};
    use half::bf16;

    fn run<T: Element>(cpu: &Cpu, input: &[T], weight: &[f32], [m, k, n]: [usize; 3]) -> Vec<u32> {
        let weight = cpu.pack(Rows::new(weight, n, k).unwrap()).unwrap();
        let mut output = vec![0.0f32; m * n];
        let args = Linear::<Cpu, T, f32> {
            input: Rows::new(input, m, k).unwrap(),
            weight: &weight,
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(&mut output[..], m, n).unwrap(),
        };
        cpu.linear(args, &mut Workspace::default()).unwrap();
        output.into_iter().map(f32::to_bits).collect()
    }

    /// Caches of no, odd and unlimited size: blocks of a tile, of an odd number of rows, and of all of them.
    #[test]
    fn bits_do_not_depend_on_the_caches() {
        let shape @ [m, k, n] = [61, 2003, 50];
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5;
        let [input, weight] = [m * k, n * k].map(|len| (0..len).map(number).collect::<Vec<f32>>());
        let narrow: Vec<bf16> = input.iter().map(|&x| bf16::from_f32(x)).collect();
        for isa in Isa::available() {
            let mut cpu = Cpu::builder().isa(isa).threads(2).build().unwrap();
            let both = |cpu: &Cpu| (run(cpu, &input, &weight, shape), run(cpu, &narrow, &weight, shape));
            let expected = both(&cpu);
            for (l2, l2_cpus) in [(0, 1), (1, 0), (300 << 10, 2), (777_777, 1), (usize::MAX, 1)] {
                cpu.caches = Caches { l2, l2_cpus, ..cpu.caches };
                assert!(both(&cpu) == expected, "{isa}, L2 {l2} of {l2_cpus}");
            }
        }
    }

    #[test]
    fn inputs_take_their_part_of_the_cache() {
        let caches = Caches { l2: 1 << 20, l2_cpus: 1, ..Caches::of_this_machine() };
        assert_eq!(cached_inputs(caches), 384 << 10);
        assert_eq!(cached_inputs(Caches { l2_cpus: 2, ..caches }), 192 << 10);
        assert_eq!(cached_inputs(Caches { l2: 0, ..caches }), LEAST_INPUT_BYTES);
    }
}
