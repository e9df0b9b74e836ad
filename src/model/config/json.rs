//! [`Config::from_json`]: which of the published forms a `config.json` has.
#![forbid(unsafe_code)]

use super::hugging_face::HuggingFace;
use super::sizes::Config;
use super::state_spaces::StateSpaces;
use crate::model::error::ModelError;
use crate::model::json;
use serde_json::Value;

impl Config {
    /// Reads the text of a `config.json`.
    ///
    /// With a `model_type` it is read as the form that transformers writes, and `d_model` and `ssm_cfg` are ignored;
    /// without one as the form of the original checkpoints. Unknown keys are ignored, and a key that is `null` is as if
    /// absent. The bare `Infinity`, `-Infinity` and `NaN` that Python writes are read, and refused only in keys that
    /// this crate uses.
    ///
    /// # Errors
    /// [`ModelError::Json`] if a key is missing or of another type, [`ModelError::UnknownArchitecture`], and
    /// [`ModelError::Config`] if this crate does not support the value of a key.
    pub fn from_json(json: &str) -> Result<Self, ModelError> {
        Self::parse(json, "config.json")
    }

    /// [`Config::from_json`], with the name of the file for errors.
    pub(in crate::model) fn parse(text: &str, file: &str) -> Result<Self, ModelError> {
        let object = json::object(text, file)?;
        let config = match object.get("model_type") {
            Some(Value::String(kind)) if kind == "mamba" || kind == "falcon_mamba" => {
                let falcon = kind == "falcon_mamba";
                json::typed::<HuggingFace>(object, file)?.into_config(falcon)?
            }
            Some(other) => {
                return Err(ModelError::UnknownArchitecture { found: format!("`model_type` is {other}") });
            }
            None if object.contains_key("d_model") => {
                json::typed::<StateSpaces>(object, file)?.into_config()?
            }
            None => {
                let found = "neither `model_type` nor `d_model` is in the configuration".into();
                return Err(ModelError::UnknownArchitecture { found });
            }
        };
        config.validate()?;
        Ok(config)
    }
}
