//! What the kernels need of the machine: instruction sets, threads, memory.

pub(crate) mod aligned;
pub(crate) mod isa;
pub(crate) mod threads;
pub(crate) mod weight_arena;
