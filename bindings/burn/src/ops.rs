//! Scan, convolution and norm.

use crate::arrays::{Array, Dim, TensorElement, sequences, tensor, with_array_type, with_workspace};
use burn_tensor::Tensor;
use mamba_kernels::ops::{self, Activation};
use mamba_kernels::{Backend, Batch, Cpu, Result, Rows};

/// The arguments of [`selective_scan`]: those of [`ops::SelectiveScan`], which has the formula. `D` is 2 for
/// `[tokens, channels]`, or 3 with a batch in front.
#[derive(Debug, Clone)]
pub struct SelectiveScan<const D: usize> {
    /// `[tokens, channels]`
    pub u: Tensor<D>,
    /// `[tokens, channels]`
    pub delta: Tensor<D>,
    /// `[d_state, channels]` of f32: the transpose of `-exp(A_log)`
    pub a: Tensor<2>,
    /// `[tokens, n_groups * d_state]`
    pub b: Tensor<D>,
    /// As `b`.
    pub c: Tensor<D>,
    /// 1 in Mamba.
    pub n_groups: usize,
    /// `[channels]` of f32
    pub d: Option<Tensor<1>>,
    /// `[tokens, channels]`
    pub z: Option<Tensor<D>>,
    /// `[channels]` of f32
    pub delta_bias: Option<Tensor<1>>,
    /// Whether softplus is applied to `delta`, after the bias.
    pub delta_softplus: bool,
    /// The sequences. Without a batch, the dimensions of `u` give them, in the slots 0, 1, 2...
    pub batch: Option<Batch>,
    /// `[slots, d_state, channels]` of f32; it comes back updated
    pub state: Option<Tensor<3>>,
}

/// The selective scan: a tensor like `u`, and the updated state if one was given.
///
/// # Errors
/// As [`ops::SelectiveScan::validate`] says, and for an unsupported backend, layout or type.
pub fn selective_scan<const D: usize>(
    cpu: &Cpu,
    args: SelectiveScan<D>,
) -> Result<(Tensor<D>, Option<Tensor<3>>)> {
    let u = Array::new("selective_scan", "u", args.u.clone())?;
    with_array_type!(u, T => scan::<T, D>(cpu, &u, args))
}

fn scan<T: TensorElement, const D: usize>(
    cpu: &Cpu,
    u: &Array,
    args: SelectiveScan<D>,
) -> Result<(Tensor<D>, Option<Tensor<3>>)> {
    const OP: &str = "selective_scan";
    let batch = sequences(args.batch, &u.dims())?;
    let delta = Array::new(OP, "delta", args.delta)?;
    let a = Array::new(OP, "a", args.a)?;
    let b = Array::new(OP, "b", args.b)?;
    let c = Array::new(OP, "c", args.c)?;
    let d = Array::optional(OP, "d", args.d)?;
    let z = Array::optional(OP, "z", args.z)?;
    let delta_bias = Array::optional(OP, "delta_bias", args.delta_bias)?;
    let mut state = Array::optional(OP, "state", args.state)?;
    let rows = u.rows::<T>()?;
    delta.expect_like(u, None)?;
    z.iter().try_for_each(|z| z.expect_like(u, None))?;
    b.expect_like(u, Some("n_groups * d_state"))?;
    c.expect_like(u, Some("n_groups * d_state"))?;
    a.expect(&[Dim::Any("d_state"), Dim::Of(rows.cols())])?;
    let d_state = Dim::Of(a.dims()[0]);
    state.iter().try_for_each(|state| state.expect(&[Dim::Any("slots"), d_state, Dim::Of(rows.cols())]))?;
    let mut output = cpu.zeros::<T>(rows.rows() * rows.cols())?;
    let scan = ops::SelectiveScan::<Cpu, T> {
        u: rows,
        delta: delta.rows()?,
        a: a.values()?,
        b: b.rows()?,
        c: c.rows()?,
        n_groups: args.n_groups,
        d: d.as_ref().map(Array::values).transpose()?,
        z: z.as_ref().map(Array::rows).transpose()?,
        delta_bias: delta_bias.as_ref().map(Array::values).transpose()?,
        delta_softplus: args.delta_softplus,
        batch: &batch,
        state: state.as_mut().map(Array::values_mut).transpose()?,
        output: Rows::new(&mut output[..], rows.rows(), rows.cols())?,
    };
    with_workspace(|workspace| cpu.selective_scan(scan, workspace))?;
    Ok((tensor(output, u.dims()), state.map(Array::into_tensor)))
}

/// The arguments of [`causal_conv1d`]: those of [`ops::CausalConv1d`], which has the formula. `D` as in
/// [`SelectiveScan`].
#[derive(Debug, Clone)]
pub struct CausalConv1d<const D: usize> {
    /// `[tokens, channels]`
    pub input: Tensor<D>,
    /// `[d_conv, channels]` of f32, the oldest tap first: the transpose of PyTorch's `[channels, 1, d_conv]`
    pub weight: Tensor<2>,
    /// `[channels]` of f32
    pub bias: Option<Tensor<1>>,
    /// Applied to each output.
    pub activation: Activation,
    /// The sequences. Without a batch, the dimensions of `input` give them, in the slots 0, 1, 2...
    pub batch: Option<Batch>,
    /// `[slots, d_conv - 1, channels]` of f32; it comes back updated
    pub state: Option<Tensor<3>>,
}

/// The depthwise causal convolution: a tensor like `input`, and the updated state if one was given.
///
/// # Errors
/// As [`ops::CausalConv1d::validate`] says, and for an unsupported backend, layout or type.
pub fn causal_conv1d<const D: usize>(
    cpu: &Cpu,
    args: CausalConv1d<D>,
) -> Result<(Tensor<D>, Option<Tensor<3>>)> {
    let input = Array::new("causal_conv1d", "input", args.input.clone())?;
    with_array_type!(input, T => conv::<T, D>(cpu, &input, args))
}

fn conv<T: TensorElement, const D: usize>(
    cpu: &Cpu,
    input: &Array,
    args: CausalConv1d<D>,
) -> Result<(Tensor<D>, Option<Tensor<3>>)> {
    const OP: &str = "causal_conv1d";
    let batch = sequences(args.batch, &input.dims())?;
    let weight = Array::new(OP, "weight", args.weight)?;
    let bias = Array::optional(OP, "bias", args.bias)?;
    let mut state = Array::optional(OP, "state", args.state)?;
    let rows = input.rows::<T>()?;
    weight.expect(&[Dim::Any("d_conv"), Dim::Of(rows.cols())])?;
    let taps = Dim::Of(weight.dims()[0].saturating_sub(1));
    state.iter().try_for_each(|state| state.expect(&[Dim::Any("slots"), taps, Dim::Of(rows.cols())]))?;
    let mut output = cpu.zeros::<T>(rows.rows() * rows.cols())?;
    let conv = ops::CausalConv1d::<Cpu, T> {
        input: rows,
        weight: weight.values()?,
        bias: bias.as_ref().map(Array::values).transpose()?,
        activation: args.activation,
        batch: &batch,
        state: state.as_mut().map(Array::values_mut).transpose()?,
        output: Rows::new(&mut output[..], rows.rows(), rows.cols())?,
    };
    with_workspace(|workspace| cpu.causal_conv1d(conv, workspace))?;
    Ok((tensor(output, input.dims()), state.map(Array::into_tensor)))
}

/// The arguments of [`rms_norm`]: those of [`ops::RmsNorm`], which has the formula. `D` as in [`SelectiveScan`].
#[derive(Debug, Clone)]
pub struct RmsNorm<const D: usize> {
    /// `[tokens, channels]`
    pub input: Tensor<D>,
    /// Contiguous, of f32 and the size of `input`; it comes back with the input added
    pub residual: Option<Tensor<D>>,
    /// `[channels]` of f32
    pub weight: Option<Tensor<1>>,
    /// Added to the mean square.
    pub eps: f32,
}

/// RMSNorm with a fused residual add: a tensor like `input`, and the updated residual if one was given.
///
/// # Errors
/// As [`ops::RmsNorm::validate`] says, and for an unsupported backend, layout or type.
pub fn rms_norm<const D: usize>(cpu: &Cpu, args: RmsNorm<D>) -> Result<(Tensor<D>, Option<Tensor<D>>)> {
    let input = Array::new("rms_norm", "input", args.input.clone())?;
    with_array_type!(input, T => norm::<T, D>(cpu, &input, args))
}

fn norm<T: TensorElement, const D: usize>(
    cpu: &Cpu,
    input: &Array,
    args: RmsNorm<D>,
) -> Result<(Tensor<D>, Option<Tensor<D>>)> {
    const OP: &str = "rms_norm";
    let weight = Array::optional(OP, "weight", args.weight)?;
    let mut residual = Array::optional(OP, "residual", args.residual)?;
    let rows = input.rows::<T>()?;
    residual.iter().try_for_each(|residual| residual.expect_like(input, None))?;
    let mut output = cpu.zeros::<T>(rows.rows() * rows.cols())?;
    let residual_values = residual.as_mut().map(Array::values_mut).transpose()?;
    let norm = ops::RmsNorm::<Cpu, T, T> {
        input: rows,
        residual: residual_values.map(|data| Rows::new(data, rows.rows(), rows.cols())).transpose()?,
        weight: weight.as_ref().map(Array::values).transpose()?,
        eps: args.eps,
        output: Rows::new(&mut output[..], rows.rows(), rows.cols())?,
    };
    with_workspace(|workspace| cpu.rms_norm(norm, workspace))?;
    Ok((tensor(output, input.dims()), residual.map(Array::into_tensor)))
}
