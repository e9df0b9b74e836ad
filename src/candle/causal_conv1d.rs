//! The causal convolution on tensors.

use super::arrays::{Number, Operand, by_dtype, like, optional, sequences, with_workspace};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::cpu::Cpu;
use crate::host::zeros;
use crate::ops;
use crate::rows::Rows;
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
pub fn causal_conv1d(cpu: &Cpu, args: CausalConv1d<'_>) -> Result<Tensor> {
    by_dtype!(OP, "input", args.input, T => typed::<T>(cpu, args))
}

fn typed<T: Number>(cpu: &Cpu, args: CausalConv1d<'_>) -> Result<Tensor> {
    let batch = &match args.batch {
        Some(batch) => batch.clone(),
        None => sequences(args.input)?,
    };
    let run = |input: Rows<&[T]>, state: Option<&mut [f32]>| {
        let weight = Operand::new(OP, "weight", args.weight)?;
        let bias = optional(OP, "bias", args.bias)?;
        let mut output = zeros::<T>(OP, input.rows() * input.cols())?;
        let conv = ops::CausalConv1d::<Cpu, T> {
            input,
            weight: weight.values()?,
            bias: bias.as_ref().map(Operand::values).transpose()?,
            activation: args.activation,
            batch,
            state,
            output: Rows::new(&mut output[..], input.rows(), input.cols())?,
        };
        with_workspace(|workspace| cpu.causal_conv1d(conv, workspace))?;
        Ok(output)
    };
    like(
        OP,
        ("input", args.input),
        args.state.map(|tensor| ("state", tensor)),
        &[Some(args.weight), args.bias],
        run,
    )
}
