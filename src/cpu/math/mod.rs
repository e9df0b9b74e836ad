//! Elementary functions: over vectors for the kernels, and over slices.

mod elementary;
pub(in crate::cpu) mod elementwise;
#[cfg(test)]
mod watched;

pub(in crate::cpu) use elementary::{LOG2_E, exp2, exp2_inside, silu, softplus};

/// What a sum of products starts from instead of 0, and what is subtracted from it at the end: 2^-100. Then neither
/// a partial sum of tiny products nor the result is subnormal, on which some CPUs take a hundred times as long.
pub(in crate::cpu) const FIRST: f32 = f32::from_bits((127 - 100) << 23);
