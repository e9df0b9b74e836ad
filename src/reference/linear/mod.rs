//! `linear` and `in_proj` in f64, a file per pass.

pub(super) mod forward;
