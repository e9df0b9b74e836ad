//! The selective scan on tensors.

use crate::backend::{TensorBackend, Workspace};
use crate::custom_op::{Arrays, Call, TensorOp};
use crate::element::{TensorElement, with_tensor_type};
use crate::error::OrCandle;
use crate::layout::{expect_dims, sequences};
use crate::locks::Reads;
use candle_core::{Result, Tensor};
use mamba_kernels::{Backend, Batch, Rows, ops};

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
    /// The sequences. Without a batch, the dimensions of `u` give them, in the slots 0, 1, 2...
    pub batch: Option<&'a Batch>,
    /// `[slots, d_state, channels]` of f32, updated in place
    pub state: Option<&'a Tensor>,
}

/// The selective scan: a tensor like `u`.
///
/// # Errors
/// As [`ops::SelectiveScan::validate`] says; for an unsupported layout, type or device; and
/// `BackwardNotSupported` for a tensor that records operations.
pub fn selective_scan<O: TensorBackend>(backend: &O, args: SelectiveScan<'_>) -> Result<Tensor> {
    with_tensor_type!(OP, "u", args.u, T => typed::<O, T>(backend, args))
}

fn typed<O: TensorBackend, T: TensorElement>(backend: &O, args: SelectiveScan<'_>) -> Result<Tensor> {
    let SelectiveScan { u, delta, a, b, c, d, z, delta_bias, state, .. } = args;
    expect_dims(OP, "a", a, ["d_state", "channels"], u)?;
    if let Some(state) = state {
        expect_dims(OP, "state", state, ["slots", "d_state", "channels"], u)?;
    }
    let batch = sequences(args.batch, u)?;
    let call = Call {
        op: OP,
        input: ("u", u),
        target: state.map(|tensor| ("state", tensor)),
        read: &[Some(delta), Some(a), Some(b), Some(c), d, z, delta_bias],
        outputs: [u.dims().into()],
    };
    let [output] = call.run::<O, T>(backend, &Scan { backend: backend.backend(), batch, args })?;
    Ok(output)
}

struct Scan<'a, B> {
    backend: &'a B,
    batch: Batch,
    args: SelectiveScan<'a>,
}

impl<O: TensorBackend, T: TensorElement> TensorOp<O, T, 1> for Scan<'_, O::Backend> {
    fn run<'x>(
        &'x self,
        Arrays { input: u, target, outputs: [output] }: Arrays<'x, O, T, 1>,
        reads: &Reads<'x, O>,
        workspace: &mut Workspace<O>,
    ) -> Result<()> {
        let Self { backend, batch, args } = self;
        let scan = ops::SelectiveScan::<O::Backend, T> {
            u,
            delta: reads.rows("delta", args.delta)?,
            a: reads.values("a", args.a)?,
            b: reads.rows("b", args.b)?,
            c: reads.rows("c", args.c)?,
            n_groups: args.n_groups,
            d: reads.optional("d", args.d)?,
            z: args.z.map(|z| reads.rows("z", z)).transpose()?,
            delta_bias: reads.optional("delta_bias", args.delta_bias)?,
            delta_softplus: args.delta_softplus,
            batch,
            state: target,
            output: Rows::new(output, u.rows(), u.cols()).or_candle()?,
        };
        backend.selective_scan(scan, workspace).or_candle()
    }
}
