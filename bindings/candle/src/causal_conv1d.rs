//! The causal convolution on tensors.

use crate::backend::{TensorBackend, Workspace};
use crate::custom_op::{Arrays, Call, TensorOp};
use crate::element::{TensorElement, with_tensor_type};
use crate::error::OrCandle;
use crate::layout::{expect_dims, sequences};
use crate::locks::Reads;
use candle_core::{Result, Tensor};
use mamba_kernels::{Backend, Batch, Rows, ops};

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
    /// The sequences. Without a batch, the dimensions of `input` give them, in the slots 0, 1, 2...
    pub batch: Option<&'a Batch>,
    /// `[slots, d_conv - 1, channels]` of f32, updated in place
    pub state: Option<&'a Tensor>,
}

/// The depthwise causal convolution: a tensor like `input`.
///
/// # Errors
/// As [`ops::CausalConv1d::validate`] says; for an unsupported layout, type or device; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn causal_conv1d<O: TensorBackend>(backend: &O, args: CausalConv1d<'_>) -> Result<Tensor> {
    with_tensor_type!(OP, "input", args.input, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: TensorElement>(backend: &O, args: CausalConv1d<'_>) -> Result<Tensor> {
    expect_dims(OP, "weight", args.weight, ["d_conv", "channels"], args.input)?;
    if let Some(state) = args.state {
        expect_dims(OP, "state", state, ["slots", "d_conv - 1", "channels"], args.input)?;
    }
    let batch = sequences(args.batch, args.input)?;
    let call = Call {
        op: OP,
        input: ("input", args.input),
        target: args.state.map(|tensor| ("state", tensor)),
        read: &[Some(args.weight), args.bias],
        outputs: [args.input.dims().into()],
    };
    let [output] = call.run::<O, T>(backend, &Convolution { backend: backend.backend(), batch, args })?;
    Ok(output)
}

struct Convolution<'a, B> {
    backend: &'a B,
    batch: Batch,
    args: CausalConv1d<'a>,
}

impl<O: TensorBackend, T: TensorElement> TensorOp<O, T, 1> for Convolution<'_, O::Backend> {
    fn run<'x>(
        &'x self,
        Arrays { input, target, outputs: [output] }: Arrays<'x, O, T, 1>,
        reads: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()> {
        let Self { backend, batch, args } = self;
        let conv = ops::CausalConv1d::<O::Backend, T> {
            input,
            weight: reads.values("weight", args.weight)?,
            bias: reads.optional("bias", args.bias)?,
            activation: args.activation,
            batch,
            state: target,
            output: Rows::new(output, input.rows(), input.cols()).or_candle()?,
        };
        backend.causal_conv1d(conv, workspace).or_candle()
    }
}
