//! Where weights come from: [`Source`], and the safetensors files of a checkpoint.

pub(super) mod mapped;
pub(super) mod safetensors;
mod source;

pub use source::Source;
