//! The thin model wrapper: published checkpoints, state and generation, generic over [`Backend`](crate::Backend).
//!
//! [`Mamba`] reads the directory of a checkpoint and runs it, [`State`] holds the recurrent state of any number of
//! sequences, [`Scratch`] the memory that calls share. Everything is made of [`Backend`](crate::Backend)'s methods.
//!
//! ```no_run
//! use mamba_kernels::model::{Logits, Mamba, Scratch};
//! use mamba_kernels::{Batch, Cpu, Slot};
//!
//! # fn main() -> Result<(), mamba_kernels::model::ModelError> {
//! let model = Mamba::load(Cpu::new(), "mamba-130m-hf".as_ref())?;
//! let mut state = model.new_state(1)?;
//! let mut scratch = Scratch::default();
//!
//! // The prompt, then one token at a time: the state carries on from call to call.
//! let prompt = [510, 9162, 273];
//! let mut logits =
//!     model.forward(&prompt, &Batch::single(prompt.len()), &mut state, Logits::Last, &mut scratch)?;
//! for _ in 0..8 {
//!     let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or(0);
//!     let step = Batch::decode(&[Slot::new(0)])?;
//!     logits = model.forward(&[best as u32], &step, &mut state, Logits::Last, &mut scratch)?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Many sequences
//! A call takes any mix of prompts and single steps as one [`Batch`](crate::Batch). A prefix that many prompts share
//! is computed once, and its slot copied with [`State::copy_slot`].

mod block;
mod checkpoint;
mod config;
mod error;
mod files;
mod forward;
mod generate;
mod json;
mod mamba;
mod mixer;
mod note;
mod scratch;
mod segments;
mod state;
mod vocabulary;

pub use checkpoint::{FileAccess, Source};
pub use config::Config;
pub use error::ModelError;
pub use files::read_file;
pub use forward::{Forward, Logits, Observer, Stage};
pub use generate::{GenerateOptions, Generation, GenerationConfig, Sampler, Sampling};
pub use mamba::{LoadOptions, Mamba, WeightFormats};
pub use note::Note;
pub use scratch::Scratch;
pub use state::State;
