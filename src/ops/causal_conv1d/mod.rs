//! The contract of `causal_conv1d`, a file per pass.

mod forward;

pub use forward::{Activation, CausalConv1d, CausalConv1dShape};
