//! [`SpanTable`]: the sequences of a batch, cut into spans, on the device.
#![forbid(unsafe_code)]

use crate::arrays::{Batch, Result};
use crate::cuda::args::{PADDING, Span, size};
use crate::cuda::memory::device::{Device, Memory};
use std::sync::Arc;

/// The sequences of a batch, cut into spans, as a table on the device.
#[derive(Debug)]
pub(super) struct SpanTable {
    /// The batch that it holds.
    pub(super) id: u64,
    pub(super) cut: usize,
    pub(super) spans: Spans,
    memory: Memory,
}

/// A table of spans on the device.
#[derive(Debug, Clone, Copy)]
pub(in crate::cuda) struct Spans {
    pub address: u64,
    pub count: usize,
    /// Whether some sequence has more than one.
    pub several: bool,
}

/// All sequences of a batch that have tokens, cut into spans of at most `cut` rows.
pub(super) fn cut_into_spans(batch: &Batch, cut: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    for (rows, slot) in batch.sequences() {
        let slot = slot.index().map_or(PADDING, |index| index as u32);
        let (sequence_begin, sequence_end) = (size(rows.start), size(rows.end));
        let mut start = rows.start;
        while start < rows.end {
            let end = start.saturating_add(cut).min(rows.end);
            let (begin, end_) = (size(start), size(end));
            spans.push(Span { begin, end: end_, sequence_begin, sequence_end, slot, reserved: 0 });
            start = end;
        }
    }
    spans
}

impl SpanTable {
    pub(super) fn new(device: &Arc<Device>, op: &'static str, count: usize, cut: usize) -> Result<Self> {
        let memory = Memory::new(device, count * size_of::<Span>(), (op, count, "spans"))?;
        let spans = Spans { address: memory.address(), count, several: false };
        Ok(Self { id: u64::MAX, cut, spans, memory })
    }

    pub(super) fn fill(&mut self, batch: &Batch, spans: &[Span]) -> Result<()> {
        self.memory.device().driver.upload(bytemuck::cast_slice(spans), self.memory.address())?;
        self.id = batch.id();
        self.spans.several = spans.windows(2).any(|pair| pair[0].end < pair[0].sequence_end);
        Ok(())
    }
}
