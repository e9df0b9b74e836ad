//! `selective_scan`.

pub(super) mod forward;
