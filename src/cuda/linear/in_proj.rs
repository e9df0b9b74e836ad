//! `in_proj`: the matrix product of `linear`, whose columns belong to several outputs.
#![forbid(unsafe_code)]

use super::product::{Operands, run};
use crate::arrays::{DType, Element, Result, Rows};
use crate::cuda::args::{LinearArgs, size};
use crate::cuda::builder::Cuda;
use crate::cuda::memory::view::ViewMut;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::InProj;

/// Outputs that one launch writes.
const OUTPUTS: usize = 2;

pub(in crate::cuda) fn in_proj<T: Element, const N: usize>(
    cuda: &Cuda,
    args: InProj<'_, Cuda, T, N>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "in_proj";
    args.validate()?;
    let operands = Operands { weight: args.weight, input: &args.input, bias: args.bias.as_ref() };
    let all = operands.args(cuda, OP)?;
    let row_bytes = (args.weight.stride() * args.weight.dtype().size()) as u64;
    let place = |rows: Option<&Rows<ViewMut<'_, T>>>| match rows {
        Some(rows) => Ok((cuda.device.rows(OP, "outputs", rows)?, size(rows.stride()), rows.cols())),
        None => Ok((0, 0, 0)),
    };
    let mut first_row = 0; // of the weight
    for outputs in args.outputs.chunks(OUTPUTS) {
        let (low, low_stride, low_columns) = place(outputs.first())?;
        let (high, high_stride, high_columns) = place(outputs.get(1))?;
        let product = LinearArgs {
            weight: all.weight + first_row as u64 * row_bytes,
            bias: if all.bias == 0 { 0 } else { all.bias + (first_row * DType::F32.size()) as u64 },
            output: low,
            output_high: high,
            output_stride: low_stride,
            output_high_stride: high_stride,
            out_features: size(low_columns + high_columns),
            split: size(low_columns),
            ..all
        };
        run(cuda, OP, product, args.weight, workspace)?;
        first_row += low_columns + high_columns;
    }
    Ok(())
}
