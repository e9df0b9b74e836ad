//! The ops of `mamba-kernels` on burn's tensors, for burn's CPU backend flex.
//!
//! A burn tensor carries its backend at run time. Each op converts its tensors to flex's own type, as burn provides for
//! backend extensions, reads their storage without a copy, and converts its output back. Activations are
//! `[tokens, channels]`, or `[batch, tokens, channels]` for sequences of equal length, in f32, f16 or bf16, and may
//! be column slices of a wider tensor. Vectors and states are f32 and contiguous.
//!
//! A tensor on another backend or under autodiff is an error: no op has a backward pass yet. `tensor.inner()` takes a
//! tensor out of autodiff.
//!
//! The guide is `docs/linking/burn.md` of mamba-kernels.

mod arrays;
mod linear;
mod ops;

pub use linear::PackedLinear;
pub use mamba_kernels::{Batch, Cpu, Error, Result, ops::Activation};
pub use ops::{CausalConv1d, RmsNorm, SelectiveScan, causal_conv1d, rms_norm, selective_scan};

#[cfg(doctest)]
#[doc = include_str!("../../../docs/linking/burn.md")]
struct Guide;
