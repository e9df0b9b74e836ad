//! The contracts of the ops: an argument struct each, with the formula, the shapes and one `validate()`. No kernels.
//!
//! Activations are row-major `[tokens, channels]` with a row stride. All sequences of a call are packed one after
//! the other; see [`Batch`](crate::Batch). The order of the arithmetic is part of a contract: `docs/arithmetic.md`.
#![forbid(unsafe_code)]

mod causal_conv1d;
mod checks;
mod embedding;
pub mod layout;
mod linear;
mod rms_norm;
mod selective_scan;

pub use causal_conv1d::{Activation, CausalConv1d, CausalConv1dShape};
pub use embedding::{Embedding, EmbeddingShape};
pub use linear::{Epilogue, InProj, InProjShape, Linear, LinearShape};
pub use rms_norm::{RmsNorm, RmsNormShape};
pub use selective_scan::{ScanOrder, SelectiveScan, SelectiveScanShape};
