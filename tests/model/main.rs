//! The model wrapper against golden data, against itself over splits and batches, and against damaged files.
#![cfg(feature = "model")]

mod config;
#[cfg(feature = "demo")]
mod demo;
mod generation_config;
mod golden;
mod limits;
mod names;
mod refused;
mod shards;
#[cfg(feature = "cuda")]
#[path = "../shared/skip.rs"]
mod skip;
mod splits;
mod states;
mod support;
mod tolerance;
