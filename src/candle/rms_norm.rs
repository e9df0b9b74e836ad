//! RMSNorm on tensors.

use super::arrays::{Number, Operand, by_dtype, like, optional, with_workspace};
use crate::backend::Backend;
use crate::cpu::Cpu;
use crate::host::zeros;
use crate::ops;
use crate::rows::Rows;
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
pub fn rms_norm(cpu: &Cpu, args: RmsNorm<'_>) -> Result<Tensor> {
    by_dtype!(OP, "input", args.input, T => typed::<T>(cpu, args))
}

fn typed<T: Number>(cpu: &Cpu, args: RmsNorm<'_>) -> Result<Tensor> {
    let run = |input: Rows<&[T]>, residual: Option<&mut [f32]>| {
        let weight = optional(OP, "weight", args.weight)?;
        let mut output = zeros::<T>(OP, input.rows() * input.cols())?;
        let norm = ops::RmsNorm::<Cpu, T, T> {
            input,
            residual: residual.map(|data| Rows::new(data, input.rows(), input.cols())).transpose()?,
            weight: weight.as_ref().map(Operand::values).transpose()?,
            eps: args.eps,
            output: Rows::new(&mut output[..], input.rows(), input.cols())?,
        };
        with_workspace(|workspace| cpu.rms_norm(norm, workspace))?;
        Ok(output)
    };
    like(OP, ("input", args.input), args.residual.map(|tensor| ("residual", tensor)), &[args.weight], run)
}
