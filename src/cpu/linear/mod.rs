//! The matrix product behind `linear` and `in_proj`.

mod driver;
mod epilogue;
mod formats;
pub(in crate::cpu) mod forward;
mod inputs;
mod microkernel;
mod packing;
mod tile;

pub use packing::PackedWeights;
