//! `in_proj`: the product of `linear`, whose columns belong to several outputs.

use super::args::{LinearArgs, size, type_number};
use super::linear::product_of;
use super::{Cuda, Workspace};
use crate::arrays::{DType, Element, Result};
use crate::ops::InProj;

pub(super) fn in_proj<T: Element, const N: usize>(
    cuda: &Cuda,
    args: InProj<'_, Cuda, T, N>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "in_proj";
    let shape = args.validate()?;
    let device = &cuda.device;
    let weight = args.weight.address(device, OP)?;
    let bias = device.optional(OP, "bias", args.bias.as_ref())?;
    let dtype = args.weight.dtype();
    let row_bytes = (args.weight.stride() * dtype.size()) as u64;
    let mut product = LinearArgs {
        weight,
        input: device.rows(OP, "input", &args.input)?,
        bias,
        output: 0,
        output_high: 0,
        weight_stride: size(args.weight.stride()),
        input_stride: size(args.input.stride()),
        output_stride: 0,
        output_high_stride: 0,
        tokens: size(shape.tokens),
        in_features: size(shape.d_model),
        out_features: 0,
        split: 0,
        weight_type: type_number(dtype),
        input_type: type_number(T::DTYPE),
        output_type: type_number(T::DTYPE),
        epilogue: 0,
    };
    // a launch writes two outputs; the product of further ones has the next rows of the weight
    let mut first_row = 0;
    for outputs in args.outputs.chunks(2) {
        let [low, high] = [outputs.first(), outputs.get(1)];
        let columns = |rows: &Option<_>| rows.map_or(0, crate::arrays::Rows::cols);
        let address = |rows: Option<_>| rows.map_or(Ok(0), |rows| device.rows(OP, "outputs", rows));
        let stride = |rows: &Option<_>| rows.map_or(0, crate::arrays::Rows::stride);
        product.weight = weight + first_row as u64 * row_bytes;
        product.bias = if bias == 0 { 0 } else { bias + (first_row * DType::F32.size()) as u64 };
        (product.output, product.output_stride) = (address(low)?, size(stride(&low)));
        (product.output_high, product.output_high_stride) = (address(high)?, size(stride(&high)));
        product.split = size(columns(&low));
        product.out_features = size(columns(&low) + columns(&high));
        product_of(cuda, OP, product, dtype, workspace)?;
        first_row += columns(&low) + columns(&high);
    }
    Ok(())
}
