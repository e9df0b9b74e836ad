//! The ops: an argument struct and a function each, with the names of the Rust interface.

use crate::arrays::{MambaFloats, MambaFloatsMut, MambaRows, MambaRowsMut, MambaTokens};
use crate::dtype::with_dtype;
use crate::handles::{MambaBatch, MambaCpu, MambaWeights, handle};
use crate::slices::Arrays;
use crate::status::{MambaStatus, guarded};
use kernels::ops::{Activation, CausalConv1d, Embedding, Epilogue, InProj, Linear, RmsNorm, SelectiveScan};
use kernels::{Backend, Cpu, Error};

/// No activation.
pub const MAMBA_ACTIVATION_IDENTITY: u32 = 0;
/// `x * sigmoid(x)`.
pub const MAMBA_ACTIVATION_SILU: u32 = 1;

/// The sum is stored.
pub const MAMBA_EPILOGUE_STORE: u32 = 0;
/// Softplus of the sum is stored.
pub const MAMBA_EPILOGUE_SOFTPLUS: u32 = 1;
/// The sum is added to the output.
pub const MAMBA_EPILOGUE_RESIDUAL: u32 = 2;

/// `[x | z] = input * weight^T + bias`, each half to its own array.
#[derive(Debug)]
#[repr(C)]
pub struct MambaInProj {
    /// The type of `input`, `x` and `z`: one of `MAMBA_DTYPE_*`.
    pub dtype: u32,
    /// `[tokens, d_model]`
    pub input: MambaRows,
    /// `[2 * d_inner, d_model]`
    pub weight: *const MambaWeights,
    /// `[2 * d_inner]`, or null
    pub bias: MambaFloats,
    /// `[tokens, d_inner]`, written
    pub x: MambaRowsMut,
    /// `[tokens, d_inner]`, written
    pub z: MambaRowsMut,
}

/// Runs `in_proj`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_in_proj(cpu: *const MambaCpu, args: *const MambaInProj) -> MambaStatus {
    const OP: &str = "in_proj";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let weight = &handle(OP, "weight", args.weight)?.0;
        let mut arrays = Arrays::new(OP);
        let bias = arrays.floats("bias", args.bias)?;
        with_dtype!(OP, "dtype", args.dtype, T => {
            let input = arrays.required_rows::<T>("input", args.input)?;
            let x = arrays.required_rows_mut::<T>("x", args.x)?;
            let z = arrays.required_rows_mut::<T>("z", args.z)?;
            let args = InProj::<Cpu, T, 2> {
                input,
                weight,
                bias,
                outputs: [x, z],
            };
            cpu.with_workspace(|cpu, workspace| cpu.in_proj(args, workspace))
        })
    })
}

/// `output = epilogue(input * weight^T + bias)`.
#[derive(Debug)]
#[repr(C)]
pub struct MambaLinear {
    /// The type of `input`: one of `MAMBA_DTYPE_*`.
    pub input_dtype: u32,
    /// The type of `output`: one of `MAMBA_DTYPE_*`.
    pub output_dtype: u32,
    /// One of `MAMBA_EPILOGUE_*`.
    pub epilogue: u32,
    /// `[tokens, in_features]`
    pub input: MambaRows,
    /// `[out_features, in_features]`
    pub weight: *const MambaWeights,
    /// `[out_features]`, or null
    pub bias: MambaFloats,
    /// `[tokens, out_features]`, written; with `MAMBA_EPILOGUE_RESIDUAL` read too
    pub output: MambaRowsMut,
}

/// Runs `linear`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_linear(cpu: *const MambaCpu, args: *const MambaLinear) -> MambaStatus {
    const OP: &str = "linear";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let weight = &handle(OP, "weight", args.weight)?.0;
        let epilogue = match args.epilogue {
            MAMBA_EPILOGUE_STORE => Epilogue::Store,
            MAMBA_EPILOGUE_SOFTPLUS => Epilogue::Softplus,
            MAMBA_EPILOGUE_RESIDUAL => Epilogue::Residual,
            other => return Err(Error::argument(OP, "epilogue", "one of MAMBA_EPILOGUE_*", other)),
        };
        let mut arrays = Arrays::new(OP);
        let bias = arrays.floats("bias", args.bias)?;
        with_dtype!(OP, "input_dtype", args.input_dtype, T => with_dtype!(OP, "output_dtype", args.output_dtype, U => {
            let input = arrays.required_rows::<T>("input", args.input)?;
            let output = arrays.required_rows_mut::<U>("output", args.output)?;
            let args = Linear::<Cpu, T, U> {
                input,
                weight,
                bias,
                epilogue,
                output,
            };
            cpu.with_workspace(|cpu, workspace| cpu.linear(args, workspace))
        }))
    })
}

/// A depthwise causal convolution, channels last, with its state.
#[derive(Debug)]
#[repr(C)]
pub struct MambaCausalConv1d {
    /// The type of `input` and `output`: one of `MAMBA_DTYPE_*`.
    pub dtype: u32,
    /// One of `MAMBA_ACTIVATION_*`.
    pub activation: u32,
    /// `[tokens, channels]`
    pub input: MambaRows,
    /// `[d_conv, channels]`, the oldest tap first: the transpose of PyTorch's `[channels, 1, d_conv]`
    pub weight: MambaFloats,
    /// `[channels]`, or null
    pub bias: MambaFloats,
    /// `[slots, d_conv - 1, channels]`, the oldest input first, read and updated; or null
    pub state: MambaFloatsMut,
    /// `[tokens, channels]`, written
    pub output: MambaRowsMut,
}

/// Runs `causal_conv1d`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_causal_conv1d(
    cpu: *const MambaCpu,
    batch: *const MambaBatch,
    args: *const MambaCausalConv1d,
) -> MambaStatus {
    const OP: &str = "causal_conv1d";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let batch = &handle(OP, "batch", batch)?.0;
        let activation = match args.activation {
            MAMBA_ACTIVATION_IDENTITY => Activation::Identity,
            MAMBA_ACTIVATION_SILU => Activation::Silu,
            other => return Err(Error::argument(OP, "activation", "one of MAMBA_ACTIVATION_*", other)),
        };
        let mut arrays = Arrays::new(OP);
        let weight = arrays.floats("weight", args.weight)?;
        let bias = arrays.floats("bias", args.bias)?;
        let state = arrays.floats_mut("state", args.state)?;
        with_dtype!(OP, "dtype", args.dtype, T => {
            let input = arrays.required_rows::<T>("input", args.input)?;
            let output = arrays.required_rows_mut::<T>("output", args.output)?;
            let args = CausalConv1d::<Cpu, T> {
                input,
                weight: arrays.required("weight", weight)?,
                bias,
                activation,
                batch,
                state,
                output,
            };
            cpu.with_workspace(|cpu, workspace| cpu.causal_conv1d(args, workspace))
        })
    })
}

/// The selective scan. Per sequence, token t, channel c of group g and state n:
///
/// ```text
/// delta  = softplus(delta[t, c] + delta_bias[c])              (each part optional)
/// h[n]   = exp(delta * a[n, c]) * h[n] + delta * u[t, c] * b[t, g, n]
/// y      = sum over n of c[t, g, n] * h[n] + d[c] * u[t, c]   (d optional)
/// output = y * silu(z[t, c])                                  (z optional)
/// ```
#[derive(Debug)]
#[repr(C)]
pub struct MambaSelectiveScan {
    /// The type of `u`, `delta`, `b`, `c`, `z` and `output`: one of `MAMBA_DTYPE_*`.
    pub dtype: u32,
    /// Nonzero to apply softplus to `delta`, after the bias.
    pub delta_softplus: u32,
    /// Groups of channels: those of group `g` share the columns `[g * d_state, (g + 1) * d_state)` of `b` and `c`. 1 in
    /// Mamba.
    pub n_groups: usize,
    /// `[tokens, channels]`
    pub u: MambaRows,
    /// `[tokens, channels]`
    pub delta: MambaRows,
    /// `[d_state, channels]`, `-exp(A_log)`: the transpose of PyTorch's `[channels, d_state]`
    pub a: MambaFloats,
    /// `[tokens, n_groups * d_state]`
    pub b: MambaRows,
    /// `[tokens, n_groups * d_state]`
    pub c: MambaRows,
    /// `[channels]`, or null
    pub d: MambaFloats,
    /// `[tokens, channels]`, or null
    pub z: MambaRows,
    /// `[channels]`, or null
    pub delta_bias: MambaFloats,
    /// `[slots, d_state, channels]`, read and updated; or null: every sequence starts from zeros
    pub state: MambaFloatsMut,
    /// `[tokens, channels]`, written
    pub output: MambaRowsMut,
}

/// Runs `selective_scan`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_selective_scan(
    cpu: *const MambaCpu,
    batch: *const MambaBatch,
    args: *const MambaSelectiveScan,
) -> MambaStatus {
    const OP: &str = "selective_scan";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let batch = &handle(OP, "batch", batch)?.0;
        let mut arrays = Arrays::new(OP);
        let a = arrays.floats("a", args.a)?;
        let d = arrays.floats("d", args.d)?;
        let delta_bias = arrays.floats("delta_bias", args.delta_bias)?;
        let state = arrays.floats_mut("state", args.state)?;
        with_dtype!(OP, "dtype", args.dtype, T => {
            let u = arrays.required_rows::<T>("u", args.u)?;
            let delta = arrays.required_rows::<T>("delta", args.delta)?;
            let b = arrays.required_rows::<T>("b", args.b)?;
            let c = arrays.required_rows::<T>("c", args.c)?;
            let z = arrays.rows::<T>("z", args.z)?;
            let output = arrays.required_rows_mut::<T>("output", args.output)?;
            let args = SelectiveScan::<Cpu, T> {
                u,
                delta,
                a: arrays.required("a", a)?,
                b,
                c,
                n_groups: args.n_groups,
                d,
                z,
                delta_bias,
                delta_softplus: args.delta_softplus != 0,
                batch,
                state,
                output,
            };
            cpu.with_workspace(|cpu, workspace| cpu.selective_scan(args, workspace))
        })
    })
}

/// `output = r / sqrt(mean(r^2) + eps) * weight`, with `r = input + residual`, written back to the residual.
#[derive(Debug)]
#[repr(C)]
pub struct MambaRmsNorm {
    /// The type of `input`: one of `MAMBA_DTYPE_*`.
    pub input_dtype: u32,
    /// The type of `output`: one of `MAMBA_DTYPE_*`.
    pub output_dtype: u32,
    /// Added to the mean square; finite and not negative.
    pub eps: f32,
    /// `[tokens, channels]`
    pub input: MambaRows,
    /// `[tokens, channels]` of floats, read and updated; or null
    pub residual: MambaRowsMut,
    /// `[channels]`, or null
    pub weight: MambaFloats,
    /// `[tokens, channels]`, written
    pub output: MambaRowsMut,
}

/// Runs `rms_norm`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_rms_norm(cpu: *const MambaCpu, args: *const MambaRmsNorm) -> MambaStatus {
    const OP: &str = "rms_norm";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let mut arrays = Arrays::new(OP);
        let weight = arrays.floats("weight", args.weight)?;
        let residual = arrays.rows_mut::<f32>("residual", args.residual)?;
        with_dtype!(OP, "input_dtype", args.input_dtype, T => with_dtype!(OP, "output_dtype", args.output_dtype, U => {
            let input = arrays.required_rows::<T>("input", args.input)?;
            let output = arrays.required_rows_mut::<U>("output", args.output)?;
            let args = RmsNorm::<Cpu, T, U> {
                input,
                residual,
                weight,
                eps: args.eps,
                output,
            };
            cpu.with_workspace(|cpu, workspace| cpu.rms_norm(args, workspace))
        }))
    })
}

/// `output[t] = weight[tokens[t]]`.
#[derive(Debug)]
#[repr(C)]
pub struct MambaEmbedding {
    /// The type of `output`: one of `MAMBA_DTYPE_*`.
    pub dtype: u32,
    /// `[tokens]`, each below the rows of the weight
    pub tokens: MambaTokens,
    /// `[vocab, d_model]`
    pub weight: *const MambaWeights,
    /// `[tokens, d_model]`, written
    pub output: MambaRowsMut,
}

/// Runs `embedding`.
///
/// # Safety
/// Each pointer is null or points to a live handle or a valid `args`, whose arrays are as it describes them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mamba_embedding(cpu: *const MambaCpu, args: *const MambaEmbedding) -> MambaStatus {
    const OP: &str = "embedding";
    // SAFETY: each handle is null or live, the arrays are as `args` describes them, and one `Arrays` makes all slices.
    guarded(|| unsafe {
        let (cpu, args) = (handle(OP, "cpu", cpu)?, handle(OP, "args", args)?);
        let weight = &handle(OP, "weight", args.weight)?.0;
        let mut arrays = Arrays::new(OP);
        let tokens = arrays.tokens("tokens", args.tokens)?;
        with_dtype!(OP, "dtype", args.dtype, T => {
            let output = arrays.required_rows_mut::<T>("output", args.output)?;
            let args = Embedding::<Cpu, T> { tokens, weight, output };
            cpu.with_workspace(|cpu, workspace| cpu.embedding(args, workspace))
        })
    })
}
