//! The selective scan on tensors.

use super::arrays::{Number, Operand, by_dtype, like, optional, sequences, with_workspace};
use crate::backend::Backend;
use crate::batch::Batch;
use crate::cpu::Cpu;
use crate::host::zeros;
use crate::ops;
use crate::rows::Rows;
use candle_core::{Result, Tensor};

const OP: &str = "selective_scan";

/// The arguments of [`selective_scan`]: those of [`ops::SelectiveScan`], which has the formula, as tensors.
#[derive(Debug, Clone, Copy)]
pub struct SelectiveScan<'a> {
    /// `[tokens, channels]`, or `[batch, tokens, channels]`
    pub u: &'a Tensor,
    /// As `u`.
    pub delta: &'a Tensor,
    /// `[d_state, channels]` of f32: the transpose of `-exp(A_log)`
    pub a: &'a Tensor,
    /// `[tokens, n_groups * d_state]`, or with a batch in front
    pub b: &'a Tensor,
    /// As `b`.
    pub c: &'a Tensor,
    /// 1 in Mamba.
    pub n_groups: usize,
    /// `[channels]` of f32
    pub d: Option<&'a Tensor>,
    /// As `u`.
    pub z: Option<&'a Tensor>,
    /// `[channels]` of f32
    pub delta_bias: Option<&'a Tensor>,
    /// Whether softplus is applied to `delta`, after the bias.
    pub delta_softplus: bool,
    /// The sequences; without it, as the dimensions of `u` say, in the slots 0, 1, 2...
    pub batch: Option<&'a Batch>,
    /// `[slots, d_state, channels]` of f32, updated in place
    pub state: Option<&'a Tensor>,
}

/// The selective scan: a tensor like `u`.
///
/// # Errors
/// As [`ops::SelectiveScan::validate`] says; for a layout, type or device that the module does not take; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn selective_scan(cpu: &Cpu, args: SelectiveScan<'_>) -> Result<Tensor> {
    by_dtype!(OP, "u", args.u, T => typed::<T>(cpu, args))
}

fn typed<T: Number>(cpu: &Cpu, args: SelectiveScan<'_>) -> Result<Tensor> {
    let batch = &match args.batch {
        Some(batch) => batch.clone(),
        None => sequences(args.u)?,
    };
    let run = |u: Rows<&[T]>, state: Option<&mut [f32]>| {
        let [delta, a, b, c] = [("delta", args.delta), ("a", args.a), ("b", args.b), ("c", args.c)]
            .map(|(name, tensor)| Operand::new(OP, name, tensor));
        let (delta, a, b, c) = (delta?, a?, b?, c?);
        let d = optional(OP, "d", args.d)?;
        let z = optional(OP, "z", args.z)?;
        let delta_bias = optional(OP, "delta_bias", args.delta_bias)?;
        let mut output = zeros::<T>(OP, u.rows() * u.cols())?;
        let scan = ops::SelectiveScan::<Cpu, T> {
            u,
            delta: delta.rows()?,
            a: a.values()?,
            b: b.rows()?,
            c: c.rows()?,
            n_groups: args.n_groups,
            d: d.as_ref().map(Operand::values).transpose()?,
            z: z.as_ref().map(Operand::rows).transpose()?,
            delta_bias: delta_bias.as_ref().map(Operand::values).transpose()?,
            delta_softplus: args.delta_softplus,
            batch,
            state,
            output: Rows::new(&mut output[..], u.rows(), u.cols())?,
        };
        with_workspace(|workspace| cpu.selective_scan(scan, workspace))?;
        Ok(output)
    };
    let SelectiveScan { delta, a, b, c, d, z, delta_bias, .. } = args;
    let read = [Some(delta), Some(a), Some(b), Some(c), d, z, delta_bias];
    like(OP, ("u", args.u), args.state.map(|tensor| ("state", tensor)), &read, run)
}
