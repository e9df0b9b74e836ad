//! The contracts of the ops: an argument struct each, with the formula, the shapes and one `validate()`. No kernels.
//!
//! Activations are row-major `[tokens, channels]` with a row stride. All sequences of a call are packed one after
//! the other; see [`Batch`]. The order of the arithmetic is part of a contract: `docs/arithmetic.md`.
#![forbid(unsafe_code)]

mod causal_conv1d;
mod embedding;
pub mod layout;
mod linear;
mod rms_norm;
mod selective_scan;

pub use causal_conv1d::{Activation, CausalConv1d, CausalConv1dShape};
pub use embedding::{Embedding, EmbeddingShape};
pub use linear::{Epilogue, InProj, InProjShape, Linear, LinearShape};
pub use rms_norm::{RmsNorm, RmsNormShape};
pub use selective_scan::{SelectiveScan, SelectiveScanShape};

use crate::arrays::Batch;
use crate::arrays::{Error, Result, checked_product};

/// A state pool `[slots, rows, channels]` must hold every slot of the batch. Without rows there is nothing to hold.
fn expect_pool(op: &'static str, batch: &Batch, rows: usize, channels: usize, elements: usize) -> Result<()> {
    let slot = checked_product(op, "state", &[rows, channels])?;
    if slot == 0 {
        return crate::arrays::expect_size(op, "state", "an empty state of length", 0, elements);
    }
    if !elements.is_multiple_of(slot) {
        let expected = format_args!("a multiple of {rows} x {channels} elements").to_string();
        return Err(Error::argument(op, "state", expected, elements));
    }
    let slots = elements / slot;
    if batch.slots_needed() > slots {
        let expected = format_args!("at least {} slots", batch.slots_needed()).to_string();
        return Err(Error::argument(op, "state", expected, format_args!("{slots} slots")));
    }
    Ok(())
}
