//! Saved states: a safetensors file with the pools of each layer.
#![forbid(unsafe_code)]

use super::pools::{State, read};
use crate::backend::Backend;
use crate::model::checkpoint::header::TensorFile;
use crate::model::checkpoint::mapped::{self, FileAccess};
use crate::model::checkpoint::safetensors::elements;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::mixer::chosen::state_pools;
use crate::model::mixer::declared::StatePool;
use safetensors::tensor::{Dtype, SafeTensorError, TensorView};
use std::io;
use std::path::Path;

const FORMAT: &str = "mamba-kernels state";
const VERSION: &str = "1";

impl<B: Backend> State<B> {
    /// Writes the state to a safetensors file: for each layer `i` and each pool of its mixer the tensor `POOL.i`,
    /// `[slots, rows, channels]`. For Mamba-1 those are `conv.i` with `d_conv - 1` rows and `ssm.i` with `d_state`.
    ///
    /// The file is written whole or not at all.
    ///
    /// # Errors
    /// [`ModelError::Io`] if the file cannot be written.
    pub fn save(&self, backend: &B, path: &Path) -> Result<(), ModelError> {
        let mut tensors = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for (pool, buffer) in self.pools.iter().zip(layer) {
                let values = read(backend, buffer)?;
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                tensors.push((
                    format!("{}.{i}", pool.name),
                    vec![self.slots, pool.rows, pool.channels],
                    bytes,
                ));
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

    /// Reads a state that [`State::save`] wrote, for models of this configuration. The file must not
    /// be changed during the call.
    ///
    /// # Errors
    /// [`ModelError::StateFile`] if the file is something else, [`ModelError::MissingTensor`] and
    /// [`ModelError::Shape`] if it is of a model with other sizes, and the errors of a damaged file.
    pub fn load(backend: &B, config: &Config, path: &Path) -> Result<Self, ModelError> {
        config.validate()?;
        let file = path.display().to_string();
        let map = mapped::open(path, FileAccess::Map)?;
        let tensors = TensorFile::parse(&file, &map)?;
        expect_metadata(&file, &tensors)?;
        let tensor = |name: String, pool: &StatePool, slots: Option<usize>| {
            let Some((info, bytes)) = tensors.tensor(&name) else {
                return Err(ModelError::MissingTensor { name, files: file.clone() });
            };
            let found = info.shape.clone();
            let slots = slots.unwrap_or(found.first().copied().unwrap_or(0));
            let expected = vec![slots, pool.rows, pool.channels];
            if found != expected {
                return Err(ModelError::Shape { name, file: file.clone(), expected, found });
            }
            if info.dtype != Dtype::F32 {
                let found = info.dtype.to_string();
                return Err(ModelError::TensorType { name, file: file.clone(), expected: "F32", found });
            }
            Ok((backend.upload(&elements::<f32>(bytes)?)?, slots))
        };
        let pools = state_pools(config);
        let mut slots = None;
        let mut layers = Vec::new();
        for i in 0..config.n_layer {
            let mut layer = Vec::new();
            for pool in &pools {
                let (buffer, found) = tensor(format!("{}.{i}", pool.name), pool, slots)?;
                slots = Some(found);
                layer.push(buffer);
            }
            layers.push(layer);
        }
        if let Some(name) = tensors.names().iter().find(|name| layer_of(name) >= Some(config.n_layer)) {
            let (expected, found) = (format!("{} layers", config.n_layer), format!("a tensor `{name}`"));
            return Err(ModelError::StateFile { file, expected, found });
        }
        Ok(Self { slots: slots.unwrap_or(0), pools: pools.to_vec(), layers })
    }
}

/// The layer that a tensor of a saved state belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.rsplit_once('.')?.1.parse().ok()
}

fn expect_metadata(file: &str, tensors: &TensorFile<'_>) -> Result<(), ModelError> {
    for (key, value) in [("format", FORMAT), ("version", VERSION)] {
        let found = tensors.metadata(key);
        if found != Some(value) {
            let expected = format!("`{key}` = {value:?} in its metadata");
            let found = found.map_or("no such key".into(), |found| format!("{found:?}"));
            return Err(ModelError::StateFile { file: file.into(), expected, found });
        }
    }
    Ok(())
}
