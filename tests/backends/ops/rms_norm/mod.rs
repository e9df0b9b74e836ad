//! `rms_norm`.

mod case;
mod error_analysis;
mod refusals;

pub use case::RmsNorm;
