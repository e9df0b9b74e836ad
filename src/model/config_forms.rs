//! The two published forms of `config.json`, with the defaults of the libraries that write them.
#![forbid(unsafe_code)]

use super::config::config_error;
use super::{Config, ModelError};
use serde::Deserialize;
use serde_json::Value;

/// A number, or `"auto"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rank {
    Size(usize),
    Word(String),
}

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
    eos_token_id: Option<Value>,
}

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

fn yes() -> bool {
    true
}

fn two() -> usize {
    2
}

fn four() -> usize {
    4
}

fn eight() -> usize {
    8
}

fn sixteen() -> usize {
    16
}

fn norm_eps() -> f32 {
    1e-5
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
            eos_token_id: self.eos_token_id.as_ref().and_then(first_token),
        })
    }
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
            eos_token_id: None,
        })
    }
}

impl Rank {
    fn resolve(self, key: &'static str, d_model: usize) -> Result<usize, ModelError> {
        match self {
            Rank::Size(size) => Ok(size),
            Rank::Word(word) if word == "auto" => Ok(d_model.div_ceil(16)),
            Rank::Word(word) => Err(config_error(key, "a number or \"auto\"", format!("{word:?}"))),
        }
    }
}

/// A token id, or the first of a list of them.
fn first_token(value: &Value) -> Option<u32> {
    match value {
        Value::Array(values) => values.first().and_then(first_token),
        value => value.as_u64().and_then(|token| u32::try_from(token).ok()),
    }
}

fn expanded(key: &'static str, expand: usize, d_model: usize) -> Result<usize, ModelError> {
    expand.checked_mul(d_model).ok_or_else(|| config_error(key, "a width that fits in memory", expand))
}
