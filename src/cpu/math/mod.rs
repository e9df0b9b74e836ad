//! Elementary functions: over vectors for the kernels, and over slices.

mod elementary;
pub(in crate::cpu) mod elementwise;
#[cfg(test)]
mod watched;

pub(in crate::cpu) use elementary::{LOG2_E, exp2, exp2_inside, silu, softplus};
