//! What a mixer declares, and what it is handed in a forward call.
#![forbid(unsafe_code)]

use crate::arrays::Batch;
use crate::backend::Backend;

/// A state pool of each layer: an array `[slots, rows, channels]` of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct StatePool {
    /// Its name in saved states and in errors.
    pub name: &'static str,
    pub rows: usize,
    pub channels: usize,
}

impl StatePool {
    /// The elements of one slot.
    pub fn slot_len(&self) -> usize {
        self.rows * self.channels
    }
}

/// A scratch array that all layers share: `[tokens, columns]` of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct ScratchArray {
    pub name: &'static str,
    pub columns: usize,
}

/// The arrays of one mixer call over the tokens of `batch`.
pub(in crate::model) struct MixerCall<'a, B: Backend> {
    pub batch: &'a Batch,
    /// `[tokens, d_model]`: the normed residual stream
    pub input: &'a B::Buffer<f32>,
    /// `[tokens, d_model]`: the mixer adds its output to it
    pub residual: &'a mut B::Buffer<f32>,
    /// The layer's state pools, in the order in which the mixer declares them.
    pub state: &'a mut [B::Buffer<f32>],
    /// The scratch arrays, in the order in which the mixer declares them.
    pub scratch: &'a mut [B::Buffer<f32>],
}
