//! The contract of `embedding`, a file per pass.

mod forward;

pub use forward::{Embedding, EmbeddingShape};
