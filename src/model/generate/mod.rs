//! Text generation: [`Generation`] yields tokens, [`Sampler`] chooses them.

mod generation;
mod sampler;

pub use generation::{GenerateOptions, Generation};
pub use sampler::{Sampler, Sampling};
