//! The exact CPU backend: every op as a fixed sequence of f32 operations, over vectors of any width.
//!
//! Thread count, vector width, batch and any split of a sequence give the same bits: `docs/arithmetic.md`.

mod backend;
mod causal_conv1d;
mod embedding;
mod linear;
mod machine;
mod math;
mod rms_norm;
mod selective_scan;
mod simd;

pub use crate::ops::ScanOrder;
pub use linear::PackedWeights;
pub use machine::cpu::{Cpu, CpuBuilder};
pub use machine::isa::{ISA_VARIABLE, Isa, Level};
pub use machine::workspace::Workspace;
pub use math::elementwise::Elementary;
