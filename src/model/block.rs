//! [`Block`]: one layer, `residual += mixer(rms_norm(residual))`.
#![forbid(unsafe_code)]

use crate::arrays::{Batch, Rows, WeightFormat};
use crate::backend::Backend;
use crate::model::checkpoint::Source;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::mixer::chosen::Mixer;
use crate::model::mixer::declared::MixerCall;
use crate::model::scratch::Activations;
use crate::ops::RmsNorm;

/// The weights of one layer.
pub(super) struct Block<B: Backend> {
    norm: B::Buffer<f32>, // [d_model]
    mixer: Mixer<B>,
}

impl<B: Backend> Block<B> {
    pub(super) fn load(
        backend: &B,
        config: &Config,
        source: &impl Source,
        layer: usize,
        format: Option<WeightFormat>,
    ) -> Result<Self, ModelError> {
        let prefix = format!("backbone.layers.{layer}");
        let norm = source.vector(backend, &format!("{prefix}.norm.weight"), config.d_model)?;
        let mixer = Mixer::load(backend, config, source, &format!("{prefix}.mixer"), format)?;
        Ok(Self { norm, mixer })
    }

    /// Adds the layer's output to the residual stream of one segment, and updates the layer's state pools.
    pub(super) fn forward(
        &self,
        backend: &B,
        config: &Config,
        batch: &Batch,
        state: &mut [B::Buffer<f32>],
        arrays: &mut Activations<B>,
        workspace: &mut B::Workspace,
    ) -> Result<(), ModelError> {
        let (rows, d_model) = (batch.tokens(), config.d_model);
        let norm = RmsNorm::<B, f32, f32> {
            input: Rows::new(backend.view(&arrays.residual), rows, d_model)?,
            residual: None,
            weight: Some(backend.view(&self.norm)),
            eps: config.norm_eps,
            output: Rows::new(backend.view_mut(&mut arrays.normed), rows, d_model)?,
        };
        backend.rms_norm(norm, workspace)?;
        let call = MixerCall {
            batch,
            input: &arrays.normed,
            residual: &mut arrays.residual,
            state,
            scratch: &mut arrays.mixer,
        };
        self.mixer.forward(backend, config, call, workspace)
    }
}
