//! The contract of `selective_scan`, a file per pass.

mod forward;
mod order;

pub use forward::{SelectiveScan, SelectiveScanShape};
pub use order::ScanOrder;
