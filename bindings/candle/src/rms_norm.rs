//! RMSNorm on tensors.

use crate::backend::{TensorBackend, Workspace};
use crate::custom_op::{Arrays, Call, TensorOp};
use crate::element::{TensorElement, with_tensor_type};
use crate::error::OrCandle;
use crate::locks::Reads;
use candle_core::{Result, Tensor};
use mamba_kernels::{Backend, Rows, ops};

const OP: &str = "rms_norm";

/// The arguments of [`rms_norm`]: those of [`ops::RmsNorm`], which has the formula, as tensors.
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm<'a> {
    /// `[tokens, channels]`, or `[batch, tokens, channels]`
    pub input: &'a Tensor,
    /// Contiguous, of f32 and the size of `input`: the residual stream. The input is added to it in place.
    pub residual: Option<&'a Tensor>,
    /// `[channels]` of f32
    pub weight: Option<&'a Tensor>,
    /// Added to the mean square.
    pub eps: f32,
}

/// RMSNorm with a fused residual add: a tensor like `input`.
///
/// # Errors
/// As [`ops::RmsNorm::validate`] says; for an unsupported layout, type or device; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn rms_norm<O: TensorBackend>(backend: &O, args: RmsNorm<'_>) -> Result<Tensor> {
    with_tensor_type!(OP, "input", args.input, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: TensorElement>(backend: &O, args: RmsNorm<'_>) -> Result<Tensor> {
    let call = Call {
        op: OP,
        input: ("input", args.input),
        target: args.residual.map(|tensor| ("residual", tensor)),
        read: &[args.weight],
        outputs: [args.input.dims().into()],
    };
    let [output] = call.run::<O, T>(backend, &Norm { backend: backend.backend(), args })?;
    Ok(output)
}

struct Norm<'a, B> {
    backend: &'a B,
    args: RmsNorm<'a>,
}

impl<O: TensorBackend, T: TensorElement> TensorOp<O, T, 1> for Norm<'_, O::Backend> {
    fn run<'x>(
        &'x self,
        Arrays { input, target, outputs: [output] }: Arrays<'x, O, T, 1>,
        reads: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()> {
        let Self { backend, args } = self;
        let (rows, cols) = (input.rows(), input.cols());
        let norm = ops::RmsNorm::<O::Backend, T, T> {
            input,
            residual: target.map(|data| Rows::new(data, rows, cols)).transpose().or_candle()?,
            weight: reads.optional("weight", args.weight)?,
            eps: args.eps,
            output: Rows::new(output, rows, cols).or_candle()?,
        };
        backend.rms_norm(norm, workspace).or_candle()
    }
}
