//! Fields and defaults that both forms of `config.json` have.
#![forbid(unsafe_code)]

use super::sizes::config_error;
use crate::model::error::ModelError;
use serde::Deserialize;
use serde_json::Value;

/// A number, or `"auto"`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Rank {
    Size(usize),
    Word(String),
}

impl Rank {
    pub(super) fn resolve(self, key: &'static str, d_model: usize) -> Result<usize, ModelError> {
        match self {
            Rank::Size(size) => Ok(size),
            Rank::Word(word) if word == "auto" => Ok(d_model.div_ceil(16)),
            Rank::Word(word) => Err(config_error(key, "a number or \"auto\"", format!("{word:?}"))),
        }
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn norm_eps() -> f32 {
    1e-5
}

pub(super) fn expanded(key: &'static str, expand: usize, d_model: usize) -> Result<usize, ModelError> {
    expand.checked_mul(d_model).ok_or_else(|| config_error(key, "a width that fits in memory", expand))
}

/// Token ids: one, or a list of them. A negative one stands for none, as transformers has it.
#[derive(Deserialize, Default)]
#[serde(untagged)]
pub(in crate::model) enum TokenIds {
    #[default]
    None,
    List(Vec<Value>),
    One(Value),
}

impl TokenIds {
    /// The ids; the first that is none, as an error.
    pub(in crate::model) fn resolve(self) -> Result<Vec<u32>, String> {
        let values = match self {
            TokenIds::None => return Ok(Vec::new()),
            TokenIds::List(values) => values,
            TokenIds::One(value) => vec![value],
        };
        let none = |value: &Value| value.as_i64().is_some_and(|id| id < 0);
        let id =
            |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or(value.to_string());
        values.iter().filter(|value| !none(value)).map(id).collect()
    }
}

/// What [`TokenIds`] are, for errors.
pub(in crate::model) const TOKEN_IDS: &str = "a token id below 2^32 or a list of them";

/// The tokens that end a text.
pub(super) fn eos_token_ids(ids: TokenIds) -> Result<Vec<u32>, ModelError> {
    ids.resolve().map_err(|found| config_error("eos_token_id", TOKEN_IDS, found))
}
