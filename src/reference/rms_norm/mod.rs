//! `rms_norm` in f64, a file per pass.

pub(super) mod forward;
