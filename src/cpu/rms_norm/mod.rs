//! `rms_norm` on the CPU, a file per pass.

pub(super) mod forward;
