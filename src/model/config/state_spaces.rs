//! The `config.json` of the original checkpoints, with the defaults of `mamba_ssm`.
#![forbid(unsafe_code)]

use super::fields::{Rank, TokenIds, eos_token_ids, expanded, norm_eps, yes};
use super::sizes::{Config, config_error};
use crate::model::error::ModelError;
use serde::Deserialize;

/// The form of the original checkpoints. Missing keys have the defaults of `mamba_ssm`.
#[derive(Deserialize)]
pub(super) struct StateSpaces {
    d_model: usize,
    n_layer: usize,
    vocab_size: usize,
    #[serde(default)]
    ssm_cfg: SsmCfg,
    #[serde(default = "yes")]
    rms_norm: bool,
    #[serde(default = "eight")]
    pad_vocab_size_multiple: usize,
    #[serde(default = "yes")]
    tie_embeddings: bool,
    #[serde(default)]
    attn_layer_idx: Vec<usize>,
    #[serde(default)]
    d_intermediate: usize,
    #[serde(default)]
    eos_token_id: TokenIds,
}

#[derive(Deserialize)]
#[serde(default)]
struct SsmCfg {
    layer: String,
    d_state: usize,
    d_conv: usize,
    expand: usize,
    dt_rank: Rank,
    bias: bool,
    conv_bias: bool,
}

impl Default for SsmCfg {
    fn default() -> Self {
        let dt_rank = Rank::Word("auto".into());
        let layer = "Mamba1".into();
        Self { layer, d_state: 16, d_conv: 4, expand: 2, dt_rank, bias: false, conv_bias: true }
    }
}

fn eight() -> usize {
    8
}

impl StateSpaces {
    pub(super) fn into_config(self) -> Result<Config, ModelError> {
        let ssm = self.ssm_cfg;
        if ssm.layer != "Mamba1" {
            let found = format!("`ssm_cfg.layer` is {:?}", ssm.layer);
            return Err(ModelError::UnknownArchitecture { found });
        }
        if !self.attn_layer_idx.is_empty() {
            let found = format!("`attn_layer_idx` is {:?}: it has attention layers", self.attn_layer_idx);
            return Err(ModelError::UnknownArchitecture { found });
        }
        if self.d_intermediate != 0 {
            let found = format!("`d_intermediate` is {}: it has MLP layers", self.d_intermediate);
            return Err(ModelError::UnknownArchitecture { found });
        }
        if !self.rms_norm {
            return Err(config_error("rms_norm", "true", false));
        }
        let multiple = self.pad_vocab_size_multiple;
        let vocab_size = (multiple > 0).then(|| self.vocab_size.checked_next_multiple_of(multiple)).flatten();
        Ok(Config {
            d_model: self.d_model,
            n_layer: self.n_layer,
            vocab_size: vocab_size.ok_or_else(|| {
                config_error("pad_vocab_size_multiple", "at least 1, and a vocabulary that fits", multiple)
            })?,
            d_inner: expanded("ssm_cfg.expand", ssm.expand, self.d_model)?,
            d_state: ssm.d_state,
            d_conv: ssm.d_conv,
            dt_rank: ssm.dt_rank.resolve("ssm_cfg.dt_rank", self.d_model)?,
            use_bias: ssm.bias,
            use_conv_bias: ssm.conv_bias,
            norm_eps: norm_eps(),
            mixer_norm_eps: None,
            tie_embeddings: self.tie_embeddings,
            eos_token_ids: eos_token_ids(self.eos_token_id)?,
        })
    }
}
