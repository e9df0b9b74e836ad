//! `in_proj`: the matrix product of `linear`, whose columns belong to two outputs.
#![forbid(unsafe_code)]

use super::product::{Operands, run};
use crate::arrays::{Element, Result};
use crate::cuda::args::{LinearArgs, size};
use crate::cuda::builder::Cuda;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::InProj;

pub(in crate::cuda) fn in_proj<T: Element>(
    cuda: &Cuda,
    args: InProj<'_, Cuda, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "in_proj";
    let shape = args.validate()?;
    let operands = Operands { weight: args.weight, input: &args.input, bias: args.bias.as_ref() };
    let product = LinearArgs {
        output: cuda.device.rows(OP, "x", &args.x)?,
        output_high: cuda.device.rows(OP, "z", &args.z)?,
        output_stride: size(args.x.stride()),
        output_high_stride: size(args.z.stride()),
        split: size(shape.d_inner),
        ..operands.args(cuda, OP)?
    };
    run(cuda, OP, product, args.weight, workspace)
}
