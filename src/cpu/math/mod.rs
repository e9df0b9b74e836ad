//! Elementary functions: over vectors for the kernels, and over slices.

mod elementary;
pub(in crate::cpu) mod elementwise;

pub(in crate::cpu) use elementary::{LOG2_E, exp2, silu, softplus};
