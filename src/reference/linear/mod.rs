//! `linear` and `in_proj` in f64, a file per op and pass.

mod dot;
pub(super) mod forward;
pub(super) mod in_proj;
