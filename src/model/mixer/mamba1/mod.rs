//! Mamba-1 and Falcon-Mamba.

pub(super) mod arrays;
pub(super) mod mixer;
mod pytorch;
