//! The ops on the tensors of candle, and its Mamba model on this crate's kernels (feature `candle`).
//!
//! Each op is a custom op of candle. It reads a tensor's storage where it is: activations are `[tokens, channels]`, or
//! `[batch, tokens, channels]` for sequences of equal length, in f32, f16 or bf16, and may be column slices
//! (`narrow`) of a wider tensor. A layout whose rows are not contiguous is an error; nothing is copied behind the
//! caller's back. Vectors and states are f32 and contiguous. States and residuals are updated in place.
//!
//! [`Mamba`] takes the place of `candle_transformers::models::mamba::Model`, and reads whole prompts at once too.
//!
//! Each op takes a [`TensorBackend`]: a [`Cpu`](crate::Cpu), or with the feature `candle-cuda` a `Cuda` of this module,
//! which works on candle's own stream and has not run on a GPU yet. Tensors elsewhere are refused with
//! [`Error::Unavailable`](crate::Error::Unavailable).
//!
//! Not here yet: Metal, and backward kernels. A tensor that records operations for one is refused with candle's
//! `BackwardNotSupported`; pass `tensor.detach()`.
#![deny(unsafe_code)]

mod arrays;
mod call;
mod causal_conv1d;
#[cfg(feature = "candle-cuda")]
#[allow(unsafe_code)] // views of the memory of tensors on a device
mod cuda;
mod device;
mod linear;
mod mamba;
mod rms_norm;
mod selective_scan;
mod var_builder;

pub use causal_conv1d::{CausalConv1d, causal_conv1d};
#[cfg(feature = "candle-cuda")]
pub use cuda::Cuda;
pub use device::TensorBackend;
pub use linear::PackedLinear;
pub use mamba::{Config, Mamba, State};
pub use rms_norm::{RmsNorm, rms_norm};
pub use selective_scan::{SelectiveScan, selective_scan};

impl From<crate::Error> for candle_core::Error {
    fn from(error: crate::Error) -> Self {
        match error {
            crate::Error::Unavailable { .. } => Self::Cuda(Box::new(error)).bt(),
            error => Self::wrap(error),
        }
    }
}

impl From<crate::model::ModelError> for candle_core::Error {
    fn from(error: crate::model::ModelError) -> Self {
        Self::wrap(error)
    }
}
