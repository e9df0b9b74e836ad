//! Files of a checkpoint: regular files only, read up to a limit.
#![forbid(unsafe_code)]

use crate::model::error::ModelError;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The most bytes that are read of `config.json`, `generation_config.json` and an index of shards: 16 MiB.
pub(super) const JSON_LIMIT: u64 = 16 << 20;

/// Reads a regular file of at most `limit` bytes. `None` if there is no file of this name.
///
/// This is how [`Mamba::load`](crate::model::Mamba::load) reads JSON, for programs that read a tokenizer next to it.
/// At most `limit + 1` bytes are read, whatever the file system says of the length.
///
/// # Errors
/// [`ModelError::DanglingLink`] if it is a symbolic link to nothing, [`ModelError::TooLarge`], and
/// [`ModelError::Io`] if it is not a regular file (a folder, a pipe, a device) or cannot be read.
///
/// ```
/// use mamba_kernels::model::{ModelError, read_file};
///
/// # fn main() -> Result<(), ModelError> {
/// let dir = std::path::Path::new("tests/data/hf_tied_n16_k4");
/// assert!(read_file(&dir.join("tokenizer.json"), 1 << 20)?.is_none());
/// let error = read_file(&dir.join("config.json"), 100).unwrap_err();
/// assert!(matches!(error, ModelError::TooLarge { limit: 100, .. }));
/// # Ok(())
/// # }
/// ```
pub fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ModelError> {
    let Some(file) = open_if_exists(path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|source| failed(path, source))?;
    match bytes.len() as u64 > limit {
        true => Err(ModelError::TooLarge { file: path.into(), limit }),
        false => Ok(Some(bytes)),
    }
}

/// The text of a JSON file. `None` if there is no file of this name.
pub(super) fn read_json(path: &Path) -> Result<Option<String>, ModelError> {
    let Some(bytes) = read_file(path, JSON_LIMIT)? else { return Ok(None) };
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|error| failed(path, io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))
}

/// Opens a regular file that must exist.
pub(super) fn open(path: &Path) -> Result<File, ModelError> {
    open_if_exists(path)?.ok_or_else(|| absent(path))
}

/// Opens a regular file. `None` if there is no file of this name.
pub(super) fn open_if_exists(path: &Path) -> Result<Option<File>, ModelError> {
    let io_error = |source| failed(path, source);
    if !exists(path)? {
        return Ok(None);
    }
    // Checked before opening: opening a pipe blocks until its other end opens. And after: it may be another by then.
    let expect_regular = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io_error(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))),
    };
    expect_regular(fs::metadata(path).map_err(io_error)?)?;
    let file = File::open(path).map_err(io_error)?;
    expect_regular(file.metadata().map_err(io_error)?)?;
    Ok(Some(file))
}

/// Whether there is a file of this name, of any kind. A symbolic link to nothing is an error, not an absent file.
pub(super) fn exists(path: &Path) -> Result<bool, ModelError> {
    let absent = |source: &io::Error| source.kind() == io::ErrorKind::NotFound;
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(source) if !absent(&source) => Err(failed(path, source)),
        Err(source) => match fs::read_link(path) {
            Ok(target) => Err(ModelError::DanglingLink { file: path.into(), target }),
            Err(_) if absent(&source) => Ok(false),
            Err(source) => Err(failed(path, source)),
        },
    }
}

/// The error of a file that must exist.
pub(super) fn absent(path: &Path) -> ModelError {
    failed(path, io::Error::new(io::ErrorKind::NotFound, "no such file"))
}

fn failed(path: &Path, source: io::Error) -> ModelError {
    ModelError::Io { file: path.into(), source }
}
