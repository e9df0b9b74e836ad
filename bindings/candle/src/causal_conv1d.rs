//! The causal convolution on tensors.

use super::arrays::{Number, by_dtype, expect_dims, sequences};
use super::call::{Arrays, Call};
use super::device::TensorBackend;
use crate::arrays::Batch;
use crate::arrays::Rows;
use crate::backend::Backend;
use crate::ops;
use candle_core::{Result, Tensor};

const OP: &str = "causal_conv1d";

/// The arguments of [`causal_conv1d`]: those of [`ops::CausalConv1d`], which has the formula, as tensors.
#[derive(Debug, Clone, Copy)]
pub struct CausalConv1d<'a> {
    /// `[tokens, channels]`, or `[batch, tokens, channels]`
    pub input: &'a Tensor,
    /// `[d_conv, channels]` of f32, the oldest tap first: the transpose of PyTorch's `[channels, 1, d_conv]`
    pub weight: &'a Tensor,
    /// `[channels]` of f32
    pub bias: Option<&'a Tensor>,
    /// Applied to each output.
    pub activation: ops::Activation,
    /// The sequences; without it, as the dimensions of `input` say, in the slots 0, 1, 2...
    pub batch: Option<&'a Batch>,
    /// `[slots, d_conv - 1, channels]` of f32, updated in place
    pub state: Option<&'a Tensor>,
}

/// The depthwise causal convolution: a tensor like `input`.
///
/// # Errors
/// As [`ops::CausalConv1d::validate`] says; for a layout, type or device that the module does not take; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn causal_conv1d<O: TensorBackend>(backend: &O, args: CausalConv1d<'_>) -> Result<Tensor> {
    by_dtype!(OP, "input", args.input, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: Number>(backend: &O, args: CausalConv1d<'_>) -> Result<Tensor> {
    let batch = &match args.batch {
        Some(batch) => batch.clone(),
        None => sequences(args.input)?,
    };
    expect_dims(OP, "weight", args.weight, ["d_conv", "channels"], args.input)?;
    if let Some(state) = args.state {
        expect_dims(OP, "state", state, ["slots", "d_conv - 1", "channels"], args.input)?;
    }
    let call = Call {
        op: OP,
        input: ("input", args.input),
        target: args.state.map(|tensor| ("state", tensor)),
        read: &[Some(args.weight), args.bias],
        shape: args.input.dims().into(),
    };
    let with = (backend.backend(), batch);
    call.run::<O, T, _>(
        backend,
        &with,
        |Arrays { input, target, output }, read, (backend, batch), workspace| {
            let conv = ops::CausalConv1d::<O::Backend, T> {
                input,
                weight: read.values("weight", args.weight)?,
                bias: read.optional("bias", args.bias)?,
                activation: args.activation,
                batch,
                state: target,
                output: Rows::new(output, input.rows(), input.cols())?,
            };
            Ok(backend.causal_conv1d(conv, workspace)?)
        },
    )
}
