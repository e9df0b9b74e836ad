//! The contract of `rms_norm`, a file per pass.

mod forward;

pub use forward::{RmsNorm, RmsNormShape};
