//! What the kernels need of the machine: instruction sets, threads, memory, and how work is divided.

pub(in crate::cpu) mod aligned;
pub(in crate::cpu) mod caches;
pub(in crate::cpu) mod cpu;
pub(in crate::cpu) mod isa;
pub(in crate::cpu) mod row_ptr;
pub(in crate::cpu) mod split;
pub(in crate::cpu) mod threads;
pub(in crate::cpu) mod weight_arena;
pub(in crate::cpu) mod workspace;
