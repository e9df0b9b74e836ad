//! `embedding`.

pub(super) mod forward;
