//! [`Workspace`]: scratch memory of the ops.

use super::aligned::Aligned;
use std::ops::Range;

/// Scratch memory of [`Cpu`](crate::Cpu)'s ops. It grows to what a call needs and keeps that for the next.
#[derive(Debug, Default)]
pub struct Workspace {
    /// Inputs of a matrix product in the form that the weight format takes.
    pub(in crate::cpu) inputs: Aligned<f32>,
    /// The scan's scratch, a piece per worker.
    pub(in crate::cpu) scan: Aligned<f32>,
    /// The chunked scan: its chunks, their first rows, and their states and logarithms of decays.
    pub(in crate::cpu) chunks: Vec<Chunk>,
    pub(in crate::cpu) chunk_offsets: Vec<usize>,
    pub(in crate::cpu) chunk_states: Aligned<f32>,
}

/// Some tokens of one sequence.
#[derive(Debug, Clone)]
pub(in crate::cpu) struct Chunk {
    pub rows: Range<usize>,
    /// `None` for padding.
    pub slot: Option<usize>,
    /// Whether it starts and ends its sequence.
    pub first: bool,
    pub last: bool,
}
