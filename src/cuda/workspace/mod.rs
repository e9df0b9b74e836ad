//! Scratch memory, tables of spans, and recorded steps.

pub(super) mod scratch;
pub(super) mod spans;
