//! The `config.json` that transformers writes, with its defaults.
#![forbid(unsafe_code)]

use super::fields::{Rank, TokenIds, eos_token_ids, expanded, norm_eps, yes};
use super::sizes::{Config, config_error};
use crate::model::error::ModelError;
use serde::Deserialize;

/// The form that transformers writes. Missing keys have its defaults.
#[derive(Deserialize)]
pub(super) struct HuggingFace {
    hidden_size: usize,
    num_hidden_layers: usize,
    vocab_size: usize,
    intermediate_size: Option<usize>,
    #[serde(default = "two")]
    expand: usize,
    #[serde(default = "sixteen")]
    state_size: usize,
    #[serde(default = "four")]
    conv_kernel: usize,
    time_step_rank: Option<Rank>,
    #[serde(default)]
    use_bias: bool,
    #[serde(default = "yes")]
    use_conv_bias: bool,
    #[serde(default = "norm_eps")]
    layer_norm_epsilon: f32,
    mixer_rms_eps: Option<f32>,
    hidden_act: Option<String>,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
    #[serde(default)]
    eos_token_id: TokenIds,
}

fn two() -> usize {
    2
}

fn four() -> usize {
    4
}

fn sixteen() -> usize {
    16
}

impl HuggingFace {
    pub(super) fn into_config(self, falcon: bool) -> Result<Config, ModelError> {
        if let Some(other) = self.hidden_act.filter(|name| name != "silu" && name != "swish") {
            return Err(config_error("hidden_act", "\"silu\"", format!("{other:?}")));
        }
        let d_inner = match self.intermediate_size {
            Some(size) => size,
            None => expanded("expand", self.expand, self.hidden_size)?,
        };
        let auto = Rank::Word("auto".into());
        Ok(Config {
            d_model: self.hidden_size,
            n_layer: self.num_hidden_layers,
            vocab_size: self.vocab_size,
            d_inner,
            d_state: self.state_size,
            d_conv: self.conv_kernel,
            dt_rank: self.time_step_rank.unwrap_or(auto).resolve("time_step_rank", self.hidden_size)?,
            use_bias: self.use_bias,
            use_conv_bias: self.use_conv_bias,
            norm_eps: self.layer_norm_epsilon,
            mixer_norm_eps: falcon.then(|| self.mixer_rms_eps.unwrap_or(1e-6)),
            tie_embeddings: self.tie_word_embeddings,
            eos_token_ids: eos_token_ids(self.eos_token_id)?,
        })
    }
}
