//! The contracts of the matrix products, `linear` and `in_proj`.

mod forward;
mod in_proj;

pub use forward::{Epilogue, Linear, LinearShape};
pub use in_proj::{InProj, InProjShape};
