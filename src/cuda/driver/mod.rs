//! What runs the kernels: a GPU through its driver, or the executor on the CPU.

pub(super) mod compile;
#[cfg(mamba_executor)]
pub(super) mod executor;
pub(super) mod failure;
pub(super) mod gpu;
pub(super) mod graph;
pub(super) mod interface;
pub(super) mod kernels;
pub(super) mod modules;
mod nvrtc;
mod pool;
pub(super) mod probe;
mod sources;
