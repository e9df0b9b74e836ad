//! Saved states: a safetensors file with the pools of each layer.
#![forbid(unsafe_code)]

use super::pools::{LayerState, Sizes, State, read};
use crate::backend::Backend;
use crate::model::checkpoint::mapped;
use crate::model::checkpoint::safetensors::{elements, parse};
use crate::model::config::Config;
use crate::model::error::ModelError;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorView};
use std::collections::HashMap;
use std::io;
use std::path::Path;

const FORMAT: &str = "mamba-kernels state";
const VERSION: &str = "1";

impl<B: Backend> State<B> {
    /// Writes the state to a safetensors file: `conv.i`, `[slots, d_conv - 1, d_inner]`, and `ssm.i`,
    /// `[slots, d_state, d_inner]`, for each layer i.
    ///
    /// The file appears whole or not at all.
    ///
    /// # Errors
    /// [`ModelError::Io`] where the file cannot be written.
    pub fn save(&self, backend: &B, path: &Path) -> Result<(), ModelError> {
        let Sizes { slots, d_inner, d_state, d_conv } = self.sizes;
        let mut tensors = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for (name, rows, buffer) in [("conv", d_conv - 1, &layer.conv), ("ssm", d_state, &layer.ssm)] {
                let values = read(backend, buffer)?;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((format!("{name}.{i}"), vec![slots, rows, d_inner], bytes));
            }
        }
        let io_error = |source| ModelError::Io { file: path.into(), source };
        let write_error = |error| match error {
            SafeTensorError::IoError(source) => io_error(source),
            other => io_error(io::Error::other(other)),
        };
        let views = tensors.iter().map(|(name, shape, bytes)| {
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name.as_str(), view))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(write_error)?;
        let metadata = [("format", FORMAT), ("version", VERSION)];
        let metadata = metadata.map(|(key, value)| (key.to_string(), value.to_string()));
        let path = std::path::absolute(path).map_err(io_error)?;
        safetensors::serialize_to_file(views, Some(metadata.into()), &path).map_err(write_error)
    }

    /// Reads a state that [`State::save`] wrote, for models of this configuration. No one may change the file
    /// meanwhile.
    ///
    /// # Errors
    /// [`ModelError::StateFile`] where the file is something else, [`ModelError::MissingTensor`] and
    /// [`ModelError::Shape`] where it is of a model with other sizes, and the errors of a damaged file.
    pub fn load(backend: &B, config: &Config, path: &Path) -> Result<Self, ModelError> {
        config.validate()?;
        let file = path.display().to_string();
        let map = mapped::map(path)?;
        let tensors = parse(&file, &map)?;
        expect_metadata(&file, &map)?;
        let tensor = |name: String, rows: usize, slots: Option<usize>| {
            let view = tensors
                .tensor(&name)
                .map_err(|_| ModelError::MissingTensor { name: name.clone(), files: file.clone() })?;
            let found = view.shape().to_vec();
            let slots = slots.unwrap_or(found.first().copied().unwrap_or(0));
            let expected = vec![slots, rows, config.d_inner];
            if found != expected {
                return Err(ModelError::Shape { name, file: file.clone(), expected, found });
            }
            if view.dtype() != Dtype::F32 {
                let found = view.dtype().to_string();
                return Err(ModelError::TensorType { name, file: file.clone(), expected: "F32", found });
            }
            Ok((backend.upload(&elements::<f32>(view.data())?)?, slots))
        };
        let mut slots = None;
        let mut layers = Vec::new();
        for i in 0..config.n_layer {
            let (conv, found) = tensor(format!("conv.{i}"), config.d_conv - 1, slots)?;
            let (ssm, _) = tensor(format!("ssm.{i}"), config.d_state, Some(found))?;
            slots = Some(found);
            layers.push(LayerState { conv, ssm });
        }
        if let Some(name) = tensors.names().into_iter().find(|name| layer_of(name) >= Some(config.n_layer)) {
            let (expected, found) = (format!("{} layers", config.n_layer), format!("a tensor `{name}`"));
            return Err(ModelError::StateFile { file, expected, found });
        }
        Ok(Self { sizes: Sizes::new(config, slots.unwrap_or(0)), layers })
    }
}

/// The layer that a tensor of a saved state belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.rsplit_once('.')?.1.parse().ok()
}

fn expect_metadata(file: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| ModelError::Format {
        file: file.into(),
        bytes: bytes.len(),
        source: error.into(),
    })?;
    let none = HashMap::new();
    let metadata = header.metadata().as_ref().unwrap_or(&none);
    for (key, value) in [("format", FORMAT), ("version", VERSION)] {
        let found = metadata.get(key);
        if found.map(String::as_str) != Some(value) {
            let expected = format!("`{key}` = {value:?} in its metadata");
            let found = found.map_or("no such key".into(), |found| format!("{found:?}"));
            return Err(ModelError::StateFile { file: file.into(), expected, found });
        }
    }
    Ok(())
}
