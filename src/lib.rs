//! Compute kernels of Mamba, the selective state space model, behind one [`Backend`] trait.
//!
//! The subject is the Mamba block. `in_proj` widens the input twice over, once for the expansion
//! (`d_inner = expand * d_model`) and once more because one matrix product feeds two branches, `[x | z]`: `x` goes through
//! a causal conv1d, SiLU and the selective scan, and `z` gates the result.
//!
//! - [`ops`]: the contracts, one argument struct per op
//! - [`Backend`]: one method per op; [`Reference`] is the oracle in f64, [`Cpu`] the exact CPU backend
//! - [`Batch`]: ragged batches, so that prefill, decode, packing and continuous batching are one call
//! - `model` (feature `model`, on by default): published checkpoints, state and generation
//!
//! # One result, bit for bit
//! Every op of [`Cpu`] is defined as a fixed sequence of IEEE-754 binary32 operations. Thread count, batch, order of
//! the sequences in it and any split of a sequence into calls give the same bits, states included. See
//! `docs/arithmetic.md`.
//!
//! # Words
//! The same words are used in code, tests, benchmarks and docs.
//!
//! | word | letter in the papers | what it is |
//! |---|---|---|
//! | `tokens` | b · l | all tokens of a call, the sequences one after the other |
//! | `d_model` | | width of the residual stream |
//! | `d_inner`, `channels` | d | width inside the block, `expand * d_model` |
//! | `d_state` | n | states per channel |
//! | `d_conv` | k | taps of the convolution |
//! | `dt_rank` | r | width of the low-rank input of `delta` |
//! | `u` | x | input of the scan |
//! | `delta` | Δ | step size per token and channel, after softplus |
//! | `a`, `b`, `c`, `d` | A, B, C, D | the state space's parameters; `b` and `c` depend on the token |
//! | `h` | h | the SSM state |
//! | `z` | | the gate |

pub mod arrays;
mod backend;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod list;
#[cfg(feature = "model")]
pub mod model;
pub mod ops;
pub mod reference;

pub use arrays::{
    Batch, DType, Element, Error, Memory, Result, Rows, Scalar, Slot, Storage, WeightFormat, WeightMatrix,
};
pub use backend::Backend;
pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use half::{bf16, f16};
pub use list::{Availability, best, list};
pub use reference::Reference;

/// The README's examples, as tests.
#[cfg(all(doctest, feature = "model"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guide to slices, as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/linking/slices.md")]
struct Slices;
