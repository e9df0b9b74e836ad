//! The ops of `mamba-kernels` on candle's tensors, and a Mamba model in the place of candle's own.
//!
//! Each op reads the storage of its tensors without a copy. Activations are `[tokens, channels]`, or
//! `[batch, tokens, channels]` for sequences of equal length, in f32, f16 or bf16, and may be column slices (`narrow`) of
//! a wider tensor. A layout whose rows are not contiguous is an error: no op copies behind the caller's back. Vectors and
//! states are f32 and contiguous. States and residuals are updated in place.
//!
//! [`Mamba`] takes the place of `candle_transformers::models::mamba::Model`, and also reads whole prompts at once.
//!
//! Each op takes a [`TensorBackend`]: a [`Cpu`](mamba_kernels::Cpu), or with the feature `cuda` this crate's `Cuda`,
//! which works on candle's own stream and has not run on a GPU yet. A tensor on another device is refused with
//! [`Error::Unavailable`](mamba_kernels::Error::Unavailable).
//!
//! Not yet supported: Metal, and backward passes. A tensor that records operations for one is refused with candle's
//! `BackwardNotSupported`; pass `tensor.detach()`.
//!
//! The guide is `docs/linking/candle.md` of mamba-kernels.
#![deny(unsafe_code)]

mod backend;
mod causal_conv1d;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod custom_op;
mod element;
mod error;
mod layout;
mod linear;
mod locks;
mod mamba;
mod rms_norm;
mod selective_scan;
mod storage;
mod var_builder;

pub use backend::TensorBackend;
pub use causal_conv1d::{CausalConv1d, causal_conv1d};
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use error::candle_error;
pub use linear::PackedLinear;
pub use mamba::{Config, Mamba, State};
pub use rms_norm::{RmsNorm, rms_norm};
pub use selective_scan::{SelectiveScan, selective_scan};

/// The guide, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/linking/candle.md")]
struct Guide;
