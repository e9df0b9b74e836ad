//! [`Config`]: the sizes and options of a model, and their check.
#![forbid(unsafe_code)]

use crate::model::error::ModelError;

/// What a checkpoint's `config.json` says, in this crate's words.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Width of the residual stream.
    pub d_model: usize,
    /// Number of layers.
    pub n_layer: usize,
    /// Rows of the embedding and of the logits, padding included.
    pub vocab_size: usize,
    /// Width inside the mixer.
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
    /// Epsilon of the norms before each mixer and before the head.
    pub norm_eps: f32,
    /// Epsilon of the norms of dt, B and C, which have no weights. `None` except in Falcon-Mamba.
    pub mixer_norm_eps: Option<f32>,
    /// Whether the file says that the head is the embedding's matrix. A stored head that differs is used all the same:
    /// see [`Note::OwnHead`](crate::model::Note::OwnHead).
    pub tie_embeddings: bool,
    /// The tokens that end a text, by this file; none if it names none.
    /// [`Mamba::eos_token_ids`](crate::model::Mamba::eos_token_ids) are those to use.
    pub eos_token_ids: Vec<u32>,
}

impl Config {
    /// Columns of `x_proj`'s output: dt, B and C next to each other.
    pub(in crate::model) fn projected(&self) -> usize {
        self.dt_rank + 2 * self.d_state
    }

    /// Checks that no size is zero and that every matrix of these sizes fits in memory.
    pub(in crate::model) fn validate(&self) -> Result<(), ModelError> {
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

pub(super) fn config_error(key: &'static str, expected: &str, found: impl ToString) -> ModelError {
    ModelError::Config { key, expected: expected.into(), found: found.to_string() }
}
