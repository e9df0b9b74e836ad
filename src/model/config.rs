//! [`Config`]: the sizes of a model, from either published form of `config.json`.
#![forbid(unsafe_code)]

use super::ModelError;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a checkpoint's `config.json` says, in this crate's words.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Rows of the embedding and of the logits, padding included.
    pub vocab_size: usize,
    /// Width inside the block.
    pub d_inner: usize,
    /// States per channel.
    pub d_state: usize,
    /// Taps of the convolution.
    pub d_conv: usize,
    /// Width of the low-rank input of `delta`.
    pub dt_rank: usize,
    /// Whether `in_proj` and `out_proj` have a bias.
    pub use_bias: bool,
    /// Whether the convolution has a bias.
    pub use_conv_bias: bool,
    /// Epsilon of the norms before each block and before the head.
    pub norm_eps: f32,
    /// Epsilon of the norms of dt, B and C, which have no weights. `None` but for Falcon-Mamba.
    pub mixer_norm_eps: Option<f32>,
    /// Whether the head is the embedding's matrix. A stored `lm_head.weight` is then left aside.
    pub tie_embeddings: bool,
    /// The token that ends a text, the first where there are several. `None` where the file does not say.
    pub eos_token_id: Option<u32>,
}

/// A number, or `"auto"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Rank {
    Size(usize),
    Word(String),
}

/// The form that transformers writes. Missing keys have its defaults.
#[derive(Deserialize)]
struct HuggingFace {
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
struct StateSpaces {
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

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// A `model_type` makes it the form that transformers writes, and any `d_model` or `ssm_cfg` beside it is left
    /// aside; without one it is the form of the original checkpoints. Unknown keys are left aside.
    ///
    /// # Errors
    /// [`ModelError::Json`] where a key is missing or of another type, [`ModelError::UnknownArchitecture`], and
    /// [`ModelError::Config`] where this crate does not compute what a key asks for.
    pub fn from_json(json: &str) -> Result<Self, ModelError> {
        Self::parse(json, "config.json")
    }

    /// [`Config::from_json`], with the name of the file for errors.
    pub(super) fn parse(json: &str, file: &str) -> Result<Self, ModelError> {
        let json_error =
            |source: serde_json::Error| ModelError::Json { file: file.into(), source: source.into() };
        let object: Map<String, Value> = serde_json::from_str(json).map_err(json_error)?;
        let config = match object.get("model_type") {
            Some(Value::String(kind)) if kind == "mamba" || kind == "falcon_mamba" => {
                let falcon = kind == "falcon_mamba";
                serde_json::from_value::<HuggingFace>(Value::Object(object))
                    .map_err(json_error)?
                    .into_config(falcon)?
            }
            Some(other) => {
                return Err(ModelError::UnknownArchitecture { found: format!("`model_type` is {other}") });
            }
            None if object.contains_key("d_model") => {
                serde_json::from_value::<StateSpaces>(Value::Object(object))
                    .map_err(json_error)?
                    .into_config()?
            }
            None => {
                let found = "neither `model_type` nor `d_model` is in the configuration".into();
                return Err(ModelError::UnknownArchitecture { found });
            }
        };
        config.validate()?;
        Ok(config)
    }

    /// Columns of `x_proj`'s output: dt, B and C side by side.
    pub(super) fn projected(&self) -> usize {
        self.dt_rank + 2 * self.d_state
    }

    /// Sizes are not zero, and the products that the model forms of them fit in memory.
    fn validate(&self) -> Result<(), ModelError> {
        let sizes = [
            ("hidden_size or d_model", self.d_model),
            ("num_hidden_layers or n_layer", self.n_layer),
            ("vocab_size", self.vocab_size),
            ("intermediate_size or expand", self.d_inner),
            ("state_size or d_state", self.d_state),
            ("conv_kernel or d_conv", self.d_conv),
            ("time_step_rank or dt_rank", self.dt_rank),
        ];
        for (key, size) in sizes {
            if size == 0 || u32::try_from(size).is_err() {
                return Err(config_error(key, "a size of at least 1 and below 2^32", size));
            }
        }
        let projected = self.d_state.checked_mul(2).and_then(|states| states.checked_add(self.dt_rank));
        let products = [
            ("time_step_rank or dt_rank", projected, self.d_inner),
            ("hidden_size or d_model", self.d_inner.checked_mul(2), self.d_model),
            ("vocab_size", Some(self.vocab_size), self.d_model),
            ("conv_kernel or d_conv", Some(self.d_conv), self.d_inner),
            ("state_size or d_state", Some(self.d_state), self.d_inner),
        ];
        for (key, rows, cols) in products {
            let bytes = rows.and_then(|rows| rows.checked_mul(cols)).and_then(|size| size.checked_mul(4));
            if bytes.is_none() {
                return Err(config_error(key, "a matrix that fits in memory", format!("{rows:?} x {cols}")));
            }
        }
        let mixer_eps = self.mixer_norm_eps.unwrap_or(0.0);
        for (key, eps) in [("layer_norm_epsilon", self.norm_eps), ("mixer_rms_eps", mixer_eps)] {
            if !(eps >= 0.0 && eps.is_finite()) {
                return Err(config_error(key, "a finite number of at least 0", eps));
            }
        }
        Ok(())
    }
}

impl HuggingFace {
    fn into_config(self, falcon: bool) -> Result<Config, ModelError> {
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
    fn into_config(self) -> Result<Config, ModelError> {
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

fn config_error(key: &'static str, expected: &str, found: impl ToString) -> ModelError {
    ModelError::Config { key, expected: expected.into(), found: found.to_string() }
}
