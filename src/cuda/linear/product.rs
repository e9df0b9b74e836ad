//! The matrix product of `linear` and `in_proj`: which kernel runs, and its grid.
#![forbid(unsafe_code)]

use crate::arrays::{DType, Element, Error, Result, Rows, WeightMatrix, checked_product};
use crate::cuda::args::{
    ConvertArgs, LinearArgs, MOST_X, MOST_Y, epilogue_number, extent, size, type_number,
};
use crate::cuda::builder::{Cuda, LinearKernel};
use crate::cuda::driver::interface::Launch;
use crate::cuda::memory::view::View;
use crate::cuda::weights::Weights;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::Epilogue;

/// The most tokens of a block of `mk_linear_few_rows_*`, and of the products that it is chosen for.
const FEW_ROWS: usize = 8;

/// The most columns of a weight: the kernels count them, and up to a stage beyond the last, in 32 bits.
const MOST_FEATURES: usize = i32::MAX as usize - 1023;

/// What the product reads.
pub(super) struct Operands<'a, 'v, T: Element> {
    pub weight: &'a Weights,
    pub input: &'a Rows<View<'v, T>>,
    pub bias: Option<&'a View<'v, f32>>,
}

impl<T: Element> Operands<'_, '_, T> {
    /// The arguments of a product that is stored in the type of the input, without an output yet.
    pub(super) fn args(&self, cuda: &Cuda, op: &'static str) -> Result<LinearArgs> {
        let Self { weight, input, bias } = *self;
        let device = &cuda.device;
        let (input_type, weight_type) =
            (type_number(op, "input", T::DTYPE)?, type_number(op, "weight", weight.dtype())?);
        Ok(LinearArgs {
            weight: weight.address(device, op)?,
            input: device.rows(op, "input", input)?,
            bias: device.optional(op, "bias", bias)?,
            output: 0,
            output_high: 0,
            weight_stride: size(weight.stride()),
            input_stride: size(input.stride()),
            output_stride: 0,
            output_high_stride: 0,
            tokens: size(input.rows()),
            in_features: size(weight.cols()),
            out_features: size(weight.rows()),
            split: size(weight.rows()),
            weight_type,
            input_type,
            output_type: input_type,
            epilogue: epilogue_number(Epilogue::Store),
        })
    }
}

/// Runs the kernel that suits the sizes, or the one that the backend was told to use.
pub(super) fn run(
    cuda: &Cuda,
    op: &'static str,
    mut args: LinearArgs,
    weight: &Weights,
    workspace: &mut Workspace,
) -> Result<()> {
    let [tokens, in_features, out_features] =
        [args.tokens, args.in_features, args.out_features].map(|size| size as usize);
    if in_features > MOST_FEATURES {
        let expected = format_args!("at most {MOST_FEATURES} columns").to_string();
        return Err(Error::argument(op, "weight", expected, in_features));
    }
    if tokens == 0 || out_features == 0 {
        return Ok(());
    }
    let tiles = |side: usize| (tokens.div_ceil(side), out_features.div_ceil(side));
    let geometry = |(x, y)| Ok([extent(op, "input", x, MOST_X)?, extent(op, "weight", y, MOST_Y)?, 1]);
    let tensor_cores = match weight.dtype() {
        DType::BF16 => Some("mk_linear_tensor_cores_bf16"),
        DType::F16 => Some("mk_linear_tensor_cores_f16"),
        _ => None,
    };
    let exact = cuda.linear_kernel.unwrap_or_else(|| {
        let (x, y) = tiles(128);
        match x.saturating_mul(y) >= cuda.device.driver.multiprocessors() as usize {
            _ if tokens <= FEW_ROWS => LinearKernel::FewRows,
            true => LinearKernel::Exact128,
            false => LinearKernel::Exact64,
        }
    });
    let inexact = cuda.tensor_cores && cuda.linear_kernel.is_none() && tokens > FEW_ROWS && in_features > 0;
    let (kernel, grid, threads, shared_bytes) = match (tensor_cores.filter(|_| inexact), exact) {
        (Some(kernel), _) => {
            align_input(cuda, op, &mut args, workspace)?;
            (kernel, geometry(tiles(128))?, 256, 49152)
        }
        (None, LinearKernel::FewRows) => {
            let kernel = match weight.dtype() {
                DType::BF16 => "mk_linear_few_rows_bf16",
                DType::F16 => "mk_linear_few_rows_f16",
                _ => "mk_linear_few_rows_f32",
            };
            let [x, y] = [out_features.div_ceil(16), tokens.div_ceil(FEW_ROWS)];
            let grid = [extent(op, "weight", x, MOST_X)?, extent(op, "input", y, MOST_Y)?, 1];
            (kernel, grid, 128, 0)
        }
        (None, LinearKernel::Exact128) => ("mk_linear_exact_128", geometry(tiles(128))?, 256, 32768),
        (None, LinearKernel::Exact64) => ("mk_linear_exact_64", geometry(tiles(64))?, 256, 16384),
    };
    let block = [threads, 1, 1];
    let args = bytemuck::bytes_of(&args);
    workspace.launch(&cuda.device, op, &Launch { kernel, grid, block, shared_bytes, args })
}

/// Gives the tensor cores an input that they can load: of the weight's type, at an address and with a row stride that
/// are multiples of 16 bytes. Any other input is converted into scratch memory.
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
