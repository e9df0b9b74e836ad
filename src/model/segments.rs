//! Segments: the pieces of a batch that go through all layers at a time, so activation memory is bounded.
#![forbid(unsafe_code)]

use crate::arrays::Batch;
use crate::model::error::ModelError;
use std::ops::Range;

/// The sequences that have a last token whose logits are defined: their index and rows.
pub(super) fn live(batch: &Batch) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
    let sequences = batch.sequences().enumerate();
    sequences
        .filter(|(_, (rows, slot))| !rows.is_empty() && slot.index().is_some())
        .map(|(i, (rows, _))| (i, rows))
}

/// The part of a batch within `segment`. Sequences are cut at its ends.
pub(super) fn cut(batch: &Batch, segment: &Range<usize>) -> Result<Batch, ModelError> {
    if *segment == (0..batch.tokens()) {
        return Ok(batch.clone());
    }
    let first = batch.offsets().partition_point(|&offset| offset <= segment.start).saturating_sub(1);
    let (mut offsets, mut slots) = (vec![0], Vec::new());
    for (i, pair) in batch.offsets().windows(2).enumerate().skip(first) {
        if pair[0] >= segment.end {
            break;
        }
        if pair[1] > segment.start.max(pair[0]) {
            offsets.push(pair[1].min(segment.end) - segment.start);
            slots.push(batch.slots()[i]);
        }
    }
    Ok(Batch::new(&offsets, &slots)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrays::Slot;

    #[test]
    fn a_cut_keeps_slots_and_drops_what_is_outside() {
        let slot = Slot::new;
        let batch = Batch::new(&[0, 3, 3, 4, 9], &[slot(5), slot(1), Slot::PADDING, slot(2)]).unwrap();
        let parts: Vec<_> = (0..9)
            .step_by(2)
            .map(|start| cut(&batch, &(start..9.min(start + 2))).unwrap())
            .map(|part| (part.offsets().to_vec(), part.slots().to_vec()))
            .collect();
        let expected = [
            (vec![0, 2], vec![slot(5)]),
            (vec![0, 1, 2], vec![slot(5), Slot::PADDING]),
            (vec![0, 2], vec![slot(2)]),
            (vec![0, 2], vec![slot(2)]),
            (vec![0, 1], vec![slot(2)]),
        ];
        assert_eq!(parts, expected);
        assert_eq!(cut(&batch, &(0..9)).unwrap().id(), batch.id());
    }
}
