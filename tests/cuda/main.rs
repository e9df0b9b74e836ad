//! What the CUDA backend promises beyond the suite of all backends: steps that are replayed, faster forms within their
//! bounds, memory of another device refused, and errors if no driver exists.
#![cfg(feature = "cuda")]

mod errors;
mod many_states;
#[path = "../shared/skip.rs"]
mod skip;
#[cfg(feature = "model")]
mod steps;
mod support;
mod workspace;
