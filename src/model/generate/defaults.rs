//! [`GenerationConfig`]: what a checkpoint's `generation_config.json` says.
#![forbid(unsafe_code)]

use super::sampler::{Sampler, Sampling};
use crate::model::config::fields::{TOKEN_IDS, TokenIds};
use crate::model::error::ModelError;
use crate::model::json;

/// What a checkpoint's `generation_config.json` says. Without the file, nothing.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The tokens that end a text. If there are any, those of `config.json` do not count.
    pub eos_token_ids: Vec<u32>,
    /// Whether tokens are drawn. `Some(false)` is temperature 0.
    pub do_sample: Option<bool>,
    /// As [`Sampling::temperature`].
    pub temperature: Option<f64>,
    /// As [`Sampling::top_k`].
    pub top_k: Option<usize>,
    /// As [`Sampling::top_p`].
    pub top_p: Option<f64>,
    /// As [`Sampling::repetition_penalty`].
    pub repetition_penalty: Option<f64>,
}

/// The keys that are read.
#[derive(serde::Deserialize)]
struct Keys {
    #[serde(default)]
    eos_token_id: TokenIds,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<usize>,
    top_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

impl GenerationConfig {
    /// Reads the text of a `generation_config.json`. Other keys than the fields of this struct and `eos_token_id` are
    /// ignored, and a key that is `null` is as if absent.
    ///
    /// # Errors
    /// [`ModelError::Json`] if a key is of another type, [`ModelError::Generation`] if a value is outside its range.
    pub fn from_json(json: &str) -> Result<Self, ModelError> {
        Self::parse(json, "generation_config.json")
    }

    /// [`GenerationConfig::from_json`], with the name of the file for errors.
    pub(in crate::model) fn parse(text: &str, file: &str) -> Result<Self, ModelError> {
        let Keys { eos_token_id, do_sample, temperature, top_k, top_p, repetition_penalty } =
            json::typed(json::object(text, file)?, file)?;
        let out_of_range = |key: &str, expected: String, found: String| ModelError::Generation {
            file: file.into(),
            key: key.into(),
            expected,
            found,
        };
        let eos_token_ids = eos_token_id.resolve();
        let eos_token_ids =
            eos_token_ids.map_err(|found| out_of_range("eos_token_id", TOKEN_IDS.into(), found))?;
        let config = Self { eos_token_ids, do_sample, temperature, top_k, top_p, repetition_penalty };
        let values = Self { do_sample: None, ..config.clone() }.sampling(Sampling::default());
        match Sampler::new(values) {
            Ok(_) => Ok(config),
            Err(ModelError::Argument { argument, expected, found, .. }) => {
                Err(out_of_range(argument, expected, found))
            }
            Err(other) => Err(other),
        }
    }

    /// These defaults where the file has them, else the values of `otherwise`. The seed is that of `otherwise`.
    pub fn sampling(&self, otherwise: Sampling) -> Sampling {
        let temperature = match self.do_sample {
            Some(false) => Some(0.0),
            _ => self.temperature,
        };
        Sampling {
            temperature: temperature.unwrap_or(otherwise.temperature),
            top_k: self.top_k.unwrap_or(otherwise.top_k),
            top_p: self.top_p.unwrap_or(otherwise.top_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(otherwise.repetition_penalty),
            seed: otherwise.seed,
        }
    }
}
