//! `embedding` on the CPU, a file per pass.

pub(super) mod forward;
