//! The mixer of a model, and what it declares.
#![forbid(unsafe_code)]

pub(in crate::model) use super::mamba1::arrays::{scratch_arrays, state_pools};
pub(in crate::model) use super::mamba1::mixer::Mamba1 as Mixer;
