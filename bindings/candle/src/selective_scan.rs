//! The selective scan on tensors.

use super::arrays::{Number, by_dtype, expect_dims, sequences};
use super::call::{Arrays, Call};
use super::device::TensorBackend;
use crate::arrays::Batch;
use crate::arrays::Rows;
use crate::backend::Backend;
use crate::ops;
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
pub fn selective_scan<O: TensorBackend>(backend: &O, args: SelectiveScan<'_>) -> Result<Tensor> {
    by_dtype!(OP, "u", args.u, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: Number>(backend: &O, args: SelectiveScan<'_>) -> Result<Tensor> {
    let batch = &match args.batch {
        Some(batch) => batch.clone(),
        None => sequences(args.u)?,
    };
    let SelectiveScan { delta, a, b, c, d, z, delta_bias, .. } = args;
    expect_dims(OP, "a", a, ["d_state", "channels"], args.u)?;
    if let Some(state) = args.state {
        expect_dims(OP, "state", state, ["slots", "d_state", "channels"], args.u)?;
    }
    let call = Call {
        op: OP,
        input: ("u", args.u),
        target: args.state.map(|tensor| ("state", tensor)),
        read: &[Some(delta), Some(a), Some(b), Some(c), d, z, delta_bias],
        shape: args.u.dims().into(),
    };
    let with = (backend.backend(), batch);
    call.run::<O, T, _>(
        backend,
        &with,
        |Arrays { input: u, target, output }, read, (backend, batch), workspace| {
            let scan = ops::SelectiveScan::<O::Backend, T> {
                u,
                delta: read.rows("delta", delta)?,
                a: read.values("a", a)?,
                b: read.rows("b", b)?,
                c: read.rows("c", c)?,
                n_groups: args.n_groups,
                d: read.optional("d", d)?,
                z: z.map(|z| read.rows("z", z)).transpose()?,
                delta_bias: read.optional("delta_bias", delta_bias)?,
                delta_softplus: args.delta_softplus,
                batch,
                state: target,
                output: Rows::new(output, u.rows(), u.cols())?,
            };
            Ok(backend.selective_scan(scan, workspace)?)
        },
    )
}
