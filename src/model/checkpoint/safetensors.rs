//! [`Checkpoint`]: the tensors of a model's safetensors files, by name.
#![forbid(unsafe_code)]

use super::header::TensorFile;
use super::index::Index;
use super::names::Names;
use super::source::{Source, equal};
use crate::arrays::{Element, Rows, Scalar, WeightFormat};
use crate::backend::Backend;
use crate::model::error::ModelError;
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use std::borrow::Cow;

/// One tensor: where it was found, its type and its bytes. The shape has been checked.
struct Tensor<'a> {
    name: String,
    file: &'a str,
    dtype: Dtype,
    bytes: &'a [u8],
}

/// The parsed weight files of a model.
pub(in crate::model) struct Checkpoint<'a> {
    /// Each file with its path.
    files: Vec<(&'a str, TensorFile<'a>)>,
    /// Which tensor is in which file. Without it there is one file.
    index: Option<&'a Index>,
    names: Names,
}

/// Where a tensor is, by its name in the checkpoint.
enum Place {
    /// In the file of this position.
    File(usize),
    /// Not in this file, though the index says so.
    NotIn(usize),
    Nowhere,
}

impl<'a> Checkpoint<'a> {
    pub(in crate::model) fn new(
        files: impl Iterator<Item = (&'a str, &'a [u8])>,
        index: Option<&'a Index>,
    ) -> Result<Self, ModelError> {
        let files = files.map(|(name, bytes)| Ok((name, TensorFile::parse(name, bytes)?)));
        let files = files.collect::<Result<Vec<_>, ModelError>>()?;
        let names = match index {
            Some(index) => Names::of(index.weight_map.keys().map(String::as_str), &index.file),
            None => {
                let names: Vec<String> = files.iter().flat_map(|(_, file)| file.names()).collect();
                Names::of(names.iter().map(String::as_str), files.first().map_or("", |(name, _)| name))
            }
        }?;
        Ok(Self { files, index, names })
    }

    fn place(&self, name: &str) -> Place {
        let named = match self.index {
            Some(index) => index.weight_map.get(name).copied(),
            None => (!self.files.is_empty()).then_some(0),
        };
        match named {
            Some(file) if self.files[file].1.tensor(name).is_some() => Place::File(file),
            Some(file) if self.index.is_some() => Place::NotIn(file),
            _ => Place::Nowhere,
        }
    }

    /// The tensor of this shape under the first of these published names that exists.
    fn tensor(&self, names: &[&str], shape: &[usize]) -> Result<Tensor<'_>, ModelError> {
        let names: Vec<Cow<'_, str>> = names.iter().map(|name| self.names.stored(name)).collect();
        for name in &names {
            let Place::File(file) = self.place(name) else { continue };
            let (file, tensors) = &self.files[file];
            let Some((info, bytes)) = tensors.tensor(name) else { continue };
            if info.shape != shape {
                let (expected, found) = (shape.to_vec(), info.shape.clone());
                let (name, file) = (name.to_string(), (*file).into());
                return Err(ModelError::Shape { name, file, expected, found });
            }
            return Ok(Tensor { name: name.to_string(), file, dtype: info.dtype, bytes });
        }
        for name in &names {
            if let (Place::NotIn(file), Some(index)) = (self.place(name), self.index) {
                let (name, file) = (name.to_string(), self.files[file].0.into());
                return Err(ModelError::NotInShard { name, file, index: index.file.clone() });
            }
        }
        let files = match self.index {
            Some(index) => index.file.clone(),
            None => self.files.first().map_or("", |(file, _)| file).into(),
        };
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

    fn contains(&self, name: &str) -> bool {
        matches!(self.place(&self.names.stored(name)), Place::File(_))
    }

    fn same_values(&self, names: [&str; 2], shape: &[usize]) -> Result<bool, ModelError> {
        let [a, b] = [self.tensor(&names[..1], shape)?, self.tensor(&names[1..], shape)?];
        if a.dtype == b.dtype {
            return Ok(a.bytes == b.bytes);
        }
        Ok(equal(&self.widened(names[0], shape)?, &self.widened(names[1], shape)?))
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
            name: self.name.clone(),
            file: self.file.into(),
            expected: "F32, F16 or BF16",
            found: self.dtype.to_string(),
        }
    }
}

/// The elements of little-endian bytes: borrowed if they are aligned and the host is little-endian, else a copy:
/// tensors in a file need not be aligned.
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
