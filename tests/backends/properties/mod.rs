//! The properties, each for any backend.

#[cfg(feature = "cuda")]
pub mod cuda_inexact;
pub mod elementary;
pub mod every_op;
pub mod golden;
pub mod inexact;
pub mod sequential;
