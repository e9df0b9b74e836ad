//! `causal_conv1d`.

pub(super) mod forward;
