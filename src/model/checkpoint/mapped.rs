//! Files mapped into memory: the only unsafe code of the model wrapper.

use crate::model::error::ModelError;
use crate::model::files;
use memmap2::Mmap;
use std::path::Path;

/// Maps a regular file for reading.
pub(in crate::model) fn map(path: &Path) -> Result<Mmap, ModelError> {
    let file = files::open(path)?;
    // SAFETY: the map is read-only, and nothing in this crate writes to a file that it has mapped. It is read as
    // plain bytes, for which every value is valid, and dropped before the function that loads the file returns. That
    // no other process changes the file in the meantime cannot be checked: the docs of `Mamba::load` and
    // `State::load` ask for it.
    let map = unsafe { Mmap::map(&file) };
    map.map_err(|source| ModelError::Io { file: path.into(), source })
}
