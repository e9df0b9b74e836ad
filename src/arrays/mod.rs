//! Arrays as every layer sees them: storage types, rows, batches, and the error of every call.

mod batch;
mod element;
mod error;
pub(crate) mod host;
mod rows;

pub use batch::{Batch, Slot};
pub use element::{DType, Element, Scalar};
pub use error::{Error, Result};
pub(crate) use error::{checked_product, expect_size};
#[cfg(feature = "cuda")]
pub(crate) use rows::not_within;
pub use rows::{Rows, Storage};
