//! `linear` and `in_proj`: the matrix product.

pub(super) mod forward;
pub(super) mod in_proj;
mod product;
