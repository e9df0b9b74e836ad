//! Arrays as every layer sees them: storage types, rows, batches, weight formats, and the error of every call.

mod batch;
mod element;
mod error;
mod float_mode;
mod format;
pub(crate) mod host;
pub(crate) mod huge_pages;
mod memory;
mod rows;

pub use batch::{Batch, Slot};
pub use element::{DType, Element, Scalar};
pub(crate) use element::{flush, packed};
pub use error::{Error, Result};
pub(crate) use error::{checked_product, expect_size};
pub(crate) use float_mode::FloatMode;
pub use format::WeightFormat;
pub use memory::{Memory, WeightMatrix};
#[cfg(feature = "cuda")]
pub(crate) use rows::not_within;
pub use rows::{Rows, Storage};
