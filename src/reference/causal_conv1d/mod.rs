//! `causal_conv1d` in f64, a file per pass.

pub(super) mod forward;
