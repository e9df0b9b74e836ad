//! The reference: every op as plain loops in f64, with the storage types at the edges only.
//!
//! This is the specification, one screen per op. No optimisation enters it. Sums have no fixed order here; the exact
//! backends are compared with it within error bounds, and with each other bit for bit.
#![forbid(unsafe_code)]

mod backend;
mod causal_conv1d;
mod embedding;
mod linear;
pub mod math;
mod memory;
mod rms_norm;
mod selective_scan;

pub use memory::{Reference, Weights};
