//! Where weights come from: [`Source`], and the safetensors files of a checkpoint.

pub(super) mod header;
pub(super) mod index;
pub(super) mod mapped;
mod names;
pub(super) mod safetensors;
mod source;

pub use mapped::FileAccess;
pub use source::Source;
