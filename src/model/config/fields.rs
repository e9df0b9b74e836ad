//! Fields and defaults that both forms of `config.json` have.
#![forbid(unsafe_code)]

use super::sizes::config_error;
use crate::model::error::ModelError;
use serde::Deserialize;

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
