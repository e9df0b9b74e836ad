//! [`TensorFile`]: one safetensors file, whose header is read with limits.
#![forbid(unsafe_code)]

use crate::model::error::ModelError;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo};
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// The most bytes of a header: 16 MiB.
const BYTES: usize = 16 << 20;
/// The most tensors of a file.
const TENSORS: usize = 1 << 16;
/// The most dimensions of a tensor.
const DIMENSIONS: usize = 16;
/// The most entries of a header's metadata.
const METADATA: usize = 1 << 16;

/// A safetensors file: its header, checked, and the bytes of its tensors.
pub(in crate::model) struct TensorFile<'a> {
    header: Metadata,
    data: &'a [u8],
}

impl<'a> TensorFile<'a> {
    /// Parses a file and checks it: the header's length and limits, and that the tensors' offsets lie one after the
    /// other, fit their shapes and cover the file.
    ///
    /// The header is read value by value, so what a file makes the process allocate is bounded by the limits.
    pub(in crate::model) fn parse(file: &str, bytes: &'a [u8]) -> Result<Self, ModelError> {
        let format = |error: SafeTensorError| {
            let (file, bytes) = (file.into(), bytes.len());
            ModelError::Format { file, bytes, source: error.into() }
        };
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(format(SafeTensorError::HeaderTooSmall));
        };
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((text, data)) = rest.split_at_checked(length) else {
            return Err(format(SafeTensorError::InvalidHeaderLength));
        };
        if length > BYTES {
            return Err(limit(file, "bytes", BYTES));
        }
        let text =
            std::str::from_utf8(text).map_err(|error| format(SafeTensorError::InvalidHeader(error)))?;
        let exceeded = Cell::new(None);
        let mut json = serde_json::Deserializer::from_str(text);
        let parsed = Header { exceeded: &exceeded }.deserialize(&mut json);
        let parsed = parsed.and_then(|header| json.end().map(|()| header));
        let (metadata, mut tensors) = parsed.map_err(|error| match exceeded.get() {
            Some((what, most)) => limit(file, what, most),
            None => format(SafeTensorError::InvalidHeaderDeserialization(error)),
        })?;
        let mut names = HashSet::new();
        if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name.as_str())) {
            let source = format!("the header has the tensor `{name}` twice").into();
            return Err(ModelError::Format { file: file.into(), bytes: bytes.len(), source });
        }
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let header = Metadata::new(metadata, tensors).map_err(format)?;
        if header.data_len() != data.len() {
            let expected = header.data_len().saturating_add(8 + length);
            return Err(ModelError::FileLength { file: file.into(), expected, found: bytes.len() });
        }
        Ok(Self { header, data })
    }

    /// The description and the bytes of a tensor.
    pub(in crate::model) fn tensor(&self, name: &str) -> Option<(&TensorInfo, &'a [u8])> {
        let info = self.header.info(name)?;
        Some((info, self.data.get(info.data_offsets.0..info.data_offsets.1)?))
    }

    /// The names of the tensors, in the order of their bytes.
    pub(in crate::model) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A value of the file's metadata.
    pub(in crate::model) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }
}

fn limit(file: &str, what: &'static str, limit: usize) -> ModelError {
    ModelError::HeaderLimit { file: file.into(), what, limit }
}

/// What a limit is of, and the limit.
type Exceeded = Cell<Option<(&'static str, usize)>>;

/// Fails, and remembers which limit, if `count` is above it.
fn expect<E: Error>(exceeded: &Exceeded, count: usize, what: &'static str, most: usize) -> Result<(), E> {
    if count <= most {
        return Ok(());
    }
    exceeded.set(Some((what, most)));
    Err(E::custom("a limit"))
}

type Entries = (Option<HashMap<String, String>>, Vec<(String, TensorInfo)>);

/// Reads a whole header.
struct Header<'e> {
    exceeded: &'e Exceeded,
}

impl<'de> DeserializeSeed<'de> for Header<'_> {
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Header<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let (mut metadata, mut tensors) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                metadata = map.next_value_seed(FileMetadata { exceeded: self.exceeded })?;
                continue;
            }
            expect(self.exceeded, tensors.len() + 1, "tensors", TENSORS)?;
            tensors.push((name, map.next_value_seed(Info { exceeded: self.exceeded })?));
        }
        Ok((metadata, tensors))
    }
}

/// Reads the metadata: an object of strings, or `null`.
struct FileMetadata<'e> {
    exceeded: &'e Exceeded,
}

impl<'de> DeserializeSeed<'de> for FileMetadata<'_> {
    type Value = Option<HashMap<String, String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FileMetadata<'_> {
    type Value = Option<HashMap<String, String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = HashMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
            expect(self.exceeded, entries.len(), "entries of metadata", METADATA)?;
        }
        Ok(Some(entries))
    }
}

/// Reads the description of a tensor. Other keys than its three are ignored.
struct Info<'e> {
    exceeded: &'e Exceeded,
}

impl<'de> DeserializeSeed<'de> for Info<'_> {
    type Value = TensorInfo;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TensorInfo, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Info<'_> {
    type Value = TensorInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `dtype`, `shape` and `data_offsets`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TensorInfo, A::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Key {
            Dtype,
            Shape,
            DataOffsets,
            #[serde(other)]
            Other,
        }
        let (mut dtype, mut shape, mut data_offsets) = (None::<Dtype>, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Dtype => dtype = Some(map.next_value()?),
                Key::Shape => shape = Some(map.next_value_seed(Shape { exceeded: self.exceeded })?),
                Key::DataOffsets => data_offsets = Some(map.next_value()?),
                Key::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        let missing = A::Error::missing_field;
        Ok(TensorInfo {
            dtype: dtype.ok_or_else(|| missing("dtype"))?,
            shape: shape.ok_or_else(|| missing("shape"))?,
            data_offsets: data_offsets.ok_or_else(|| missing("data_offsets"))?,
        })
    }
}

/// Reads a shape.
struct Shape<'e> {
    exceeded: &'e Exceeded,
}

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<usize>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of sizes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<usize>, A::Error> {
        let mut shape = Vec::new();
        while let Some(size) = seq.next_element()? {
            shape.push(size);
            expect(self.exceeded, shape.len(), "dimensions of a tensor", DIMENSIONS)?;
        }
        Ok(shape)
    }
}
