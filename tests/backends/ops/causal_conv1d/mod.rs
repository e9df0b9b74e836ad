//! `causal_conv1d`.

mod case;
mod error_analysis;
mod refusals;
mod streaming_stores;

pub use case::CausalConv1d;
