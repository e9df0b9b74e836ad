//! `rms_norm`.

pub(super) mod forward;
