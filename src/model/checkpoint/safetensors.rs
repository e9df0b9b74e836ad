//! [`Checkpoint`]: the tensors of one safetensors file, or of shards with an index, by name.
#![forbid(unsafe_code)]

use super::mapped;
use super::source::Source;
use crate::arrays::{Element, Rows, Scalar, WeightFormat};
use crate::backend::Backend;
use crate::model::error::ModelError;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Component, Path};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The weight files of a directory, each with its path: the single file, else the shards that the index names.
pub(in crate::model) fn map_files(dir: &Path) -> Result<Vec<(String, Mmap)>, ModelError> {
    let single = dir.join(SINGLE);
    if single.exists() {
        return Ok(vec![(single.display().to_string(), mapped::map(&single)?)]);
    }
    let index = dir.join(INDEX);
    if !index.exists() {
        return Err(ModelError::NoWeights { dir: dir.into() });
    }
    let mut files = Vec::new();
    for shard in shards(&index)? {
        let path = dir.join(&shard);
        let map = mapped::map(&path).map_err(|error| match error {
            ModelError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ModelError::MissingShard { index: index.clone(), shard }
            }
            other => other,
        })?;
        files.push((path.display().to_string(), map));
    }
    Ok(files)
}

/// The names of the shards in an index. Each must be a plain file name, so an index cannot name files outside its directory.
fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: HashMap<String, String>,
    }
    let text = read_text(index)?;
    let parsed: Index = serde_json::from_str(&text)
        .map_err(|source| ModelError::Json { file: index.display().to_string(), source: source.into() })?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    for shard in &shards {
        let mut parts = Path::new(shard).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == shard.as_str());
        if !plain {
            return Err(ModelError::ShardOutside { index: index.into(), shard: shard.clone() });
        }
    }
    Ok(shards)
}

/// A text file, with its path in the error.
pub(in crate::model) fn read_text(path: &Path) -> Result<String, ModelError> {
    std::fs::read_to_string(path).map_err(|source| ModelError::Io { file: path.into(), source })
}

/// Parses a safetensors file and checks it: the header's length, and that the tensors' offsets lie one after the
/// other, fit their shapes and cover the file.
pub(in crate::model) fn parse<'a>(file: &str, bytes: &'a [u8]) -> Result<SafeTensors<'a>, ModelError> {
    SafeTensors::deserialize(bytes).map_err(|error| match error {
        SafeTensorError::MetadataIncompleteBuffer => match expected_length(bytes) {
            Some(expected) => ModelError::FileLength { file: file.into(), expected, found: bytes.len() },
            None => ModelError::Format { file: file.into(), bytes: bytes.len(), source: error.into() },
        },
        error => ModelError::Format { file: file.into(), bytes: bytes.len(), source: error.into() },
    })
}

/// The length of a file by its header.
fn expected_length(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let metadata: Metadata = serde_json::from_slice(rest.get(..length)?).ok()?;
    length.checked_add(8)?.checked_add(metadata.data_len())
}

/// One tensor: where it was found, its type and its bytes. The shape has been checked.
struct Tensor<'a> {
    name: &'a str,
    file: &'a str,
    dtype: Dtype,
    bytes: &'a [u8],
}

/// The parsed weight files of a model.
pub(in crate::model) struct Checkpoint<'a> {
    files: Vec<(&'a str, SafeTensors<'a>)>,
}

impl<'a> Checkpoint<'a> {
    pub(in crate::model) fn new(
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, ModelError> {
        let files = files.map(|(name, bytes)| Ok((name, parse(name, bytes)?)));
        Ok(Self { files: files.collect::<Result<_, ModelError>>()? })
    }

    fn tensor<'t>(&'t self, names: &[&'t str], shape: &[usize]) -> Result<Tensor<'t>, ModelError> {
        for &name in names {
            for (file, tensors) in &self.files {
                let Ok(view) = tensors.tensor(name) else { continue };
                if view.shape() != shape {
                    let (expected, found) = (shape.to_vec(), view.shape().to_vec());
                    let (name, file) = (name.into(), (*file).into());
                    return Err(ModelError::Shape { name, file, expected, found });
                }
                return Ok(Tensor { name, file, dtype: view.dtype(), bytes: view.data() });
            }
        }
        let files: Vec<&str> = self.files.iter().map(|(file, _)| *file).collect();
        let files = if files.is_empty() { "no file at all".into() } else { files.join(", ") };
        Err(ModelError::MissingTensor { name: names.join("` or `"), files })
    }
}

impl Source for Checkpoint<'_> {
    fn matrix<B: Backend>(
        &self,
        backend: &B,
        names: &[&str],
        shape: [usize; 2],
        format: Option<WeightFormat>,
    ) -> Result<B::Weights, ModelError> {
        let tensor = self.tensor(names, &shape)?;
        match tensor.dtype {
            Dtype::F32 => pack::<B, f32>(backend, tensor.bytes, shape, format),
            Dtype::F16 => pack::<B, f16>(backend, tensor.bytes, shape, format),
            Dtype::BF16 => pack::<B, bf16>(backend, tensor.bytes, shape, format),
            _ => Err(tensor.unsupported()),
        }
    }

    fn widened(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensor(&[name], shape)?;
        match tensor.dtype {
            Dtype::F32 => Ok(elements::<f32>(tensor.bytes)?.into_owned()),
            Dtype::F16 => widen::<f16>(tensor.bytes),
            Dtype::BF16 => widen::<bf16>(tensor.bytes),
            _ => Err(tensor.unsupported()),
        }
    }
}

fn pack<B: Backend, W: Element>(
    backend: &B,
    bytes: &[u8],
    [rows, cols]: [usize; 2],
    format: Option<WeightFormat>,
) -> Result<B::Weights, ModelError> {
    let elements = elements::<W>(bytes)?;
    let weight = Rows::new(&elements[..], rows, cols)?;
    Ok(match format {
        Some(format) => backend.pack_as(weight, format)?,
        None => backend.pack(weight)?,
    })
}

impl Tensor<'_> {
    fn unsupported(&self) -> ModelError {
        ModelError::TensorType {
            name: self.name.into(),
            file: self.file.into(),
            expected: "F32, F16 or BF16",
            found: self.dtype.to_string(),
        }
    }
}

/// The elements of little-endian bytes: borrowed if they are aligned and the host is little-endian, else a copy: tensors in a
/// file need not be aligned.
pub(in crate::model) fn elements<T: Scalar>(bytes: &[u8]) -> Result<Cow<'_, [T]>, ModelError> {
    let big_endian = cfg!(target_endian = "big");
    match bytemuck::try_cast_slice(bytes) {
        Ok(elements) if !big_endian => Ok(Cow::Borrowed(elements)),
        _ => {
            let mut copy = crate::arrays::host::zeros::<T>("load", bytes.len() / size_of::<T>())?;
            let target: &mut [u8] = bytemuck::cast_slice_mut(&mut copy);
            for (target, source) in target.iter_mut().zip(bytes) {
                *target = *source;
            }
            if big_endian {
                target.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
            }
            Ok(Cow::Owned(copy))
        }
    }
}

fn widen<T: Element>(bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    Ok(elements::<T>(bytes)?.iter().map(|value| value.to_f32()).collect())
}
