//! RMSNorm on tensors.

use super::arrays::{Number, by_dtype};
use super::call::{Arrays, Call};
use super::device::TensorBackend;
use crate::arrays::Rows;
use crate::backend::Backend;
use crate::ops;
use candle_core::{Result, Tensor};

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
/// As [`ops::RmsNorm::validate`] says; for a layout, type or device that the module does not take; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn rms_norm<O: TensorBackend>(backend: &O, args: RmsNorm<'_>) -> Result<Tensor> {
    by_dtype!(OP, "input", args.input, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: Number>(backend: &O, args: RmsNorm<'_>) -> Result<Tensor> {
    let call = Call {
        op: OP,
        input: ("input", args.input),
        target: args.residual.map(|tensor| ("residual", tensor)),
        read: &[args.weight],
        shape: args.input.dims().into(),
    };
    call.run::<O, T, _>(
        backend,
        backend.backend(),
        |Arrays { input, target, output }, read, backend, workspace| {
            let norm = ops::RmsNorm::<O::Backend, T, T> {
                input,
                residual: target.map(|data| Rows::new(data, input.rows(), input.cols())).transpose()?,
                weight: read.optional("weight", args.weight)?,
                eps: args.eps,
                output: Rows::new(output, input.rows(), input.cols())?,
            };
            Ok(backend.rms_norm(norm, workspace)?)
        },
    )
}
