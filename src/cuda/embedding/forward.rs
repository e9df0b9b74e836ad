//! `embedding`: rows of a weight matrix, once the tokens are checked.
#![forbid(unsafe_code)]

use crate::arrays::{Element, Result};
use crate::cuda::args::{EmbeddingArgs, MOST_X, MOST_Y, extent, size, type_number};
use crate::cuda::builder::Cuda;
use crate::cuda::driver::interface::Launch;
use crate::cuda::memory::buffer;
use crate::cuda::workspace::scratch::Workspace;
use crate::ops::Embedding;

/// Columns of a block.
const COLUMNS: usize = 512;

pub(in crate::cuda) fn embedding<U: Element>(
    cuda: &Cuda,
    args: Embedding<'_, Cuda, U>,
    workspace: &mut Workspace,
) -> Result<()> {
    const OP: &str = "embedding";
    let shape = args.validate()?;
    let device = &cuda.device;
    let embedding = EmbeddingArgs {
        tokens: device.address(OP, "tokens", &args.tokens)?,
        weight: args.weight.address(device, OP)?,
        output: device.rows(OP, "output", &args.output)?,
        weight_stride: size(args.weight.stride()),
        output_stride: size(args.output.stride()),
        vocab: size(shape.vocab),
        d_model: size(shape.d_model),
        weight_type: type_number(OP, "weight", args.weight.dtype())?,
        output_type: type_number(OP, "output", U::DTYPE)?,
    };
    if shape.tokens == 0 {
        return Ok(());
    }
    if !workspace.in_step() {
        // in a step the host does not wait for the device; there, a token out of the vocabulary gives a row of NaN
        let mut host = crate::arrays::host::zeros(OP, shape.tokens)?;
        buffer::read(device, &args.tokens, &mut host)?;
        Embedding::<Cuda, U>::expect_in_vocab(&host, shape.vocab)?;
    }
    if shape.d_model == 0 {
        return Ok(());
    }
    let grid = [
        extent(OP, "tokens", shape.tokens, MOST_X)?,
        extent(OP, "weight", shape.d_model.div_ceil(COLUMNS), MOST_Y)?,
        1,
    ];
    let args = bytemuck::bytes_of(&embedding);
    workspace.launch(
        device,
        OP,
        &Launch { kernel: "mk_embedding", grid, block: [128, 1, 1], shared_bytes: 0, args },
    )
}
