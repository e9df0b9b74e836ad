//! The mixer of a layer: what stands between its norm and its residual sum.
//!
//! A mixer declares the state pools and the scratch arrays that it needs ([`declared`]) and loads its weights; states,
//! their files and the scratch memory only iterate over what is declared. Mamba-1 is the one mixer so far.

pub(super) mod declared;
mod mamba1;

pub(super) use mamba1::{Mamba1 as Mixer, scratch_arrays, state_pools};
