//! `linear` and `in_proj`: one matrix product.
//!
//! ```text
//! for each output (t, n): sum = 2^-100; for k in 0..K: sum = fma(input[t, k], weight[n, k], sum)
//! then sum - 2^-100, + bias[n], then the epilogue; subnormal inputs and weights count as zero
//! ```
//!
//! What the fast version does differently, and why the bits stay the same:
//! 1. A register tile of rows by vectors holds many outputs at once. Each lane is one output with its own `k` loop.
//! 2. Weights are packed into panels, so one vector load gives neighbouring outputs. Only the order in memory changes.
//! 3. Inputs are read in place, a few rows at a time: packing them costs more than it saves. f16 and bf16 inputs are
//!    widened first, exactly; so are copied, with zeros in their place, f32 inputs that have subnormal numbers.
//! 4. Blocks of rows and of panels are visited in the order that suits the caches and the threads. Outputs are
//!    independent of each other.
//! 5. The epilogue works on the tile before it leaves the L1 cache. In `in_proj` it knows which output takes which
//!    columns.

use super::driver::product;
use super::epilogue::{Finish, Output};
use crate::arrays::{Element, Result};
use crate::cpu::machine::cpu::Cpu;
use crate::cpu::machine::row_ptr::RowPtr;
use crate::cpu::machine::workspace::Workspace;
use crate::ops::{Epilogue, InProj, Linear};
use std::ptr::NonNull;

pub(in crate::cpu) fn in_proj<T: Element, const N: usize>(
    cpu: &Cpu,
    args: InProj<'_, Cpu, T, N>,
    workspace: &mut Workspace,
) -> Result<()> {
    args.validate()?;
    let mut columns = 0;
    let outputs = args.outputs.map(|rows| {
        let start = columns;
        columns += rows.cols();
        Output { columns: start..columns, rows: RowPtr::of_mut(rows) }
    });
    let bias = args.bias.map(|bias| NonNull::from(bias).cast());
    let finish = Finish { bias, epilogue: Epilogue::Store, dtype: T::DTYPE, outputs: &outputs };
    // SAFETY: `validate` checked that the shapes agree (1, 2), and the outputs are borrowed mutably (3).
    unsafe { product(cpu, "in_proj", &args.input, args.weight, &finish, workspace) }
}

pub(in crate::cpu) fn linear<T: Element, U: Element>(
    cpu: &Cpu,
    args: Linear<'_, Cpu, T, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    let shape = args.validate()?;
    let outputs = [Output { columns: 0..shape.out_features, rows: RowPtr::of_mut(args.output) }];
    let bias = args.bias.map(|bias| NonNull::from(bias).cast());
    let finish = Finish { bias, epilogue: args.epilogue, dtype: U::DTYPE, outputs: &outputs };
    // SAFETY: `validate` checked that the shapes agree (1, 2), and the output is borrowed mutably (3).
    unsafe { product(cpu, "linear", &args.input, args.weight, &finish, workspace) }
}
