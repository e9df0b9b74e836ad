//! The ops of `mamba-kernels` on burn's tensors, for burn's CPU backend flex.
//!
//! A tensor of burn says at run time which backend it is on. Each op takes tensors apart into flex's own form, as burn
//! provides for backend extensions, reads their storage where it is, and wraps its output up again. Activations are
//! `[tokens, channels]`, or `[batch, tokens, channels]` for sequences of equal length, in f32, f16 or bf16, and may
//! be column slices of a wider tensor. Vectors and states are f32 and contiguous.
//!
//! A tensor on another backend, or one under autodiff, is an error: there are no backward kernels. `tensor.inner()`
//! takes a tensor out of autodiff.
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
