//! `linear`, and the matrix product that it shares with `in_proj`: which form runs, and its geometry.

use super::args::{ConvertArgs, LinearArgs, MOST_X, MOST_Y, extent, size, type_number};
use super::driver::Launch;
use super::{Cuda, Workspace};
use crate::arrays::{DType, Element, Error, Result, checked_product};
use crate::ops::{Epilogue, Linear};

/// The most rows that the form for few rows takes.
const FEW: usize = 8;

pub(super) fn linear<T: Element, U: Element>(
    cuda: &Cuda,
    args: Linear<'_, Cuda, T, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "linear";
    let shape = args.validate()?;
    let device = &cuda.device;
    let product = LinearArgs {
        weight: args.weight.address(device, OP)?,
        input: device.rows(OP, "input", &args.input)?,
        bias: device.optional(OP, "bias", args.bias.as_ref())?,
        output: device.rows(OP, "output", &args.output)?,
        output_high: 0,
        weight_stride: size(args.weight.stride()),
        input_stride: size(args.input.stride()),
        output_stride: size(args.output.stride()),
        output_high_stride: 0,
        tokens: size(shape.tokens),
        in_features: size(shape.in_features),
        out_features: size(shape.out_features),
        split: size(shape.out_features),
        weight_type: type_number(args.weight.dtype()),
        input_type: type_number(T::DTYPE),
        output_type: type_number(U::DTYPE),
        epilogue: match args.epilogue {
            Epilogue::Store => 0,
            Epilogue::Softplus => 1,
            Epilogue::Residual => 2,
        },
    };
    product_of(cuda, OP, product, args.weight.dtype(), workspace)
}

/// Runs the form that suits the sizes.
pub(super) fn product_of(
    cuda: &Cuda,
    op: &'static str,
    mut args: LinearArgs,
    weight: DType,
    workspace: &mut Workspace,
) -> Result<()> {
    let [tokens, in_features, out_features] =
        [args.tokens, args.in_features, args.out_features].map(|size| size as usize);
    if in_features > i32::MAX as usize {
        return Err(Error::argument(op, "weight", "fewer than 2^31 columns", in_features));
    }
    if tokens == 0 || out_features == 0 {
        return Ok(());
    }
    let tiles = |side: usize| (tokens.div_ceil(side), out_features.div_ceil(side));
    let fast = match weight {
        DType::BF16 => Some("mk_linear_fast_bf16"),
        DType::F16 => Some("mk_linear_fast_f16"),
        _ => None,
    };
    let (kernel, (x, y), threads, shared_bytes) = match fast {
        _ if tokens <= FEW => {
            let kernel = match weight {
                DType::BF16 => "mk_linear_few_bf16",
                DType::F16 => "mk_linear_few_f16",
                _ => "mk_linear_few_f32",
            };
            (kernel, (out_features.div_ceil(16), 1), 128, 0)
        }
        Some(kernel) if cuda.tensor_cores && in_features > 0 => {
            align_input(cuda, op, &mut args, workspace)?;
            (kernel, tiles(128), 256, 49152)
        }
        _ => {
            let (x, y) = tiles(128);
            match x.saturating_mul(y) >= cuda.device.driver.multiprocessors() as usize {
                true => ("mk_linear_exact_128", (x, y), 256, 32768),
                false => ("mk_linear_exact_64", tiles(64), 256, 16384),
            }
        }
    };
    let grid = [extent(op, "input", x, MOST_X)?, extent(op, "weight", y, MOST_Y)?, 1];
    let block = [threads, 1, 1];
    let args = bytemuck::bytes_of(&args);
    workspace.launch(&cuda.device, op, &Launch { kernel, grid, block, shared_bytes, args })
}

/// What the form on tensor cores asks of its input: the weight's type, at a multiple of 16 bytes, in rows that are
/// multiples of 16 bytes apart. Any other input is converted into scratch memory.
fn align_input(
    cuda: &Cuda,
    op: &'static str,
    args: &mut LinearArgs,
    workspace: &mut Workspace,
) -> Result<()> {
    let (tokens, in_features) = (args.tokens as usize, args.in_features as usize);
    let aligned = args.input.is_multiple_of(16) && args.input_stride % 8 == 0;
    if args.input_type == args.weight_type && aligned {
        return Ok(());
    }
    let stride = in_features.next_multiple_of(8);
    let elements = checked_product(op, "input", &[tokens, stride])?;
    let output = workspace.scratch(&cuda.device, op, elements.div_ceil(2))?; // two 16-bit numbers in one of f32
    let convert = ConvertArgs {
        input: args.input,
        output,
        input_stride: args.input_stride,
        output_stride: size(stride),
        rows: args.tokens,
        columns: args.in_features,
        input_type: args.input_type,
        output_type: args.weight_type,
    };
    let x = extent(op, "input", in_features.div_ceil(1024), MOST_X)?;
    let launch = Launch {
        kernel: "mk_convert",
        grid: [x, tokens.min(MOST_Y as usize) as u32, 1],
        block: [256, 1, 1],
        shared_bytes: 0,
        args: bytemuck::bytes_of(&convert),
    };
    workspace.launch(&cuda.device, op, &launch)?;
    (args.input, args.input_stride, args.input_type) = (output, size(stride), args.weight_type);
    Ok(())
}
