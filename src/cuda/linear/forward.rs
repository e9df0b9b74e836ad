//! `linear`: the matrix product with one output.
#![forbid(unsafe_code)]

use super::product::{Operands, run};
use crate::arrays::{Element, Result};
use crate::cuda::args::{LinearArgs, epilogue_number, size, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::Linear;

pub(in crate::cuda) fn linear<T: Element, U: Element>(
    cuda: &Cuda,
    args: Linear<'_, Cuda, T, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "linear";
    args.validate()?;
    let operands = Operands { weight: args.weight, input: &args.input, bias: args.bias.as_ref() };
    let product = LinearArgs {
        output: cuda.device.rows(OP, "output", &args.output)?,
        output_stride: size(args.output.stride()),
        output_type: type_number(OP, "output", U::DTYPE)?,
        epilogue: epilogue_number(args.epilogue),
        ..operands.args(cuda, OP)?
    };
    run(cuda, OP, product, args.weight, workspace)
}
