//! The mixer of a layer: what stands between its norm and its residual sum.
//!
//! A mixer declares the state pools and the scratch arrays that it needs ([`declared`]) and loads its weights; states,
//! their files and the scratch memory only iterate over what is declared. [`chosen`] names the mixer of a model:
//! Mamba-1 is the only one so far.

pub(super) mod chosen;
pub(super) mod declared;
mod mamba1;
