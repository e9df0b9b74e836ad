//! The contract of `selective_scan`, a file per pass.

mod forward;

pub use forward::{SelectiveScan, SelectiveScanShape};
