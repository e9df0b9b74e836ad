//! [`Mamba1`]: the mixer of Mamba-1, `in_proj` to `out_proj`.
#![forbid(unsafe_code)]

use super::arrays::{Activations, CONV, SSM};
use crate::arrays::{Rows, WeightFormat};
use crate::backend::Backend;
use crate::model::checkpoint::Source;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::mixer::declared::MixerCall;
use crate::ops::{Activation, CausalConv1d, Epilogue, InProj, Linear, RmsNorm, SelectiveScan, layout};
use std::ops::Range;

/// The weights of one layer's mixer.
pub(in crate::model) struct Mamba1<B: Backend> {
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

impl<B: Backend> Mamba1<B> {
    /// Loads the tensors whose names begin with `prefix`, matrices in a format or in their stored type.
    pub(in crate::model) fn load(
        backend: &B,
        config: &Config,
        source: &impl Source,
        prefix: &str,
        format: Option<WeightFormat>,
    ) -> Result<Self, ModelError> {
        let Config { d_model, d_inner, d_state, d_conv, dt_rank, .. } = *config;
        let name = |part: &str| format!("{prefix}.{part}");
        let matrix = |part, rows, cols| source.matrix(backend, &[&name(part)], [rows, cols], format);
        let vector = |part, len| source.vector(backend, &name(part), len);
        let optional = |present: bool, part, len| present.then(|| vector(part, len)).transpose();
        let conv = source.widened(&name("conv1d.weight"), &[d_inner, 1, d_conv])?;
        let a_log = source.widened(&name("A_log"), &[d_inner, d_state])?;
        Ok(Self {
            in_proj: matrix("in_proj.weight", 2 * d_inner, d_model)?,
            in_proj_bias: optional(config.use_bias, "in_proj.bias", 2 * d_inner)?,
            conv: backend.upload(&layout::conv_weight_from_pytorch(&conv, d_inner, d_conv)?)?,
            conv_bias: optional(config.use_conv_bias, "conv1d.bias", d_inner)?,
            x_proj: matrix("x_proj.weight", config.projected(), d_inner)?,
            dt_proj: matrix("dt_proj.weight", d_inner, dt_rank)?,
            dt_bias: vector("dt_proj.bias", d_inner)?,
            a: backend.upload(&layout::a_from_a_log(&a_log, d_inner, d_state)?)?,
            d: vector("D", d_inner)?,
            out_proj: matrix("out_proj.weight", d_model, d_inner)?,
            out_proj_bias: optional(config.use_bias, "out_proj.bias", d_model)?,
        })
    }

    /// Adds the mixer's output to the residual stream and updates the state pools.
    ///
    /// The Mamba paper's algorithm 2 in the block of its figure 3, with `input = rms_norm(residual)`:
    /// ```text
    /// [x | z]     = in_proj(input)
    /// u           = silu(causal_conv1d(x))
    /// [dt | B | C] = x_proj(u)                        (each normed in Falcon-Mamba)
    /// residual   += out_proj(selective_scan(u, softplus(dt_proj(dt)), A, B, C, D, z))
    /// ```
    pub(in crate::model) fn forward(
        &self,
        backend: &B,
        config: &Config,
        call: MixerCall<'_, B>,
        workspace: &mut B::Workspace,
    ) -> Result<(), ModelError> {
        let MixerCall { batch, input, residual, state, scratch } = call;
        let arrays = Activations::<B>::of(scratch);
        let rows = batch.tokens();
        let Config { d_model, d_inner, d_state, dt_rank, .. } = *config;
        let in_proj = InProj::<B, f32, 2> {
            input: Rows::new(backend.view(input), rows, d_model)?,
            weight: &self.in_proj,
            bias: self.in_proj_bias.as_ref().map(|bias| backend.view(bias)),
            outputs: [
                Rows::new(backend.view_mut(arrays.x), rows, d_inner)?,
                Rows::new(backend.view_mut(arrays.z), rows, d_inner)?,
            ],
        };
        backend.in_proj(in_proj, workspace)?;

        let conv = CausalConv1d::<B, f32> {
            input: Rows::new(backend.view(arrays.x), rows, d_inner)?,
            weight: backend.view(&self.conv),
            bias: self.conv_bias.as_ref().map(|bias| backend.view(bias)),
            activation: Activation::Silu,
            batch,
            state: Some(backend.view_mut(&mut state[CONV])),
            output: Rows::new(backend.view_mut(arrays.u), rows, d_inner)?,
        };
        backend.causal_conv1d(conv, workspace)?;

        let x_proj = Linear::<B, f32, f32> {
            input: Rows::new(backend.view(arrays.u), rows, d_inner)?,
            weight: &self.x_proj,
            bias: None,
            epilogue: Epilogue::Store,
            output: Rows::new(backend.view_mut(arrays.projected), rows, config.projected())?,
        };
        backend.linear(x_proj, workspace)?;

        let [dt, b, c] = [0..dt_rank, dt_rank..dt_rank + d_state, dt_rank + d_state..config.projected()];
        let shape = (rows, config.projected());
        if let Some(eps) = config.mixer_norm_eps {
            for part in [&dt, &b, &c] {
                let output = backend.view_mut(arrays.projected_normed);
                let norm = RmsNorm::<B, f32, f32> {
                    input: columns(backend, arrays.projected, shape, part)?,
                    residual: None,
                    weight: None,
                    eps,
                    output: Rows::new(output, rows, config.projected())?.columns(part.clone())?,
                };
                backend.rms_norm(norm, workspace)?;
            }
        }
        let projected = match config.mixer_norm_eps {
            Some(_) => &*arrays.projected_normed,
            None => &*arrays.projected,
        };

        let dt_proj = Linear::<B, f32, f32> {
            input: columns(backend, projected, shape, &dt)?,
            weight: &self.dt_proj,
            bias: None, // bias and softplus are fused into the scan: the same operations in one pass fewer
            epilogue: Epilogue::Store,
            output: Rows::new(backend.view_mut(arrays.delta), rows, d_inner)?,
        };
        backend.linear(dt_proj, workspace)?;

        let scan = SelectiveScan::<B, f32> {
            u: Rows::new(backend.view(arrays.u), rows, d_inner)?,
            delta: Rows::new(backend.view(arrays.delta), rows, d_inner)?,
            a: backend.view(&self.a),
            b: columns(backend, projected, shape, &b)?,
            c: columns(backend, projected, shape, &c)?,
            n_groups: 1,
            d: Some(backend.view(&self.d)),
            z: Some(Rows::new(backend.view(arrays.z), rows, d_inner)?),
            delta_bias: Some(backend.view(&self.dt_bias)),
            delta_softplus: true,
            batch,
            state: Some(backend.view_mut(&mut state[SSM])),
            output: Rows::new(backend.view_mut(arrays.x), rows, d_inner)?,
        };
        backend.selective_scan(scan, workspace)?;

        let out_proj = Linear::<B, f32, f32> {
            input: Rows::new(backend.view(arrays.x), rows, d_inner)?,
            weight: &self.out_proj,
            bias: self.out_proj_bias.as_ref().map(|bias| backend.view(bias)),
            epilogue: Epilogue::Residual,
            output: Rows::new(backend.view_mut(residual), rows, d_model)?,
        };
        Ok(backend.linear(out_proj, workspace)?)
    }
}

/// The columns `range` of an array `[rows, cols]`.
fn columns<'a, B: Backend>(
    backend: &B,
    array: &'a B::Buffer<f32>,
    (rows, cols): (usize, usize),
    range: &Range<usize>,
) -> Result<Rows<B::View<'a, f32>>, ModelError> {
    Ok(Rows::new(backend.view(array), rows, cols)?.columns(range.clone())?)
}
