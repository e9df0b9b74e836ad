//! A folder per op: its cases, the error analysis of its arithmetic, and the arguments that it must refuse.

pub mod causal_conv1d;
mod embedding;
pub mod linear;
mod rms_norm;
pub mod selective_scan;

pub use causal_conv1d::CausalConv1d;
pub use embedding::Embedding;
pub use linear::{InProj, Linear};
pub use rms_norm::RmsNorm;
pub use selective_scan::SelectiveScan;
