//! The bytes of a weight file, mapped or read: the only unsafe code of the model wrapper.

use crate::arrays::Error;
use crate::model::error::ModelError;
use crate::model::files;
use memmap2::Mmap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::Path;

/// How weight files get into memory while a model is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAccess {
    /// Mapped: pages are read as they are packed, and no copy is made. If another process shortens a file meanwhile, the
    /// system ends this one (SIGBUS on Unix); if it writes to it, the weights are a mixture of old and new.
    #[default]
    Map,
    /// Read: all weight files are in memory at once, next to the packed weights. Whatever happens to a file
    /// afterwards, the model is as it was read.
    Read,
}

/// The bytes of a file.
pub(in crate::model) enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Read(bytes) => bytes,
        }
    }
}

/// The bytes of a regular file.
pub(in crate::model) fn open(path: &Path, access: FileAccess) -> Result<Bytes, ModelError> {
    let file = files::open(path)?;
    match access {
        FileAccess::Map => map(path, &file),
        FileAccess::Read => read(path, file),
    }
}

fn map(path: &Path, file: &File) -> Result<Bytes, ModelError> {
    // SAFETY: the map is read-only, and nothing in this crate writes to a file that it has mapped. It is read as
    // plain bytes, for which every value is valid, and dropped before the function that loads the file returns. That
    // no other process changes the file in the meantime cannot be checked: the docs of `FileAccess::Map` and
    // `State::load` ask for it.
    let map = unsafe { Mmap::map(file) };
    map.map(Bytes::Mapped).map_err(|source| ModelError::Io { file: path.into(), source })
}

/// Reads as many bytes as the file has at the start, so one that grows is not read without end.
fn read(path: &Path, file: File) -> Result<Bytes, ModelError> {
    let failed = |source: io::Error| ModelError::Io { file: path.into(), source };
    let length = file.metadata().map_err(failed)?.len();
    let elements = usize::try_from(length).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(elements);
    reserved.map_err(|_| Error::OutOfMemory { op: "load", elements, dtype: "bytes" })?;
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Bytes::Read(bytes))
}
