//! The model wrapper against golden data, against itself over splits and batches, and against damaged files.
#![cfg(feature = "model")]

mod config;
mod golden;
mod refused;
mod splits;
mod states;
mod support;
mod tolerance;
