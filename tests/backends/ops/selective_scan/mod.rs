//! `selective_scan`.

mod case;
pub mod error_analysis;
mod refusals;

pub use case::SelectiveScan;
#[cfg(feature = "cuda")]
pub use case::long;
