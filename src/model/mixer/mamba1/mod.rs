//! Mamba-1 and Falcon-Mamba.

mod arrays;
mod mixer;
mod pytorch;

pub(in crate::model) use arrays::{scratch_arrays, state_pools};
pub(in crate::model) use mixer::Mamba1;
