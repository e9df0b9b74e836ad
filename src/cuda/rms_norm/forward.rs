//! `rms_norm`: a block per row.
#![forbid(unsafe_code)]

use crate::arrays::{Element, Result};
use crate::cuda::args::{MOST_X, NormArgs, extent, size, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::driver::interface::Launch;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::RmsNorm;

/// The most numbers of a row that are in shared memory at a time.
const MOST_TILE: usize = 8192;

pub(in crate::cuda) fn rms_norm<T: Element, U: Element>(
    cuda: &Cuda,
    args: RmsNorm<'_, Cuda, T, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "rms_norm";
    let shape = args.validate()?;
    let device = &cuda.device;
    let residual = args.residual.as_ref().map(|rows| device.rows(OP, "residual", rows)).transpose()?;
    let tile = shape.channels.min(MOST_TILE).next_multiple_of(16);
    let norm = NormArgs {
        input: device.rows(OP, "input", &args.input)?,
        residual: residual.unwrap_or(0),
        weight: device.optional(OP, "weight", args.weight.as_ref())?,
        output: device.rows(OP, "output", &args.output)?,
        input_stride: size(args.input.stride()),
        residual_stride: args.residual.as_ref().map_or(0, |rows| size(rows.stride())),
        output_stride: size(args.output.stride()),
        channels: size(shape.channels),
        eps: args.eps,
        input_type: type_number(OP, "input", T::DTYPE)?,
        output_type: type_number(OP, "output", U::DTYPE)?,
        tile: tile as u32,
    };
    if shape.tokens == 0 || shape.channels == 0 {
        return Ok(());
    }
    let launch = Launch {
        kernel: "mk_rms_norm",
        grid: [extent(OP, "input", shape.tokens, MOST_X)?, 1, 1],
        block: [128, 1, 1],
        shared_bytes: (tile * size_of::<f32>()) as u32,
        args: bytemuck::bytes_of(&norm),
    };
    workspace.launch(device, OP, &launch)
}
