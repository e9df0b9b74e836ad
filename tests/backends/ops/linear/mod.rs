//! `linear` and `in_proj`.

mod case;
pub mod error_analysis;
mod in_proj;
mod refusals;

pub use case::Linear;
pub use in_proj::InProj;
