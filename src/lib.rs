//! The compute kernels of Mamba (selective state space models): fast on CPUs, and the same bits on every instruction set,
//! thread count and batch.
//!
//! ```
//! use mamba_kernels::ops::RmsNorm;
//! use mamba_kernels::{Backend, Cpu, Rows};
//!
//! # fn main() -> mamba_kernels::Result<()> {
//! let cpu = Cpu::new(); // the fastest instruction set of this CPU; keep it: it owns the threads
//! let (x, mut y) = ([3.0f32, 4.0], [0.0f32; 2]);
//! let args = RmsNorm::<Cpu, f32, f32> {
//!     input: Rows::new(&x[..], 1, 2)?, // borrowed: one row of two columns
//!     residual: None,
//!     weight: None,
//!     eps: 0.0,
//!     output: Rows::new(&mut y[..], 1, 2)?,
//! };
//! cpu.rms_norm(args, &mut Default::default())?;
//! assert!((y[0] - 3.0 / 12.5f32.sqrt()).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! - **Same bits.** Every op of [`Cpu`] is a fixed sequence of IEEE-754 single-precision operations. Instruction set, number
//!   of threads, other sequences in the batch, and how a sequence is cut into calls change no bit of a result or a state.
//!   The sequences are in [`docs/arithmetic.md`]. Faster, inexact modes exist; each is chosen by name.
//! - **Speed.** On the machine of the [benchmarks], a model of mamba-130m's shape in f32 processes a prompt 3.39 times as fast
//!   as llama.cpp and generates 1.21 times as fast.
//! - **No framework.** Ops borrow slices of the caller's own memory, and never copy or allocate arrays. The crates in
//!   [`bindings/`] bring them to candle, burn and C.
//!
//! # What is where
//! - [`ops`]: the contract of each op: its argument struct, formula, shapes and order of arithmetic.
//! - [`Backend`]: one method per op. [`Cpu`] is the fast one, `Cuda` runs on NVIDIA's GPUs (it has not run on one yet), and
//!   [`Reference`], plain loops in f64, is what both are tested against.
//! - [`Rows`] and [`Batch`]: row-major views with a row stride, and lists of sequences of any lengths. Prefill, decode,
//!   packed sequences and continuous batching are the same call.
//! - `model`: loads published checkpoints, holds states, generates text.
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `model` (default) | the module `model` |
//! | `demo` | a trained model of one million parameters, embedded |
//! | `cuda` | [`Cuda`](https://docs.rs/mamba-kernels/latest/mamba_kernels/struct.Cuda.html); builds without NVIDIA's toolkit |
//! | `cuda-linked` | the same, linked with NVIDIA's libraries instead of loading them at run time |
//! | `cli` | the command `mamba` |
//!
//! # Names
//! Code, tests, benchmarks and docs use the same names. [`docs/glossary.md`] has those of the implementation.
//!
//! | name | in the papers | what it is |
//! |---|---|---|
//! | `tokens` | b · l | all tokens of a call, the sequences one after the other |
//! | `d_model` | | width of the residual stream |
//! | `d_inner`, `channels` | d | width inside the block, `expand * d_model` |
//! | `d_state` | n | states per channel |
//! | `d_conv` | k | taps of the convolution |
//! | `dt_rank` | r | width of the low-rank input of `delta` |
//! | `u` | x | input of the scan |
//! | `delta` | Δ | step size per token and channel, after softplus |
//! | `a`, `b`, `c`, `d` | A, B, C, D | the parameters of the state space; `b` and `c` depend on the token |
//! | `h` | h | the state of the scan |
//! | `x`, `z` | x, z | the two outputs of `in_proj`: the input of the convolution, and the gate |
//!
//! [`docs/arithmetic.md`]: https://docs.rs/crate/mamba-kernels/latest/source/docs/arithmetic.md
//! [`docs/glossary.md`]: https://docs.rs/crate/mamba-kernels/latest/source/docs/glossary.md
//! [benchmarks]: https://docs.rs/crate/mamba-kernels/latest/source/docs/benchmarks.md
//! [`bindings/`]: https://docs.rs/crate/mamba-kernels/latest/source/docs/linking/

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
