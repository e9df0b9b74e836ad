//! `causal_conv1d`: its launches. Spans of a sequence run at the same time; each reads the inputs before it.
#![forbid(unsafe_code)]

use crate::arrays::{DType, Element, Result};
use crate::cuda::args::{CONV_CUT, ConvArgs, MOST_X, MOST_Y, extent, size, small, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::driver::interface::Launch;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::{Activation, CausalConv1d};

/// Threads of a block.
const THREADS: usize = 128;

pub(in crate::cuda) fn causal_conv1d<T: Element>(
    cuda: &Cuda,
    args: CausalConv1d<'_, Cuda, T>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "causal_conv1d";
    let shape = args.validate()?;
    let device = &cuda.device;
    let mut conv = ConvArgs {
        input: device.rows(OP, "input", &args.input)?,
        weight: device.address(OP, "weight", &args.weight)?,
        bias: device.optional(OP, "bias", args.bias.as_ref())?,
        state: device.optional(OP, "state", args.state.as_ref())?,
        output: device.rows(OP, "output", &args.output)?,
        spans: 0,
        input_stride: size(args.input.stride()),
        output_stride: size(args.output.stride()),
        channels: size(shape.channels),
        d_conv: small(OP, "weight", shape.d_conv)?,
        silu: u32::from(args.activation == Activation::Silu),
        type_: type_number(OP, "input", T::DTYPE)?,
        vector: 1,
    };
    if shape.tokens == 0 {
        return Ok(());
    }
    let most = 16 / size_of::<T>();
    let addresses = [conv.input, conv.weight, conv.bias, conv.state, conv.output];
    let counts = [args.input.stride(), args.output.stride(), shape.channels];
    if addresses.iter().all(|address| address.is_multiple_of(16))
        && counts.iter().all(|count| count.is_multiple_of(most))
    {
        conv.vector = most as u32;
    }
    let spans = workspace.spans(device, OP, args.batch, CONV_CUT)?;
    conv.spans = spans.address;
    let x = extent(OP, "batch", spans.count, MOST_X)?;
    let grid =
        |vector: usize| Ok([x, extent(OP, "input", shape.channels.div_ceil(THREADS * vector), MOST_Y)?, 1]);
    let block = [THREADS as u32, 1, 1];
    let kernel = match T::DTYPE {
        DType::BF16 => "mk_causal_conv1d_bf16",
        DType::F16 => "mk_causal_conv1d_f16",
        _ => "mk_causal_conv1d_f32",
    };
    let bytes = bytemuck::bytes_of(&conv);
    let (first, second) = (grid(conv.vector as usize)?, grid(1)?);
    workspace.launch(device, OP, &Launch { kernel, grid: first, block, shared_bytes: 0, args: bytes })?;
    if conv.state != 0 && conv.d_conv > 1 && spans.several {
        // the first span of a sequence reads the old state, so a sequence of several spans gets its new one afterwards
        let kernel = "mk_causal_conv1d_state";
        workspace.launch(
            device,
            OP,
            &Launch { kernel, grid: second, block, shared_bytes: 0, args: bytes },
        )?;
    }
    Ok(())
}
