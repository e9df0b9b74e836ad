//! `in_proj`: the product of `linear`, whose columns belong to two outputs.

use super::args::{LinearArgs, size, type_number};
use super::linear::product_of;
use super::{Cuda, Workspace};
use crate::arrays::Element;
use crate::arrays::Result;
use crate::backend::WeightMatrix;
use crate::ops::InProj;

pub(super) fn in_proj<T: Element>(
    cuda: &Cuda,
    args: InProj<'_, Cuda, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "in_proj";
    let shape = args.validate()?;
    let device = &cuda.device;
    let product = LinearArgs {
        weight: args.weight.address(device, OP)?,
        input: device.rows(OP, "input", &args.input)?,
        bias: device.optional(OP, "bias", args.bias.as_ref())?,
        output: device.rows(OP, "x", &args.x)?,
        output_high: device.rows(OP, "z", &args.z)?,
        weight_stride: size(args.weight.stride()),
        input_stride: size(args.input.stride()),
        output_stride: size(args.x.stride()),
        output_high_stride: size(args.z.stride()),
        tokens: size(shape.tokens),
        in_features: size(shape.d_model),
        out_features: size(2 * shape.d_inner),
        split: size(shape.d_inner),
        weight_type: type_number(args.weight.dtype()),
        input_type: type_number(T::DTYPE),
        output_type: type_number(T::DTYPE),
        epilogue: 0,
    };
    product_of(cuda, OP, product, args.weight.dtype(), workspace)
}
