//! `causal_conv1d` on the CPU, a file per pass, and the kernel.

pub(in crate::cpu) mod forward;
mod kernel;
