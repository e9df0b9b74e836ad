//! [`Block`]: the weights of one layer, and the calls that make it.
#![forbid(unsafe_code)]

use super::scratch::Activations;
use super::source::Source;
use super::state::LayerState;
use super::{Config, ModelError};
use crate::arrays::{Batch, Rows, WeightFormat};
use crate::backend::Backend;
use crate::ops::{Activation, CausalConv1d, Epilogue, InProj, Linear, RmsNorm, SelectiveScan, layout};
use std::ops::Range;

/// The weights of one Mamba block.
pub(super) struct Block<B: Backend> {
    norm: B::Buffer<f32>,                  // [d_model]
    in_proj: B::Weights,                   // [2 * d_inner, d_model]
    in_proj_bias: Option<B::Buffer<f32>>,  // [2 * d_inner]
    conv: B::Buffer<f32>,                  // [d_conv, d_inner]
    conv_bias: Option<B::Buffer<f32>>,     // [d_inner]
    x_proj: B::Weights,                    // [dt_rank + 2 * d_state, d_inner]
    dt_proj: B::Weights,                   // [d_inner, dt_rank]
    dt_bias: B::Buffer<f32>,               // [d_inner]
    a: B::Buffer<f32>,                     // [d_state, d_inner]
    d: B::Buffer<f32>,                     // [d_inner]
    out_proj: B::Weights,                  // [d_model, d_inner]
    out_proj_bias: Option<B::Buffer<f32>>, // [d_model]
}

impl<B: Backend> Block<B> {
    pub(super) fn load(
        backend: &B,
        config: &Config,
        source: &impl Source,
        layer: usize,
        format: Option<WeightFormat>,
    ) -> Result<Self, ModelError> {
        let Config { d_model, d_inner, d_state, d_conv, dt_rank, .. } = *config;
        let name = |part: &str| format!("backbone.layers.{layer}.{part}");
        let matrix = |part, rows, cols| source.matrix(backend, &[&name(part)], [rows, cols], format);
        let vector = |part, len| source.vector(backend, &name(part), len);
        let optional = |there: bool, part, len| there.then(|| vector(part, len)).transpose();
        let conv = source.widened(&name("mixer.conv1d.weight"), &[d_inner, 1, d_conv])?;
        let a_log = source.widened(&name("mixer.A_log"), &[d_inner, d_state])?;
        Ok(Self {
            norm: vector("norm.weight", d_model)?,
            in_proj: matrix("mixer.in_proj.weight", 2 * d_inner, d_model)?,
            in_proj_bias: optional(config.use_bias, "mixer.in_proj.bias", 2 * d_inner)?,
            conv: backend.upload(&layout::conv_weight_from_pytorch(&conv, d_inner, d_conv)?)?,
            conv_bias: optional(config.use_conv_bias, "mixer.conv1d.bias", d_inner)?,
            x_proj: matrix("mixer.x_proj.weight", config.projected(), d_inner)?,
            dt_proj: matrix("mixer.dt_proj.weight", d_inner, dt_rank)?,
            dt_bias: vector("mixer.dt_proj.bias", d_inner)?,
            a: backend.upload(&layout::a_from_a_log(&a_log, d_inner, d_state)?)?,
            d: vector("mixer.D", d_inner)?,
            out_proj: matrix("mixer.out_proj.weight", d_model, d_inner)?,
            out_proj_bias: optional(config.use_bias, "mixer.out_proj.bias", d_model)?,
        })
    }

    /// Adds the block's output to the residual stream of one chunk and carries the state on.
    ///
    /// The Mamba paper's algorithm 2 in the block of its figure 3:
    /// ```text
    /// [x | z]     = in_proj(rms_norm(residual))
    /// u           = silu(causal_conv1d(x))
    /// [dt | B | C] = x_proj(u)                        (each normed in Falcon-Mamba)
    /// residual   += out_proj(selective_scan(u, softplus(dt_proj(dt)), A, B, C, D, z))
    /// ```
    pub(super) fn forward(
        &self,
        backend: &B,
        config: &Config,
        batch: &Batch,
        state: &mut LayerState<B>,
        arrays: &mut Activations<B>,
        workspace: &mut B::Workspace,
    ) -> Result<(), ModelError> {
        let rows = batch.tokens();
        let Config { d_model, d_inner, d_state, dt_rank, .. } = *config;
        let norm = RmsNorm::<B, f32, f32> {
            input: Rows::new(backend.view(&arrays.residual), rows, d_model)?,
            residual: None,
            weight: Some(backend.view(&self.norm)),
            eps: config.norm_eps,
            output: Rows::new(backend.view_mut(&mut arrays.normed), rows, d_model)?,
        };
        backend.rms_norm(norm, workspace)?;

        let in_proj = InProj::<B, f32, 2> {
            input: Rows::new(backend.view(&arrays.normed), rows, d_model)?,
            weight: &self.in_proj,
            bias: self.in_proj_bias.as_ref().map(|bias| backend.view(bias)),
            outputs: [
                Rows::new(backend.view_mut(&mut arrays.x), rows, d_inner)?,
                Rows::new(backend.view_mut(&mut arrays.z), rows, d_inner)?,
            ],
        };
        backend.in_proj(in_proj, workspace)?;

        let conv = CausalConv1d::<B, f32> {
            input: Rows::new(backend.view(&arrays.x), rows, d_inner)?,
            weight: backend.view(&self.conv),
            bias: self.conv_bias.as_ref().map(|bias| backend.view(bias)),
            activation: Activation::Silu,
            batch,
            state: Some(backend.view_mut(&mut state.conv)),
            output: Rows::new(backend.view_mut(&mut arrays.u), rows, d_inner)?,
        };
        backend.causal_conv1d(conv, workspace)?;

        let x_proj = Linear::<B, f32, f32> {
            input: Rows::new(backend.view(&arrays.u), rows, d_inner)?,
            weight: &self.x_proj,
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(backend.view_mut(&mut arrays.projected), rows, config.projected())?,
        };
        backend.linear(x_proj, workspace)?;

        let [dt, b, c] = [0..dt_rank, dt_rank..dt_rank + d_state, dt_rank + d_state..config.projected()];
        let shape = (rows, config.projected());
        if let Some(eps) = config.mixer_norm_eps {
            for part in [&dt, &b, &c] {
                let output = backend.view_mut(&mut arrays.projected_normed);
                let norm = RmsNorm::<B, f32, f32> {
                    input: columns(backend, &arrays.projected, shape, part)?,
                    residual: None,
                    weight: None,
                    eps,
                    output: Rows::new(output, rows, config.projected())?.columns(part.clone())?,
                };
                backend.rms_norm(norm, workspace)?;
            }
        }
        let projected = match config.mixer_norm_eps {
            Some(_) => &arrays.projected_normed,
            None => &arrays.projected,
        };

        let dt_proj = Linear::<B, f32, f32> {
            input: columns(backend, projected, shape, &dt)?,
            weight: &self.dt_proj,
            bias: None, // bias and softplus are fused into the scan: the same operations, and one pass less
            epilogue: Epilogue::Store,
            output: Rows::new(backend.view_mut(&mut arrays.delta), rows, d_inner)?,
        };
        backend.linear(dt_proj, workspace)?;

        let scan = SelectiveScan::<B, f32> {
            u: Rows::new(backend.view(&arrays.u), rows, d_inner)?,
            delta: Rows::new(backend.view(&arrays.delta), rows, d_inner)?,
            a: backend.view(&self.a),
            b: columns(backend, projected, shape, &b)?,
            c: columns(backend, projected, shape, &c)?,
            n_groups: 1,
            d: Some(backend.view(&self.d)),
            z: Some(Rows::new(backend.view(&arrays.z), rows, d_inner)?),
            delta_bias: Some(backend.view(&self.dt_bias)),
            delta_softplus: true,
            batch,
            state: Some(backend.view_mut(&mut state.ssm)),
            output: Rows::new(backend.view_mut(&mut arrays.x), rows, d_inner)?,
        };
        backend.selective_scan(scan, workspace)?;

        let out_proj = Linear::<B, f32, f32> {
            input: Rows::new(backend.view(&arrays.x), rows, d_inner)?,
            weight: &self.out_proj,
            bias: self.out_proj_bias.as_ref().map(|bias| backend.view(bias)),
            epilogue: Epilogue::Residual,
            output: Rows::new(backend.view_mut(&mut arrays.residual), rows, d_model)?,
        };
        Ok(backend.linear(out_proj, workspace)?)
    }
}

/// Columns of an array `[rows, cols]`.
fn columns<'a, B: Backend>(
    backend: &B,
    array: &'a B::Buffer<f32>,
    (rows, cols): (usize, usize),
    range: &Range<usize>,
) -> Result<Rows<B::View<'a, f32>>, ModelError> {
    Ok(Rows::new(backend.view(array), rows, cols)?.columns(range.clone())?)
}
