//! `embedding` on the CPU, a file per pass.

pub(in crate::cpu) mod forward;
