//! `embedding`, whose results are copies: there is no error to analyse.

mod case;
mod refusals;

pub use case::Embedding;
