//! Text generation: [`Generation`] yields tokens, [`Sampler`] chooses them.

pub(super) mod defaults;
mod generation;
mod sampler;

pub use defaults::GenerationConfig;
pub use generation::{GenerateOptions, Generation};
pub use sampler::{Sampler, Sampling};
